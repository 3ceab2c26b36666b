package wire

import (
	"testing"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire/wiretest"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// sidecarMessages packs one scrape of each of a number of sidecars, of size series, into requests.
func sidecarMessages(t testing.TB, targets, size int) []Message {
	t.Helper()
	table := series.NewTable()
	var batches []*series.Batch
	for i := range targets {
		batches = append(batches, wiretest.Mesh(table, i/10, i, size))
	}
	return messagesOf(t, table, batches)
}

// messagesOf packs batches into requests of 2,000 samples, a fragment for each batch, as a lane does. A request must
// not hold two samples of a series, so no two batches may be of one target.
func messagesOf(t testing.TB, table *series.Table, batches []*series.Batch) (out []Message) {
	t.Helper()
	const samples = 2000
	var e FragmentWriter
	var buffers Buffers
	var m Message
	cut := func() {
		if e.Size() > 0 && m.Samples > 0 {
			m.Fragments = append(m.Fragments, e.Cut(&buffers))
		}
	}
	seal := func() {
		if cut(); m.Samples > 0 {
			out = append(out, m)
		}
		m = Message{}
	}
	for _, b := range batches {
		table.Read(func(v series.View) {
			e.BeginBatch()
			for i, id := range b.Series {
				if m.Samples == samples {
					seal()
				}
				if m.Samples == 0 {
					e.Begin(false)
				}
				r := Row{Parts: v.Parts(id), Value: b.Values[i], Time: b.Time}
				f := e.Stem(v, r.Parts.Stem, b.Target, nil)
				if _, ok := e.Add(v, f, &r, Options{Metadata: true}); !ok {
					t.Fatalf("series %d of a batch cannot be sent", i)
				}
				m.Samples++
				m.Oldest, m.Newest = b.Time, b.Time
			}
			cut()
		})
	}
	seal()
	return out
}
