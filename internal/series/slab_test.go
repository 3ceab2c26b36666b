package series

import (
	"math/rand/v2"
	"testing"
)

// TestSlabGrowsAndShrinks compares a slab with a plain map: numbers, values and generations. An empty slab has given
// its memory back.
func TestSlabGrowsAndShrinks(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	var s slab[int]
	want := map[uint32]int{}
	before := map[uint32]uint32{} // number -> generation of its last value
	var numbers []uint32
	for round := range 100_000 {
		if round/10_000%2 == 0 && r.IntN(4) > 0 || len(numbers) == 0 {
			n := s.add(round)
			if _, taken := want[n]; taken {
				t.Fatalf("round %d: %d was given twice", round, n)
			}
			if last, known := before[n]; known && s.gen(n) <= last {
				t.Fatalf("round %d: %d has generation %d again, after %d", round, n, s.gen(n), last)
			}
			want[n], before[n] = round, s.gen(n)
			numbers = append(numbers, n)
		} else {
			at := r.IntN(len(numbers))
			n := numbers[at]
			numbers[at] = numbers[len(numbers)-1]
			numbers = numbers[:len(numbers)-1]
			if got := *s.at(n); got != want[n] || s.gen(n) != before[n] {
				t.Fatalf("round %d: %d is %d of generation %d, want %d of %d",
					round, n, got, s.gen(n), want[n], before[n])
			}
			s.remove(n)
			delete(want, n)
			if s.gen(n) <= before[n] {
				t.Fatalf("round %d: the generation of %d did not change when it went", round, n)
			}
		}
		if s.used != len(want) {
			t.Fatalf("round %d: %d values, want %d", round, s.used, len(want))
		}
	}
	seen := 0
	for i := range s.chunks {
		s.each(i, func(n uint32, v *int) {
			if seen++; want[n] != *v {
				t.Errorf("%d is %d, want %d", n, *v, want[n])
			}
		})
	}
	if seen != len(want) {
		t.Errorf("%d values found, want %d", seen, len(want))
	}
	for _, n := range numbers {
		s.remove(n)
	}
	if s.size() > slabLen {
		t.Errorf("room for %d numbers when none has a value, want at most %d", s.size(), slabLen)
	}
}
