package scrape

import (
	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
	"github.com/envoy-scraper/envoy-scraper/internal/hashindex"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// markVanished appends a marker for each live series that b does not show. Series with their own timestamps are not
// tracked, unless track_timestamps_staleness is set. Such series are never live, and a sample with its own timestamp
// does not keep a series live.
func markVanished(b *series.Batch, live exposition.Shown, trackTimestamps bool) {
	shown := shownIn(b, trackTimestamps)
	markUnlessIn(b, live, &shown)
}

// shownIn returns the series of b that count as shown.
func shownIn(b *series.Batch, trackTimestamps bool) (shown hashindex.Set) {
	shown.Reset(len(b.Series))
	own := b.Times
	if trackTimestamps {
		own = nil
	}
	for i, id := range b.Series {
		if len(own) > 0 && own[0].Index == i {
			own = own[1:]
			continue
		}
		shown.Add(uint32(id))
	}
	return shown
}

// markMissing appends a marker for each live series that is not in shown.
func markMissing(b *series.Batch, live, shown exposition.Shown) {
	var set hashindex.Set
	for id := range shown.Series() {
		set.Add(uint32(id))
	}
	markUnlessIn(b, live, &set)
}

func markUnlessIn(b *series.Batch, live exposition.Shown, shown *hashindex.Set) {
	for id := range live.Series() {
		if !shown.Has(uint32(id)) {
			b.Add(id, series.StaleMarker())
		}
	}
}

// markAll appends a marker for every live series.
func markAll(b *series.Batch, live exposition.Shown) {
	for id := range live.Series() {
		b.Add(id, series.StaleMarker())
	}
}
