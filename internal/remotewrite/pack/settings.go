package pack

import (
	"slices"
	"time"

	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
)

// Settings say what is packed. They are immutable; a reload replaces them whole.
type Settings struct {
	*promconfig.RemoteWriteConfig
	external []labels.Label // sorted, none empty
	added    []labels.Label // those that the encoder adds: none where rules have made them part of each series

	rulesChangeLabels bool // write_relabel_configs do more than keep and drop whole series

	delay time.Duration // how long a sample may wait: batch_send_deadline
}

// NewSettings returns settings for an entry of remote_write and external labels.
func NewSettings(rw *promconfig.RemoteWriteConfig, external labels.Labels) *Settings {
	s := &Settings{RemoteWriteConfig: rw, rulesChangeLabels: canChangeLabels(rw.WriteRelabelConfigs),
		delay: time.Duration(rw.QueueConfig.BatchSendDeadline)}
	external.Range(func(l labels.Label) {
		if l.Value != "" {
			s.external = append(s.external, l)
		}
	})
	if !s.rulesChangeLabels {
		s.added = s.external
	}
	return s
}

// canChangeLabels reports whether rules do more than keep and drop whole series.
func canChangeLabels(rules []*relabel.Config) bool {
	return slices.ContainsFunc(rules, func(r *relabel.Config) bool {
		switch r.Action {
		case relabel.Keep, relabel.Drop, relabel.KeepEqual, relabel.DropEqual:
			return false
		}
		return true
	})
}
