//go:build unix

package remotewrite

import (
	"runtime"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire/wiretest"
)

// writingQueue has others write to the table whenever a request grows.
type writingQueue struct {
	swallow
	write   func()
	written atomic.Int64 // writers that had their turn
	during  int64        // of them, before the last record
}

func (q *writingQueue) Append(lane int, r queue.Record) (queue.Loss, error) {
	q.during = q.written.Load()
	go func() {
		q.write()
		q.written.Add(1)
	}()
	runtime.Gosched()
	return q.swallow.Append(lane, r)
}

// TestOthersWriteToTheTableWhileALargeBatchIsAppended counts the writers that had their turn before the batch was
// through.
func TestOthersWriteToTheTableWhileALargeBatchIsAppended(t *testing.T) {
	w, _, _ := benchWriters(t, labels.EmptyLabels())
	e := (*w.endpoints.Load())[0]
	b := wiretest.DistinctSeries(w.table, labels.FromStrings("instance", "large"), 60_000)
	ids := b.Series[:1]
	q := &writingQueue{write: func() { w.table.Retain(slices.Values(ids)) }}
	e.use(q)
	if err := w.Append(b); err != nil {
		t.Fatal(err)
	}
	if q.during < 1 {
		t.Errorf("%d writers had a turn before the last of 60,000 rows, want some", q.during)
	}
}
