package scrape

import "time"

// dueTimes is a heap of loops by due time, for the schedule. Each loop knows its place in it, heapIndex. The zero value
// is an empty heap.
type dueTimes struct {
	base    time.Time // the due times of entries are counted from here
	entries []dueEntry
}

// dueEntry is a loop with its due time, so that a comparison need not follow the pointer.
type dueEntry struct {
	due time.Duration // since base
	l   *loop
}

// set puts a loop to the place of its due time, which may have changed.
func (d *dueTimes) set(l *loop) {
	if d.base.IsZero() {
		d.base = l.life.due
	}
	if l.heapIndex < 0 {
		l.heapIndex = int32(len(d.entries))
		d.entries = append(d.entries, dueEntry{})
	}
	e := dueEntry{l.life.due.Sub(d.base), l}
	d.down(e, d.up(e, int(l.heapIndex)))
}

// remove takes out a loop, which must be there.
func (d *dueTimes) remove(l *loop) {
	i, end := int(l.heapIndex), len(d.entries)-1
	last := d.entries[end]
	d.entries[end] = dueEntry{}
	d.entries = d.entries[:end]
	if l.heapIndex = -1; i < end {
		d.down(last, d.up(last, i))
	}
}

// up moves an entry from a free place i towards the first, as far as it is due before others. It returns its place.
func (d *dueTimes) up(e dueEntry, i int) int {
	for i > 0 {
		parent := (i - 1) / 2
		if d.entries[parent].due <= e.due {
			break
		}
		d.put(d.entries[parent], i)
		i = parent
	}
	d.put(e, i)
	return i
}

// down moves an entry from its place i away from the first, as far as others are due before it.
func (d *dueTimes) down(e dueEntry, i int) {
	for {
		child := 2*i + 1
		if right := child + 1; right < len(d.entries) && d.entries[right].due < d.entries[child].due {
			child = right
		}
		if child >= len(d.entries) || d.entries[child].due >= e.due {
			break
		}
		d.put(d.entries[child], i)
		i = child
	}
	d.put(e, i)
}

func (d *dueTimes) put(e dueEntry, i int) {
	d.entries[i] = e
	e.l.heapIndex = int32(i)
}
