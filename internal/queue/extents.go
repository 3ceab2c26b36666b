package queue

import (
	"cmp"
	"slices"
)

// extent is a part of a lane on disk: {3, {52, 104}} is the bytes 52 to 103 of segment 3.
type extent struct {
	seq uint32
	span
}

// extents are sorted, and no two of them touch. For example, {3, {52, 104}}, {3, {200, 300}}, {5, {0, 48}}.
type extents []extent

// add adds a part. Parts that touch become one.
func (e *extents) add(x extent) {
	if x.empty() {
		return
	}
	i, _ := slices.BinarySearchFunc(*e, x, func(a, x extent) int {
		return cmp.Or(cmp.Compare(a.seq, x.seq), cmp.Compare(a.to, x.from))
	})
	j := i
	for ; j < len(*e) && (*e)[j].seq == x.seq && (*e)[j].from <= x.to; j++ {
		x.from, x.to = min(x.from, (*e)[j].from), max(x.to, (*e)[j].to)
	}
	*e = slices.Replace(*e, i, j, x)
}

// of returns the extents of one segment.
func (e extents) of(seq uint32) extents {
	bySeq := func(a extent, seq uint32) int { return cmp.Compare(a.seq, seq) }
	from, _ := slices.BinarySearchFunc(e, seq, bySeq)
	n := 0
	for from+n < len(e) && e[from+n].seq == seq {
		n++
	}
	return e[from : from+n]
}

// has reports whether an extent includes a position.
func (e extents) has(at position) bool {
	return slices.ContainsFunc(e.of(at.seq), func(x extent) bool { return x.from <= at.offset && at.offset < x.to })
}

// passed removes the extents that end at or before a position.
func (e *extents) passed(at position) {
	n := 0
	for n < len(*e) && (position{(*e)[n].seq, (*e)[n].to}).compare(at) <= 0 {
		n++
	}
	*e = (*e)[n:]
}

// forget removes the extents of a segment.
func (e *extents) forget(seq uint32) {
	if x := e.of(seq); len(x) > 0 {
		*e = slices.DeleteFunc(*e, func(x extent) bool { return x.seq == seq })
	}
}

// hulls returns one extent for each segment: from the begin of the first to the end of the last.
func (e extents) hulls() (h extents) {
	for _, x := range e {
		if n := len(h); n > 0 && h[n-1].seq == x.seq {
			h[n-1].to = x.to
			continue
		}
		h = append(h, x)
	}
	return h
}

// pieces splits a part of a segment at the borders of the extents. done says which pieces are in one.
func (e extents) pieces(seq uint32, at span) (parts []span, done []bool) {
	for _, x := range e.of(seq) {
		if x.to <= at.from || x.from >= at.to {
			continue
		}
		parts, done = append(parts, span{at.from, x.from}, span{max(at.from, x.from), min(at.to, x.to)}),
			append(done, false, true)
		at.from = min(at.to, x.to)
	}
	return append(parts, at), append(done, false)
}
