package exposition

import (
	"hash/maphash"
	"iter"
	"math"
	"slices"
	"sync"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// layout is what is known of the lines of a page: the hash of the text before each value, and what it means.
// Immutable once a page has it. The pages of replicas say the same but for the values, so they share one.
//
// Cost: 14 bytes a line, 16 a family, once for all targets that print the same page.
type layout struct {
	hashes   []uint64
	places   []place
	lengths  []uint16 // of the texts in bytes; 0: not kept
	families []family

	expected int // the first so many lines are the next page, if it is like the last
	shown    int // the first so many were on the last good page, the rest only on one that failed

	refs int // guarded by the layouts' mu

	// Immutable once another target can have the layout.
	key    uint64
	shared bool
}

// place is what a line means: a kind, marks, and the number of a series or a family.
type place uint32

const (
	placeSeries  place = iota << 30
	placeDropped       // by metric relabeling
	placeComment
	placeFamily // TYPE or HELP
	kindMask    = 3 << 30

	// Marks hold only where a line is expected: the page had shown the series before (duplicate), with this very
	// text (repeated). A series that staleness does not follow is marked as a duplicate too.
	duplicateBit place = 1 << 29
	repeatedBit  place = 1 << 28

	// Behind the lines of the last good page: nobody has counted the line as added yet.
	uncountedBit = duplicateBit

	numberMask = repeatedBit - 1
)

func (p place) kind() place   { return p & kindMask }
func (p place) bare() place   { return p &^ (duplicateBit | repeatedBit) }
func (p place) number() int   { return int(p & numberMask) }
func (p place) id() series.ID { return series.ID(p & numberMask) }

// append adds a line.
func (l *layout) append(hash uint64, p place, length uint16) {
	l.hashes, l.places, l.lengths = append(l.hashes, hash), append(l.places, p), append(l.lengths, length)
}

// bytes is how much memory the lines take.
func (l *layout) bytes() int {
	return 8*cap(l.hashes) + 4*cap(l.places) + 2*cap(l.lengths) + 16*cap(l.families)
}

// take makes the first n lines of other all that l has.
func (l *layout) take(other *layout, n int) {
	l.hashes = append(l.hashes[:0], other.hashes[:n]...)
	l.places = append(l.places[:0], other.places[:n]...)
	l.lengths = append(l.lengths[:0], other.lengths[:n]...)
}

// lengthOf is the length of a text as a layout keeps it.
func lengthOf(text []byte) uint16 {
	if len(text) > math.MaxUint16 {
		return 0
	}
	return uint16(len(text))
}

// series yields the id of every line that is a series: each has a reference of its own.
func (l *layout) series() iter.Seq[series.ID] { return eachSeries(l.places, 0) }

func eachSeries(places []place, unwanted place) iter.Seq[series.ID] {
	return func(yield func(series.ID) bool) {
		for _, p := range places {
			if p.kind() == placeSeries && p&unwanted == 0 && !yield(p.id()) {
				return
			}
		}
	}
}

// same tells that two layouts are interchangeable.
func (l *layout) same(m *layout) bool {
	return l.expected == m.expected && l.shown == m.shown &&
		slices.Equal(l.hashes, m.hashes) && slices.Equal(l.places, m.places) &&
		slices.Equal(l.lengths, m.lengths) && slices.Equal(l.families, m.families)
}

// Layouts holds the layouts of all pages of a process. A layout belongs to the pages and Shown that refer to it
// and goes with the last of them; each of its lines that is a series holds a reference of that series. Safe for
// concurrent use.
type Layouts struct {
	table  *series.Table
	seed   maphash.Seed // of the hashes of lines
	drafts sync.Pool    // of *draft

	mu    sync.Mutex // guards the following, and the references of all layouts
	byKey map[uint64][]*layout
}

// NewLayouts returns an empty set of layouts of series in table.
func NewLayouts(table *series.Table) *Layouts {
	return &Layouts{
		table: table, seed: maphash.MakeSeed(), byKey: map[uint64][]*layout{},
		drafts: sync.Pool{New: func() any { return &draft{} }},
	}
}

// publish returns the layout of a good page, shared if another target has the same, with one more reference.
// draft is only read.
//
// Layouts are compared and copied, and their series retained, without the lock, because that takes time in proportion
// to the page. If another target publishes the same layout meanwhile, the next call of shareOr returns it.
func (ls *Layouts) publish(draft *layout) *layout {
	key := ls.keyOf(draft)
	var own, last *layout // last: of those under key, the last that is known to differ; it holds a reference
	for {
		other := ls.shareOr(own, key, last)
		if other == own && own != nil {
			ls.letGo(last)
			return own
		}
		if other == nil {
			own = ls.own(draft)
			own.key, own.shared = key, true
			continue
		}
		ls.letGo(last)
		if last = other; other.same(draft) {
			if own != nil {
				ls.table.Release(own.series())
			}
			return other
		}
	}
}

// shareOr returns, with one more reference, the layout under key that follows after, or the first if after is nil.
// If there is none, it shares own, unless own is nil, and returns it.
func (ls *Layouts) shareOr(own *layout, key uint64, after *layout) *layout {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	same := ls.byKey[key]
	if next := slices.Index(same, after) + 1; next < len(same) {
		same[next].refs++
		return same[next]
	}
	if own != nil {
		ls.byKey[key] = append(same, own)
	}
	return own
}

// letGo is release for a layout that may be nil.
func (ls *Layouts) letGo(l *layout) {
	if l != nil {
		ls.release(l)
	}
}

// own makes a layout of a draft that nobody else has.
func (ls *Layouts) own(draft *layout) *layout {
	ls.table.Retain(draft.series())
	return &layout{
		hashes: slices.Clip(slices.Clone(draft.hashes)), places: slices.Clip(slices.Clone(draft.places)),
		lengths: slices.Clip(slices.Clone(draft.lengths)), families: slices.Clip(slices.Clone(draft.families)),
		expected: draft.expected, shown: draft.shown, refs: 1,
	}
}

func (ls *Layouts) keyOf(l *layout) uint64 {
	key := uint64(l.expected)<<32 ^ uint64(l.shown)
	for i, h := range l.hashes {
		key = (key ^ h ^ uint64(l.places[i])) * 0xff51afd7ed558ccd
		key ^= key >> 29
	}
	return key
}

func (ls *Layouts) retain(l *layout) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l.refs++
}

