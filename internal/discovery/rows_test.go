package discovery

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"go.uber.org/zap"
)

// TestRow59UpdatesAreBatched: discovery changes often. The changes are handed over together once per updateInterval,
// after a few shorter intervals.
func TestRow59UpdatesAreBatched(t *testing.T) {
	m := newHarness(t, zap.NewNop()).Manager
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	var handed atomic.Int64
	var last atomic.Value // of string
	last.Store("")
	began := time.Now()
	go func() {
		done <- m.Run(ctx, func(updates map[string]Update) {
			handed.Add(1)
			for _, g := range updates["envoy"].Groups {
				for _, target := range g.Targets {
					last.Store(string(target[model.AddressLabel]))
				}
			}
		})
	}()
	changes, newest := 0, ""
	for ; time.Since(began) < updateInterval*3/2; changes++ {
		newest = fmt.Sprintf("10.0.0.1:%d", changes+1)
		apply(t, m, parseJob(t, "envoy", "static_configs: [{targets: ['"+newest+"']}]"))
		<-time.After(20 * time.Millisecond)
	}
	eventually(t, "the last target", func() bool { return last.Load() == newest })
	if limit := int64(time.Since(began)/updateInterval) + 9; handed.Load() > limit {
		t.Errorf("%d changes came as %d updates in %v, want at most %d", changes, handed.Load(), time.Since(began),
			limit)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestRow58RemovedJobIsGone: when a job or one of its lists is removed from the configuration, its targets are gone.
func TestRow58RemovedJobIsGone(t *testing.T) {
	h := newHarness(t, zap.NewNop())
	lists := parseJob(t, "envoy", "static_configs: [{targets: ['10.0.0.1:1']}, {targets: ['10.0.0.2:1']}]")
	apply(t, h.Manager, lists, parseJob(t, "other", "static_configs: [{targets: ['10.0.0.3:1']}]"))
	h.start(t)
	eventually(t, "both jobs", func() bool { return h.found("envoy") == 2 && h.found("other") == 1 })
	apply(t, h.Manager, parseJob(t, "envoy", "static_configs: [{targets: ['10.0.0.1:1']}]"))
	eventually(t, "one list of one job", func() bool { return h.found("envoy") == 1 && h.found("other") == -1 })
}
