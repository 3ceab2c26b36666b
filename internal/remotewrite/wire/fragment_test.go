package wire

import (
	"slices"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire/wiretest"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// TestWriterGivesBackWhatALargePageNeeded encodes a page that shares no label sets and then many usual ones.
func TestWriterGivesBackWhatALargePageNeeded(t *testing.T) {
	table := series.NewTable()
	external := []labels.Label{{Name: "cluster", Value: "c"}}
	var e FragmentWriter
	var buffers Buffers
	samples := 0
	encode := func(b *series.Batch) {
		table.Read(func(v series.View) {
			e.BeginBatch()
			for i, id := range b.Series {
				if samples%2000 == 0 {
					if samples > 0 {
						e.Cut(&buffers)
					}
					e.Begin(true)
				}
				samples++
				r := Row{Parts: v.Parts(id), Value: b.Values[i], Time: b.Time}
				e.Add(v, e.Stem(v, r.Parts.Stem, b.Target, external), &r, Options{Metadata: true, External: external})
			}
		})
	}
	held := func() int {
		return 16*(len(e.numbers.known.slots)+len(e.forms.byStem.slots)) + 24*cap(e.forms.all) + cap(e.forms.refs) +
			24*cap(e.metas)
	}
	const rows = 10_000
	large := wiretest.DistinctSeries(table, labels.FromStrings("instance", "large"), rows)
	encode(large)
	most := held()
	if most > 400*rows {
		t.Errorf("%d bytes for %d series", most, rows)
	}
	table.Release(slices.Values(large.Series))
	table.ReleaseTarget(large.Target)
	var pages []*series.Batch
	for i := range 20 {
		pages = append(pages, wiretest.Mesh(table, i/10, i, 2000))
	}
	for range 20 {
		for _, b := range pages {
			encode(b)
		}
	}
	left := held()
	t.Logf("%d bytes with the large page, %d afterwards", most, left)
	if left > 256<<10 {
		t.Errorf("%d bytes held, want at most 256 KiB; with the large page %d", left, most)
	}
}
