package pack

import (
	"slices"

	"github.com/prometheus/prometheus/model/labels"
)

// unboundRow is a row whose last timestamp is remembered by itself.
type unboundRow struct {
	row
	hash  uint64        // of its labels, the same in every process
	route uint64        // chooses the lane: hash, or the hash of its target
	text  labels.Labels // its labels, where they are not the table's
}

// unboundRows are the unbound rows of one batch.
type unboundRows struct {
	rows   []unboundRow
	order  []int32 // indices of rows, by lane
	starts []int32 // where in order the rows of each lane begin; one more than there are lanes
}

// sort groups the rows by lane. The rows of a lane keep the order of the page.
func (l *unboundRows) sort(lanes int) {
	l.starts = slices.Grow(l.starts[:0], lanes+1)[:lanes+1]
	clear(l.starts)
	for i := range l.rows {
		l.starts[l.rows[i].route%uint64(lanes)+1]++
	}
	for i := range lanes {
		l.starts[i+1] += l.starts[i]
	}
	l.order = slices.Grow(l.order[:0], len(l.rows))[:len(l.rows)]
	for i := range l.rows {
		next := &l.starts[l.rows[i].route%uint64(lanes)]
		l.order[*next] = int32(i)
		*next++
	}
	copy(l.starts[1:], l.starts) // each start has moved to the next one
	l.starts[0] = 0
}
