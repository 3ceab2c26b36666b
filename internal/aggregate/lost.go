package aggregate

import (
	"math"
	"slices"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// Much of a page can be missing although the scrape is good: Istio's agent merges the pages of the Envoy and of the
// application, and leaves out those that it cannot read. If at least half of the series that are summed vanish at once,
// the last values of all that vanish are kept for lostFor, and so if the page lacks lines (series.Origin.Partial), or
// is the first under other blocks. If a series returns, it counts from there, not from 0.
const (
	lostShare = 0.5
	lostFor   = 15 * time.Minute
	mostLost  = 20_000 // or twice as many as vanish now; with more, those that vanished before are forgotten
)

// notSummed is the block of lost series that no block summed. It is in no list of blocks.
var notSummed = &block{}

// lose keeps what is known of the series that are not in to, the layout of the present page, if they may return. It is
// called before carry.
func (s *source) lose(to *layout, partial bool, table *series.Table, now time.Time) {
	find, gone := finder{ids: to.ids}, &former{}
	switch {
	case s.layout == nil:
		s.loseFormer(&find, gone)
	case !s.losePage(&find, gone) && !partial:
		return
	}
	if len(gone.ids) == 0 {
		return
	}
	if s.lost != nil && len(s.lost.ids) <= max(mostLost, 2*len(gone.ids)) {
		gone.addAll(s.lost)
	}
	table.Retain(slices.Values(gone.ids))
	s.forgetLost(table)
	s.lost, s.lostTill = gone, now.Add(lostFor)
}

// losePage adds the series of the page before that are not on the present page to gone. It reports whether they are at
// least half of those that are summed.
func (s *source) losePage(find *finder, gone *former) (much bool) {
	summed, k := 0, 0
	for i, ref := range s.layout.refs {
		b, last := notSummed, math.NaN()
		if ref != 0 {
			b, last = s.feed.blocks[ref.group()-1], s.last[k]
			k++
		}
		id := s.layout.ids[i]
		if find.row(id) >= 0 {
			continue
		}
		if gone.add(id, b, last); ref != 0 {
			summed++
		}
	}
	return summed > 0 && float64(summed) >= lostShare*float64(k)
}

// loseFormer adds the series of the last page under other blocks that are not on the present page to gone. There are
// none if the pages cannot be compared.
func (s *source) loseFormer(find *finder, gone *former) {
	if s.was.all == nil {
		return
	}
	for i, id := range s.was.ids {
		switch b := s.was.blocks[i]; {
		case find.row(id) >= 0:
		case b == nil:
			gone.add(id, notSummed, math.NaN())
		default:
			gone.add(id, b, s.was.last[i])
		}
	}
}

// forgetLost gives up the series that vanished.
func (s *source) forgetLost(table *series.Table) {
	if s.lost != nil {
		table.Release(slices.Values(s.lost.ids))
		s.lost = nil
	}
}

// isLost reports whether a series is lost, and has not returned. Its row is find.next-1.
func (s *source) isLost(find *finder, id series.ID) bool {
	row := find.row(id)
	return row >= 0 && s.lost.blocks[row] != nil
}

// take returns what source.last is to have of a lost series that is back under a block. It is not lost any more.
func (f *former) take(row int, b *block) float64 {
	was := f.blocks[row]
	if f.blocks[row] = nil; was != b { // it was lost under another block
		return math.NaN()
	}
	return f.last[row]
}

// returned is a lost series that is on the present page.
type returned struct {
	place int     // in source.last
	last  float64 // its last value; NaN: none that it can be compared with
}

// countReturned says from which values lost series that are on the present page are counted. They have no part in
// restarted: they may have begun again some pages ago.
func (s *source) countReturned() {
	for _, r := range s.returned {
		s.last[r.place] = r.last
	}
	s.returned = s.returned[:0]
}
