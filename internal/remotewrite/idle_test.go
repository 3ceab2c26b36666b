package remotewrite

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// TestIdleTargetIsRememberedFromItsNextBatchOn: a target is silent for hours,
// and then has two batches within one request.
func TestIdleTargetIsRememberedFromItsNextBatchOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, oneLane(wire.V2, 100_000))
		w.run()
		pod := w.target("pod-1", 3)
		for _, pause := range []time.Duration{4 * time.Hour, time.Second, time.Minute} {
			w.append(w.scrape(pod, nowMillis()))
			time.Sleep(pause)
		}
		w.stop()
		w.conserved("a", 9)
		if r := w.receivers["a"]; r.total() != 9 || r.disorder != 0 {
			t.Errorf("%d samples arrived, %d of them not newer; want 9 and 0", r.total(), r.disorder)
		}
	})
}
