package chance

import (
	"slices"
	"testing"
)

// draw returns some numbers of a source.
func draw(s Source) (numbers []uint64) {
	r := s.Rand()
	for range 8 {
		numbers = append(numbers, r.Uint64())
	}
	return numbers
}

func TestNumbersFollowFromSeedAndOwner(t *testing.T) {
	seen := map[uint64]string{}
	for name, s := range map[string]Source{
		"seed 1": Seeded(1), "seed 0": Seeded(0), "a": Seeded(1).Of("a"), "b": Seeded(1).Of("b"),
		"a of seed 0": Seeded(0).Of("a"), "a of a": Seeded(1).Of("a").Of("a"),
	} {
		numbers := draw(s)
		if again := draw(s); !slices.Equal(numbers, again) {
			t.Errorf("%s: %v, and then %v", name, numbers, again)
		}
		for _, n := range numbers {
			if other, ok := seen[n]; ok {
				t.Errorf("%s and %s share %d", name, other, n)
			}
			seen[n] = name
		}
	}
}

// TestZeroSourceIsNotPredictable: two owners, also of one name, get other numbers each time.
func TestZeroSourceIsNotPredictable(t *testing.T) {
	var s Source
	a, b, named, again := draw(s), draw(s), draw(s.Of("a")), draw(s.Of("a"))
	if slices.Equal(a, b) || slices.Equal(a, named) || slices.Equal(b, named) || slices.Equal(named, again) {
		t.Errorf("the same numbers twice: %v, %v, %v, %v", a, b, named, again)
	}
}
