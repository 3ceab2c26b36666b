//go:build unix

package remotewrite

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// TestRecent compares a table of references with a map over rounds of very different sizes, past the end of the count
// of rounds.
func TestRecent(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	r := recent{round: 1<<32 - 50}
	for round := range 100 {
		r.begin()
		want := map[uint64]uint32{}
		keys := []int{10, 20_000, 300}[round%3]
		for range 2 * keys {
			key := uint64(random.Uint32N(3))<<32 | uint64(random.IntN(keys))
			ref, ok := r.find(key)
			if last, known := want[key]; ok != known || ref != last {
				t.Fatalf("round %d: %x has %d, %v, want %d, %v", round, key, ref, ok, last, known)
			}
			if !ok {
				want[key] = uint32(len(want))
				r.add(key, want[key])
			}
		}
	}
	for range 20 {
		r.begin()
		r.add(1, 1)
	}
	if n := len(r.slots); n > keptRecent {
		t.Errorf("%d slots after 20 rounds of one reference, want at most %d", n, keptRecent)
	}
}

// largeBatch is what the page of a pod yields that prints other labels in each line: a batch of n series without a
// stem in common, each with a long string and a HELP of its own.
func largeBatch(table *series.Table, target labels.Labels, n int) *series.Batch {
	id := table.AddTarget(target)
	var b series.Batch
	b.Reset(id, 1_700_000_000_000)
	lb := labels.NewBuilder(target)
	for i := range n {
		lb.Set("__name__", "m")
		for k := range 20 {
			lb.Set(fmt.Sprintf("l%d", k), fmt.Sprintf("%d.%d", i, k))
		}
		b.Add(table.Add(id, lb.Labels(), series.Meta{Help: fmt.Sprint("help", i)}), float64(i))
	}
	return &b
}

// TestALaneGivesBackWhatALargePageNeeded appends large batches and then, when the pod is gone, those of others.
func TestALaneGivesBackWhatALargePageNeeded(t *testing.T) {
	w, _, batches := benchWriters(t, labels.FromStrings("cluster", "c"))
	held := func() (bytes int) { // by the lane that holds most
		for _, l := range (*w.endpoints.Load())[0].all() {
			e := &l.enc
			bytes = max(bytes, 16*(len(e.numbers.known.slots)+len(e.forms.byStem.slots))+24*cap(e.forms.all)+cap(e.forms.refs)+24*cap(e.metas))
		}
		return bytes
	}
	const rows = 10_000
	b := largeBatch(w.table, labels.FromStrings("instance", "large"), rows)
	if err := w.Append(b); err != nil {
		t.Fatal(err)
	}
	most := held()
	if most > 400*rows {
		t.Errorf("%d bytes for %d series", most, rows)
	}
	w.table.Release(slices.Values(b.Series))
	w.table.ReleaseTarget(b.Target)
	for range 20 {
		for _, b := range batches {
			b.Time += 10_000
			if err := w.Append(b); err != nil {
				t.Fatal(err)
			}
		}
	}
	left := held()
	t.Logf("%d bytes with the large page, %d afterwards", most, left)
	if left > 256<<10 {
		t.Errorf("%d bytes held by a lane, want at most 256 KiB; with the large page %d", left, most)
	}
}

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
	b := largeBatch(w.table, labels.FromStrings("instance", "large"), 10_000)
	ids := b.Series[:1]
	q := &writingQueue{write: func() { w.table.Retain(slices.Values(ids)) }}
	e.queue = q
	if err := w.Append(b); err != nil {
		t.Fatal(err)
	}
	if q.during < 1 {
		t.Errorf("%d writers had a turn before the last of 10,000 rows, want some", q.during)
	}
}
