package scrape

import (
	"maps"
	"slices"

	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// ages keeps the newest timestamp of each series whose samples have timestamps of their own. A sample that is not newer
// is out of order: a storage refuses it, so it counts as not shown. For pages without such timestamps, as Envoy's are,
// it keeps nothing.
type ages struct {
	newest map[series.ID]int64 // Unix milliseconds; holds a reference to each series
	last   int64               // of the last good scrape

	alive map[series.ID]bool // what the last scrape showed; nil: not needed yet
}

// late reports whether a sample of a series is out of order. live is what the last scrape showed.
func (a *ages) late(live exposition.Shown, id series.ID, at int64) bool {
	if newest, ok := a.newest[id]; ok {
		return at <= newest
	}
	if a.alive == nil {
		a.alive = map[series.ID]bool{}
		for id := range live.Series() {
			a.alive[id] = true
		}
	}
	return a.alive[id] && at <= a.last
}

// note remembers the times of a batch that was handed on, markers included. good says whether its page was good.
func (a *ages) note(table *series.Table, b *series.Batch, good bool) {
	a.alive = nil
	if good {
		a.last = b.Time
	}
	if len(b.Times) == 0 && len(a.newest) == 0 {
		return
	}
	if len(a.newest) > 2*len(b.Series)+maxForgottenAges {
		a.forget(table) // then old timestamps pass, nothing else changes
	}
	for _, t := range b.Times {
		if _, known := a.newest[b.Series[t.Index]]; !known {
			a.add(table, b.Series[t.Index], t.Time)
		}
	}
	own := b.Times
	for i, id := range b.Series {
		at := b.Time
		if len(own) > 0 && own[0].Index == i {
			at, own = own[0].Time, own[1:]
		}
		if newest, known := a.newest[id]; known && at > newest {
			a.newest[id] = at
		}
	}
}

func (a *ages) add(table *series.Table, id series.ID, at int64) {
	if a.newest == nil {
		a.newest = map[series.ID]int64{}
	}
	table.Retain(slices.Values([]series.ID{id}))
	a.newest[id] = at
}

// forget gives the references back.
func (a *ages) forget(table *series.Table) {
	table.Release(maps.Keys(a.newest))
	a.newest = nil
}

// maxForgottenAges is how many series are remembered that the target showed earlier, beyond twice those it shows now.
const maxForgottenAges = 1000
