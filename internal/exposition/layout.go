package exposition

import (
	"iter"
	"math"
	"slices"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// lines are the lines of a page in three parallel slices. The page
//
//	# TYPE istio_requests_total counter
//	istio_requests_total{response_code="200"} 17
//	istio_requests_total{response_code="404"} 3
//
// is, if a rule drops the second series (the hash depends on the process):
//
//	hash                ref          length of the hashed text
//	0x8c1f3a90552e7d04  family 0     35
//	0x03b2c4d177f0a96e  series 4711  41, up to the blank before the value
//	0xe94a01bb6c83f215  dropped      41
type lines struct {
	hashes  []uint64
	refs    []lineRef
	lengths []uint16 // in bytes; 0: longer than 65,535, not kept
}

// lineRef says what a line is, in 32 bits: the kind (bits 31 and 30), a mark (29 and 28) and the number of a series or
// of a family (27 to 0). A line of series 4711 (0x1267) is 0x00001267, and 0x20001267 if it is a duplicate on its page.
type lineRef uint32

const (
	refSeries  lineRef = iota << 30
	refDropped         // by metric relabeling
	refComment
	refFamily // TYPE or HELP
	kindMask  = 3 << 30

	// markUncounted is on lines of the layout behind those of the last good page: no page has counted the line as
	// added yet (see additions).
	markUncounted lineRef = 1 << 28
	// markDuplicate is on lines of a good page whose series an earlier line of the page has, with another text. On
	// pages with timestamps of their own, where no line is expected, also on series that staleness does not follow.
	markDuplicate lineRef = 2 << 28
	// markRepeated is markDuplicate for a line whose earlier line has the same text.
	markRepeated lineRef = 3 << 28
	markMask             = 3 << 28

	numberMask = 1<<28 - 1
)

func (r lineRef) kind() lineRef   { return r & kindMask }
func (r lineRef) mark() lineRef   { return r & markMask }
func (r lineRef) bare() lineRef   { return r &^ markMask }
func (r lineRef) number() int     { return int(r & numberMask) }
func (r lineRef) id() series.ID   { return series.ID(r & numberMask) }
func (r lineRef) isSeries() bool  { return r.kind() == refSeries }
func (r lineRef) duplicate() bool { return r&markDuplicate != 0 } // or repeated

func (l *lines) append(hash uint64, ref lineRef, length uint16) {
	l.hashes, l.refs, l.lengths = append(l.hashes, hash), append(l.refs, ref), append(l.lengths, length)
}

// copyFrom makes the first n lines of other all the lines of l.
func (l *lines) copyFrom(other *lines, n int) {
	l.hashes = append(l.hashes[:0], other.hashes[:n]...)
	l.refs = append(l.refs[:0], other.refs[:n]...)
	l.lengths = append(l.lengths[:0], other.lengths[:n]...)
}

func (l *lines) len() int { return len(l.hashes) }

// bytes returns how much memory the lines take.
func (l *lines) bytes() int { return 8*cap(l.hashes) + 4*cap(l.refs) + 2*cap(l.lengths) }

// series yields the id of every line that is a series, as often as there are lines.
func (l *lines) series() iter.Seq[series.ID] {
	return func(yield func(series.ID) bool) {
		for _, ref := range l.refs {
			if ref.isSeries() && !yield(ref.id()) {
				return
			}
		}
	}
}

// lengthOf returns the length of a text as lines keep it.
func lengthOf(text []byte) uint16 {
	if len(text) > math.MaxUint16 {
		return 0
	}
	return uint16(len(text))
}

// layout is what a target has taught: the lines of its last good page, in order, then lines that only pages have shown
// that failed. Immutable once a page has it. Replicas print the same lines with other values, so their pages share one
// layout.
//
// Invariant: 0 <= expected <= shown <= len(). The layout holds one reference of a series for each of its lines.
//
// Cost: 14 bytes per line, 16 per family, once for all targets that print the same page.
type layout struct {
	lines
	families []family // of the lines of kind refFamily

	expected int // lines[:expected] are the next page if it is like the last: shown, or 0
	shown    int // lines[:shown] are the last good page

	users int // pages and Shown that have the layout; guarded by the mutex of Layouts

	// Immutable once another target can have the layout.
	key    uint64
	shared bool
}

// same reports whether two layouts are interchangeable.
func (l *layout) same(m *layout) bool {
	return l.expected == m.expected && l.shown == m.shown &&
		slices.Equal(l.hashes, m.hashes) && slices.Equal(l.refs, m.refs) &&
		slices.Equal(l.lengths, m.lengths) && slices.Equal(l.families, m.families)
}

// hash returns a hash of the layout, equal for those that are the same.
func (l *layout) hash() uint64 {
	key := uint64(l.expected)<<32 ^ uint64(l.shown)
	for i, h := range l.hashes {
		key = (key ^ h ^ uint64(l.refs[i])) * 0xff51afd7ed558ccd
		key ^= key >> 29
	}
	return key
}
