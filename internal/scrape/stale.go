package scrape

import (
	"slices"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// live is the series that the last good scrape of a target showed: those that get a staleness marker when a
// scrape no longer shows them. The page keeps their references; markers are appended before it lets go.
//
// Cost: 4 bytes a series.
type live struct {
	ids []series.ID
}

// markVanished appends a marker for each live series that b does not show.
func (l *live) markVanished(b *series.Batch, trackOwnTimes bool) {
	if len(l.ids) == 0 {
		return
	}
	shown := make(map[series.ID]struct{}, len(b.Series))
	for _, id := range b.Series {
		shown[id] = struct{}{}
	}
	for _, t := range untracked(b, trackOwnTimes) {
		delete(shown, b.Series[t.Index])
	}
	for _, id := range l.ids {
		if _, ok := shown[id]; !ok {
			b.Add(id, staleMarker())
		}
	}
}

// markAll appends a marker for every live series.
func (l *live) markAll(b *series.Batch) {
	for _, id := range l.ids {
		b.Add(id, staleMarker())
	}
}

// keep makes the first n samples of b the live series. Those with a timestamp of their own never get a marker,
// unless track_timestamps_staleness asks for it.
func (l *live) keep(b *series.Batch, n int, trackOwnTimes bool) {
	l.ids = append(l.ids[:0], b.Series[:n]...)
	if trackOwnTimes && len(b.Times) > 0 { // only then can a page show a series twice
		slices.Sort(l.ids)
		l.ids = slices.Compact(l.ids)
	}
	own := untracked(b, trackOwnTimes)
	if len(own) == 0 {
		return
	}
	kept := l.ids[:0]
	for i, id := range b.Series[:n] {
		if len(own) > 0 && own[0].Index == i {
			own = own[1:]
			continue
		}
		kept = append(kept, id)
	}
	l.ids = kept
}

func (l *live) clear() { l.ids = nil }

// untracked are the samples of b that staleness does not follow.
func untracked(b *series.Batch, trackOwnTimes bool) []series.OwnTime {
	if trackOwnTimes {
		return nil
	}
	return b.Times
}
