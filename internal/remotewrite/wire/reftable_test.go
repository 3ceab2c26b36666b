package wire

import (
	"math/rand/v2"
	"testing"
)

// TestRecent compares a table of references with a map over rounds of very different sizes, past the end of the count
// of rounds.
func TestRecent(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	r := refTable{round: 1<<32 - 50}
	for round := range 100 {
		r.begin()
		want := map[uint64]uint32{}
		keys := []int{10, 20_000, 300}[round%3]
		for range 2 * keys {
			key := uint64(random.Uint32N(3))<<32 | uint64(random.IntN(keys))
			ref, ok := r.find(key)
			if last, known := want[key]; ok != known || ref != last {
				t.Fatalf("round %d: %x has %d, %v, want %d, %v", round, key, ref, ok, last, known)
			}
			if !ok {
				want[key] = uint32(len(want))
				r.add(key, want[key])
			}
		}
	}
	for range 20 {
		r.begin()
		r.add(1, 1)
	}
	if n := len(r.slots); n > keptRecent {
		t.Errorf("%d slots after 20 rounds of one reference, want at most %d", n, keptRecent)
	}
}
