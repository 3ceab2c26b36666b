package pack

import (
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// A page may have a series with the time of the scrape, and again with a timestamp of its own: the second sample is of
// another request.
func TestASeriesIsOnceInARequestAlsoWhenItGetsATimestamp(t *testing.T) {
	p := newPacking(t)
	page := p.target("pod", 2)
	b := p.scrape(page, 2000)
	b.Times = append(b.Times, series.OwnTime{Index: b.Add(page.ids[0], 7), Time: 1500})
	p.append(b)
	samples := 0
	for _, r := range p.drain() {
		seen := map[string]bool{}
		for _, ts := range r.Timeseries {
			var builder labels.ScratchBuilder
			ls, err := ts.ToLabels(&builder, r.Symbols)
			if err != nil {
				t.Fatal(err)
			}
			if seen[ls.String()] {
				t.Errorf("a request has %v twice", ls)
			}
			seen[ls.String()] = true
			samples += len(ts.Samples)
		}
	}
	if samples != 3 {
		t.Errorf("%d samples, want 3", samples)
	}
}

func TestATimestampOfItsOwnIsRememberedWhenTheLanesChange(t *testing.T) {
	p := newPacking(t)
	page := p.target("pod", 8)
	timed := func(at int64) *series.Batch {
		b := p.scrape(page, at)
		for i := range page.ids {
			b.Times = append(b.Times, series.OwnTime{Index: i, Time: 1500})
		}
		return b
	}
	p.append(timed(2000))
	p.packer.Resize(4)
	p.append(timed(3000))
	if got, want := p.tally.NotNewer, len(page.ids); got != want {
		t.Errorf("%d samples were not newer, want %d", got, want)
	}
}
