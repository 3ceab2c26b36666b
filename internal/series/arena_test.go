package series

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestArenaIsNeverMuchLargerThanWhatIsInUse puts and releases runs of all lengths, which grow as on the pages of a pod
// that prints one label more per line each time, and compares with a plain map.
func TestArenaIsNeverMuchLargerThanWhatIsInUse(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var a arena
	want, offs := map[StemID][]Pair{}, map[StemID]uint32{}
	var ids []StemID
	moves := 0
	moved := func(id StemID, off uint32) {
		if want[id] == nil {
			t.Fatalf("run of stem %d moved, which has none", id)
		}
		offs[id] = off
		moves++
	}
	next := StemID(0)
	for round := range 200_000 {
		longest := 1 + round/2000
		if round%5000 == 0 {
			longest = 2 * chunkLen // longer than a chunk
		}
		if round/20_000%2 == 0 && r.IntN(3) > 0 || len(ids) == 0 {
			run := make([]Pair, 1+r.IntN(longest))
			for i := range run {
				run[i] = Pair{Symbol(r.Uint32()), Symbol(next)}
			}
			want[next], offs[next] = run, a.put(next, run)
			ids = append(ids, next)
			next++
		} else {
			at := r.IntN(len(ids))
			id := ids[at]
			ids[at] = ids[len(ids)-1]
			ids = ids[:len(ids)-1]
			off, n := offs[id], len(want[id])
			delete(want, id)
			a.release(off, n, moved)
		}
		if round%997 == 0 {
			used := 0
			for id, run := range want {
				used += len(run) + 1
				if !slices.Equal(a.get(offs[id], len(run)), run) {
					t.Fatalf("round %d: run of stem %d is not what was put", round, id)
				}
			}
			size := 0
			for _, c := range a.chunks {
				size += cap(c.pairs)
			}
			if a.used != used || a.size != size || size > 2*(used+chunkLen) {
				t.Fatalf("round %d: %d pairs in use, %d counted; room for %d, %d counted",
					round, used, a.used, size, a.size)
			}
		}
	}
	if moves == 0 {
		t.Error("no run moved")
	}
	for _, id := range ids {
		off, n := offs[id], len(want[id])
		delete(want, id)
		a.release(off, n, moved)
	}
	if a.used != 0 || a.size > chunkLen {
		t.Errorf("%d pairs in use, room for %d, want 0 and at most one chunk", a.used, a.size)
	}
}
