package remotewrite

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// TestSeriesThatGetATimestampArriveInOrder has series without timestamps in some scrapes, and with ascending timestamps
// from then on.
func TestSeriesThatGetATimestampArriveInOrder(t *testing.T) {
	for _, n := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			const interval = 10 * time.Second
			ec := explicit(endpointConfig("n"), wire.V2)
			if n > 1 {
				ec.QueueConfig.BatchSendDeadline = model.Duration(time.Duration(n) * interval)
			}
			w := newWorld(t, ec)
			w.run()
			const targets = 6 // whose first requests have 1, 2 and 3 scrapes
			var ids [targets]series.TargetID
			var all [targets][]series.ID
			for i := range ids {
				public := labels.FromStrings("instance", fmt.Sprint("pod-", i), "job", "envoy")
				ids[i] = w.table.AddTarget(public)
				for name := range 8 {
					all[i] = append(all[i], w.series(ids[i], public, fmt.Sprint("metric_", name)))
				}
			}
			for scrape := range 12 {
				for i := range ids {
					var b series.Batch
					b.Reset(ids[i], time.Now().UnixMilli())
					b.Interval = interval
					for from, id := range all[i] {
						if index := b.Add(id, 1); scrape > from {
							b.Times = append(b.Times, series.OwnTime{Index: index, Time: b.Time - 1000})
						}
					}
					w.append(&b)
				}
				time.Sleep(interval)
			}
			w.stop()
			if r := w.receivers["n"]; r.disorder > 0 {
				t.Errorf("%d scrapes a request: %d samples arrived out of order", n, r.disorder)
			}
		})
	}
}
