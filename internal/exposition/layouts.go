package exposition

import (
	"hash/maphash"
	"iter"
	"slices"
	"sync"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// Layouts holds the layouts of all pages of a process. A layout belongs to the pages and Shown that use it, and is
// gone with the last of them. Safe for concurrent use.
//
// Lock order: mu is never held while the table's lock is taken.
type Layouts struct {
	table  *series.Table
	seed   maphash.Seed // of the hashes of lines
	drafts sync.Pool    // of *draft
	names  familyNames

	mu    sync.Mutex // guards the following, and the users of all layouts
	byKey map[uint64][]*layout
}

// NewLayouts returns an empty set of layouts of series in table.
func NewLayouts(table *series.Table) *Layouts {
	return &Layouts{
		table: table, seed: maphash.MakeSeed(), byKey: map[uint64][]*layout{},
		drafts: sync.Pool{New: func() any { return &draft{} }},
	}
}

// publish returns a layout that is the same as l, with one more user: that of another target if there is one, else a
// copy. l is only read.
//
// Layouts are compared and copied, and their series retained, without the lock, because that takes time in proportion
// to the page. If another target publishes the same layout meanwhile, the next call of shareOr returns it.
func (ls *Layouts) publish(l *layout) *layout {
	key := l.hash()
	var own, last *layout // last: of those under key, the last that is known to differ; it has one more user
	for {
		other := ls.shareOr(own, key, last)
		if other == own && own != nil {
			ls.release(last)
			return own
		}
		if other == nil {
			own = ls.own(l)
			own.key, own.shared = key, true
			continue
		}
		ls.release(last)
		if last = other; other.same(l) {
			if own != nil {
				ls.table.Release(own.series())
			}
			return other
		}
	}
}

// shareOr returns, with one more user, the layout under key that follows after, or the first if after is nil. If there
// is none, it shares own, unless own is nil, and returns it.
func (ls *Layouts) shareOr(own *layout, key uint64, after *layout) *layout {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	same := ls.byKey[key]
	if next := slices.Index(same, after) + 1; next < len(same) {
		same[next].users++
		return same[next]
	}
	if own != nil {
		ls.byKey[key] = append(same, own)
	}
	return own
}

// own returns a copy of a layout that no other target can have.
func (ls *Layouts) own(l *layout) *layout {
	ls.table.Retain(l.series())
	return &layout{
		lines:    lines{slices.Clone(l.hashes), slices.Clone(l.refs), slices.Clone(l.lengths)},
		families: slices.Clone(l.families),
		expected: l.expected, shown: l.shown, users: 1,
	}
}

func (ls *Layouts) retain(l *layout) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l.users++
}

// release takes one user from a layout, unless it is nil. With the last one the layout is gone: its series are released
// without the lock, in slices.
func (ls *Layouts) release(l *layout) {
	if l != nil && ls.drop(l) {
		ls.table.Release(l.series())
	}
}

// drop takes one user from a layout and reports whether it was the last.
func (ls *Layouts) drop(l *layout) (last bool) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if l.users--; l.users > 0 {
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

// Len returns how many different layouts targets share; for metrics.
func (ls *Layouts) Len() int {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	n := 0
	for _, l := range ls.byKey {
		n += len(l)
	}
	return n
}

// Shown is the series that a page showed: those that get a staleness marker when they are gone. It holds a reference
// of each until Release. The zero value shows nothing.
type Shown struct {
	from   *Layouts
	layout *layout
}

// Show returns ids, each of which is there once, as series that staleness follows. The caller holds references of them.
func (ls *Layouts) Show(ids iter.Seq[series.ID]) Shown {
	l := &layout{users: 1}
	for id := range ids {
		l.refs = append(l.refs, refSeries|lineRef(id))
	}
	if l.shown = len(l.refs); l.shown == 0 {
		return Shown{}
	}
	ls.table.Retain(l.series())
	return Shown{ls, l}
}

// Series yields each series that staleness follows once, in page order.
func (s Shown) Series() iter.Seq[series.ID] {
	return func(yield func(series.ID) bool) {
		if s.layout == nil {
			return
		}
		for _, ref := range s.layout.refs[:s.layout.shown] {
			if ref.isSeries() && !ref.duplicate() && !yield(ref.id()) {
				return
			}
		}
	}
}

// Release gives the references back.
func (s Shown) Release() {
	if s.layout != nil {
		s.from.release(s.layout)
	}
}
