package aggregate

import (
	"math"
	"slices"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// isNew is what source.last has of a series that is new on the page, until it is known whether the process is new, too.
const isNew = -1

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
