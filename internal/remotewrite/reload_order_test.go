package remotewrite

import (
	"testing"

	"github.com/prometheus/prometheus/model/relabel"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// resizeWatcher is a queue that calls a function before each Resize.
type resizeWatcher struct {
	queue.Queue
	resized func()
}

func (q resizeWatcher) Resize(lanes int) {
	q.resized()
	q.Queue.Resize(lanes)
}

// TestAReloadReachesTheReceiverBeforeThePacker: samples that are packed under new settings, for example with the
// external labels of another tenant, must not be sent to the URL of the old settings. The packer calls Resize when it
// gets rules that change labels, before it packs anything under them. By then the receiver has the new protocol.
func TestAReloadReachesTheReceiverBeforeThePacker(t *testing.T) {
	w := newWorld(t)
	var protocols []string
	w.writers.openQueue = func(_ string, lanes int, cfg queue.Config) (queue.Queue, error) {
		return resizeWatcher{queue.NewMemory(cfg, lanes), func() {
			protocols = append(protocols, w.writers.Status()[0].Protocol)
		}}, nil
	}
	w.cfg.Endpoints = []EndpointConfig{explicit(endpointConfig("a"), wire.V2)}
	w.apply()
	next := explicit(endpointConfig("a"), wire.V1)
	next.WriteRelabelConfigs = []*relabel.Config{rule(relabel.LabelDrop, "pod")}
	w.cfg.Endpoints = []EndpointConfig{next}
	w.apply()
	if len(protocols) != 1 || protocols[0] != "1.0" {
		t.Errorf("when the packer got its settings, the receiver was sent remote write %q, want 1.0", protocols)
	}
}
