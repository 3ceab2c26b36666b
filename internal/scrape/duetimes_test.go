package scrape

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestDueTimesKeepTheEarliestFirst compares the heap with a sorted list, over random changes.
func TestDueTimesKeepTheEarliestFirst(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	now := time.Now()
	var d dueTimes
	var waiting, idle []*loop
	for range 200 {
		idle = append(idle, &loop{heapIndex: -1})
	}
	move := func(from, to *[]*loop) *loop {
		i := random.IntN(len(*from))
		l := (*from)[i]
		*from = slices.Delete(*from, i, i+1)
		*to = append(*to, l)
		return l
	}
	for step := range 20_000 {
		switch what := random.IntN(3); {
		case what == 0 && len(idle) > 0:
			l := move(&idle, &waiting)
			l.life.due = now.Add(time.Duration(random.IntN(1000)-100) * time.Millisecond)
			d.set(l)
		case what == 1 && len(waiting) > 0:
			l := move(&waiting, &waiting)
			l.life.due = now.Add(time.Duration(random.IntN(1000)) * time.Millisecond)
			d.set(l)
		case what == 2 && len(waiting) > 0:
			d.remove(move(&waiting, &idle))
		}
		if len(d.entries) != len(waiting) {
			t.Fatalf("step %d: %d entries for %d loops", step, len(d.entries), len(waiting))
		}
		for i, e := range d.entries {
			if int(e.l.heapIndex) != i || !d.base.Add(e.due).Equal(e.l.life.due) {
				t.Fatalf("step %d: entry %d is of a loop at %d, due %v", step, i, e.l.heapIndex, e.due)
			}
		}
		if len(waiting) == 0 {
			continue
		}
		earliest := slices.MinFunc(waiting, func(a, b *loop) int { return a.life.due.Compare(b.life.due) })
		if first := d.entries[0].l.life.due; !first.Equal(earliest.life.due) {
			t.Fatalf("step %d: first is due at %v, want %v", step, first, earliest.life.due)
		}
	}
}