// release takes one reference from a layout. With the last one the layout is gone: its series are released without
// the lock, in slices.
func (ls *Layouts) release(l *layout) {
	if ls.drop(l) {
		ls.table.Release(l.series())
	}
}

// drop takes one reference from a layout and reports whether it was the last.
func (ls *Layouts) drop(l *layout) (last bool) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if l.refs--; l.refs > 0 {
		return false
	}
	if l.shared {
		rest := slices.DeleteFunc(ls.byKey[l.key], func(m *layout) bool { return m == l })
		if ls.byKey[l.key] = rest; len(rest) == 0 {
			delete(ls.byKey, l.key)
		}
	}
	return true
}

// Len is how many different layouts there are; for metrics.
func (ls *Layouts) Len() int {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	n := 0
	for _, l := range ls.byKey {
		n += len(l)
	}
	return n
}

// Shown is the series that a page showed: those that get a staleness marker when they are gone. It holds a
// reference of each until Release. The zero value shows nothing.
type Shown struct {
	from   *Layouts
	layout *layout
}

// Show returns series that staleness follows, of which the caller holds a reference, each once.
func (ls *Layouts) Show(ids iter.Seq[series.ID]) Shown {
	l := &layout{refs: 1}
	for id := range ids {
		l.places = append(l.places, placeSeries|place(id))
	}
	if l.shown = len(l.places); l.shown == 0 {
		return Shown{}
	}
	ls.table.Retain(l.series())
	return Shown{ls, l}
}

// Series yields each series once, in page order, less those that staleness does not follow.
func (s Shown) Series() iter.Seq[series.ID] {
	if s.layout == nil {
		return func(func(series.ID) bool) {}
	}
	return eachSeries(s.layout.places[:s.layout.shown], duplicateBit)
}

// Release gives the references back.
func (s Shown) Release() {
	if s.layout != nil {
		s.from.release(s.layout)
	}
}
