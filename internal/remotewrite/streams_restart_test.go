package remotewrite

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// TestASeriesOfTwoTargetsStaysInOrderAcrossRestarts: the receiver is down while the process is restarted twice. Each
// process has another first target with the series.
func TestASeriesOfTwoTargetsStaysInOrderAcrossRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ec := endpointConfig("a")
		ec.QueueConfig.BatchSendDeadline = model.Duration(20 * time.Second)
		ec.QueueConfig.MinShards, ec.QueueConfig.MaxShards = 1, 1
		dir := t.TempDir()
		process := func(act func(scrape func(pod int, shared bool)), down bool) *receiver {
			store := openStore(t, dir)
			defer closeStore(t, store)
			w := newStoredWorld(t, store, ec)
			if down {
				w.receivers["a"].set(unreachable)
			}
			w.run()
			pods := []target{w.target("pod-0", 1), w.target("pod-1", 1), w.target("pod-2", 1)}
			act(func(pod int, shared bool) {
				p := pods[pod]
				b := w.scrape(p, nowMillis())
				b.Interval = 10 * time.Second
				if shared {
					b.Add(w.table.Add(p.id, labels.FromStrings("__name__", "shared"), series.Meta{}), 1)
				}
				w.append(b)
				pass(time.Second)
			})
			w.stop()
			return w.receivers["a"]
		}
		process(func(scrape func(int, bool)) {
			scrape(0, false)
			pass(time.Minute) // it is under way from here on
			scrape(1, false)
			scrape(2, true)
		}, true)
		process(func(scrape func(int, bool)) { scrape(1, true) }, true)
		r := process(func(func(int, bool)) { pass(time.Minute) }, false)
		if r.disorder > 0 || r.total() != 6 {
			t.Errorf("%d samples arrived, %d of them out of order; want 6 in order", r.total(), r.disorder)
		}
	})
}
