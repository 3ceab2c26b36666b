package remotewrite

import (
	"testing"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire/wiretest"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// sidecarMessages packs a scrape of each of some sidecars of so many series into requests.
func sidecarMessages(t testing.TB, targets, size int) []message {
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
func messagesOf(t testing.TB, table *series.Table, batches []*series.Batch) (out []message) {
	t.Helper()
	const samples = 2000
	var e encoder
	var lent blocks
	var m message
	cut := func() {
		if e.size() > 0 && m.samples > 0 {
			m.fragments = append(m.fragments, e.cut(&lent))
		}
	}
	seal := func() {
		if cut(); m.samples > 0 {
			out = append(out, m)
		}
		m = message{}
	}
	for _, b := range batches {
		table.Read(func(v series.View) {
			e.beginBatch()
			for i, id := range b.Series {
				if m.samples == samples {
					seal()
				}
				if m.samples == 0 {
					e.begin(false)
				}
				r := wireRow{parts: v.Parts(id), value: b.Values[i], time: b.Time}
				f := e.form(v, r.parts.Stem, b.Target, nil)
				if _, ok := e.add(v, f, &r, sending{metadata: true}); !ok {
					t.Fatalf("series %d of a batch cannot be sent", i)
				}
				m.samples++
				m.oldest, m.newest = b.Time, b.Time
			}
			cut()
		})
	}
	seal()
	return out
}
