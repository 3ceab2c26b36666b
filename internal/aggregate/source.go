package aggregate

import (
	"math"
	"slices"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// source is what is known of the pages of one target so far. The locks of its feed guard it.
//
// Cost: 8 bytes for each series that is summed, and a share of its layout, which has 8 bytes for each series of the
// page.
type source struct {
	job      string
	target   series.TargetID // with one reference
	feed     *feed
	layout   *layout       // of the last good page; nil: there was none
	last     []float64     // the values on that page of the series that are summed, in its order
	good     bool          // the last scrape succeeded
	again    bool          // the target had been scraped before, and nothing of it was summed
	noUptime bool          // the last good page lacked it
	wasYoung bool          // its first page may be of a process that was young on a page of an earlier source
	uptime   time.Duration // on the last good page that had it; negative: none had
	read     time.Time     // when that was
	interval time.Duration
	was      *former // the last good page under the blocks before; nil: there was none
	lost     *former // series that vanished when much of a page did, see lose; nil: none
	lostTill time.Time
	returned []returned // those of them that are on the present page
	partial  bool       // the last good page lacked lines, see series.Origin
}

// former is a page under blocks that are not in force any more, or with which the next page cannot be compared. It
// holds a reference of each of its series.
type former struct {
	ids    []series.ID
	blocks []*block  // by row; nil: the series was not summed
	last   []float64 // by row; of series that were summed
	all    []*block  // that were in force for the job
}

// former returns what is to be known of the last good page once other blocks are in force.
func (s *source) former() *former {
	if s.layout == nil {
		return s.was
	}
	l := s.layout
	f := &former{slices.Clone(l.ids), make([]*block, len(l.ids)), make([]float64, len(l.ids)), s.feed.blocks}
	k := 0
	for i, ref := range l.refs {
		if ref != 0 {
			f.blocks[i], f.last[i] = s.feed.blocks[ref.group()-1], s.last[k]
			k++
		}
	}
	return f
}

// isOther says that later pages cannot be compared with this one.
func (f *former) isOther() {
	f.all = nil
	for i := range f.last {
		f.last[i] = math.NaN()
	}
}

// forgetFormer gives up the page under former blocks.
func (s *source) forgetFormer(table *series.Table) {
	if s.was != nil {
		table.Release(slices.Values(s.was.ids))
		s.was = nil
	}
	s.again = false
}

// isNew is what source.last has of a series that is new on the page, until it is known whether the process is new, too.
const isNew = -1

// returned is a lost series that is on the present page.
type returned struct {
	place int     // in source.last
	last  float64 // its last value; NaN: none that it can be compared with
}

// carry gives the source the layout of the present page. It returns how many series that are summed are new on it.
// young says of a block whether the process has started after it came into force, and within the last interval.
//
// last then has the value of each series on the page before, or isNew. If there was no page before, or the series was
// not summed then, or the page before was partial, it has NaN, so that count takes the present value as the first; 0 if
// the process is young. The series that have returned wait in s.returned.
func (s *source) carry(to *layout, partial bool, young func(*block) bool) (born int) {
	last := make([]float64, 0, to.summed)
	find, places := finder{}, []int32(nil)
	switch {
	case s.layout != nil:
		find.ids, places = s.layout.ids, s.layout.places()
	case s.was != nil:
		find.ids = s.was.ids
	}
	findLost := finder{}
	if s.lost != nil {
		findLost.ids = s.lost.ids
	}
	for i, ref := range to.refs {
		if ref == 0 {
			if s.lost != nil && s.isLost(&findLost, to.ids[i]) {
				s.lost.take(findLost.next-1, nil)
			}
			continue
		}
		v, b := math.NaN(), s.feed.blocks[ref.group()-1]
		switch n := find.row(to.ids[i]); {
		case n < 0 && s.isLost(&findLost, to.ids[i]):
			s.returned = append(s.returned, returned{len(last), s.lost.take(findLost.next-1, b)})
		case s.layout != nil && n < 0 && (partial || s.feed.slot(ref).kind != counter):
		case s.layout != nil && n < 0:
			v = isNew
		case s.layout != nil:
			if k := places[n]; k >= 0 {
				v = s.last[k]
			}
		case s.was != nil:
			if v = s.was.lastOf(n, b); v == isNew && partial {
				v = math.NaN()
			}
		case young(b):
			v = 0
		}
		if v == isNew {
			born++
		}
		last = append(last, v)
	}
	s.layout, s.last = to, last
	return born
}

// lastOf returns what source.last is to have of a series under a block. n is its row; -1: it has none.
func (f *former) lastOf(n int, b *block) float64 {
	switch {
	case n < 0 && slices.Contains(f.all, b):
		return isNew
	case n >= 0 && f.blocks[n] == b:
		return f.last[n]
	default:
		return math.NaN()
	}
}

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

// add adds a series.
func (f *former) add(id series.ID, b *block, last float64) {
	f.ids, f.blocks, f.last = append(f.ids, id), append(f.blocks, b), append(f.last, last)
}

// addAll adds the series of another page that were summed.
func (f *former) addAll(other *former) {
	for i, id := range other.ids {
		if b := other.blocks[i]; b != nil {
			f.add(id, b, other.last[i])
		}
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

// countReturned says from which values lost series that are on the present page are counted. They have no part in
// restarted: they may have begun again some pages ago.
func (s *source) countReturned() {
	for _, r := range s.returned {
		s.last[r.place] = r.last
	}
	s.returned = s.returned[:0]
}

// countNew says from which value series that are new on the page are counted: from 0, or from their present values if
// the block leaves those out.
func (s *source) countNew() {
	k := 0
	for _, ref := range s.layout.refs {
		if ref == 0 {
			continue
		}
		if last := &s.last[k]; *last == isNew {
			*last = 0
			if s.feed.blocks[ref.group()-1].SkipFirst {
				*last = math.NaN()
			}
		}
		k++
	}
}

// restartShares say which part of the counters that had a value must have fallen before a page counts as that of
// another process: half of them if the uptime fell too, nine tenths if the page has no uptime. The uptime alone proves
// nothing: Envoy computes it from the clock of the node, which may be set back.
const (
	restartShare        = 0.5
	restartShareUnknown = 0.9
)

// restarted reports whether the page is that of another process than the page before. The layout is that of the page.
func (s *source) restarted(values []float64, uptime time.Duration, now time.Time) bool {
	share := restartShareUnknown
	if uptime >= 0 && s.uptime >= 0 {
		if !s.hasRestarted(uptime, now) {
			return false
		}
		share = restartShare
	}
	fell, had, k := 0, 0, 0
	for i, ref := range s.layout.refs {
		if ref == 0 {
			continue
		}
		if last := s.last[k]; last > 0 && s.feed.slot(ref).kind == counter {
			had++
			if v := values[i]; v < last && isCounted(v) {
				fell++
			}
		}
		k++
	}
	return had > 0 && float64(fell) >= share*float64(had)
}

// hasRestarted reports whether the uptime of a page is that of another process: it is less than that of an earlier
// page, and the process has started since that page. Envoy computes its uptime from the clock of the node, so one that
// has fallen less may only mean that the clock was set back.
func (s *source) hasRestarted(uptime time.Duration, now time.Time) bool {
	return uptime >= 0 && uptime < s.uptime && uptime <= now.Sub(s.read)+uptimeLag
}

// lackedEnvoy reports whether the pages before may have lacked all lines of the Envoy: none has had an uptime, and the
// present page has one; or nothing of the page before is summed, and no page has had an uptime. Then the series that
// are new on the page may be old.
func (s *source) lackedEnvoy(o *series.Origin, interval time.Duration) bool {
	return s.uptime < 0 && (o.Uptime >= interval || o.Uptime < 0 && s.layout != nil && s.layout.summed == 0)
}

// count adds what the series of a good page have grown by to the totals of their aggregates. The layout is that of the
// page. It returns how many series fell.
//
// last has what the series had before; NaN: nothing to compare with.
func (s *source) count(values []float64) (fell int) {
	groups, k := s.feed.groups, 0
	for i, ref := range s.layout.refs {
		if ref == 0 {
			continue
		}
		last, v := &s.last[k], values[i]
		k++
		slot := &groups[ref.group()-1].slots[ref.slot()] // not feed.slot, which is slower
		if slot.kind != counter {
			*last = v
			continue
		}
		switch grown := v - *last; {
		case !isCounted(v):
			continue // as if the page had not shown it
		case grown >= 0:
			slot.total += counted(grown)
		case v < *last: // it began again at 0
			slot.total += counted(v)
			fell++
		}
		*last = v
	}
	return fell
}

// counted returns what is added to a total: nothing of a value that is larger than a total may become.
func counted(v float64) float64 {
	if v > largestTotal {
		return 0
	}
	return v
}

// isCounted reports whether v can be the value of a counter: it is not negative, infinite or NaN.
func isCounted(v float64) bool { return v >= 0 && v <= math.MaxFloat64 }

// uptimeLag is by how much an Envoy may have run longer than its page says: it writes whole seconds, and by default
// flushes its stats every 5 s.
const uptimeLag = 6 * time.Second

// isYoung reports whether a process has started within the last interval, and after the block came into force. Then all
// that its first page shows has happened since, and no other instance can have counted it: a target that moves to
// another instance is scraped there two intervals later.
func isYoung(uptime, interval, inForce time.Duration) bool {
	return uptime >= 0 && uptime < interval && uptime+uptimeLag < min(2*interval, inForce)
}
