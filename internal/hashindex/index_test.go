package hashindex

import (
	"math/rand/v2"
	"testing"
)

// FuzzIndex compares an Index with a map. The hashes collide often.
func FuzzIndex(f *testing.F) {
	f.Add(uint64(1), uint8(0))
	f.Add(uint64(2), uint8(3))
	f.Add(uint64(3), uint8(60))
	f.Fuzz(func(t *testing.T, seed uint64, shift uint8) {
		r := rand.New(rand.NewPCG(seed, 0))
		hashOf := func(n uint32) uint64 { return uint64(n) * 0x9e3779b97f4a7c15 >> (shift % 64) }
		var x Index
		want := map[uint32]bool{}
		for range 3000 {
			n := r.Uint32N(700)
			_, ok := x.Find(hashOf(n), func(m uint32) bool { return m == n })
			switch {
			case ok != want[n]:
				t.Fatalf("%d: found %v, want %v", n, ok, want[n])
			case ok:
				x.Remove(hashOf(n), n, hashOf)
				delete(want, n)
			default:
				x.Add(hashOf(n), n, hashOf)
				want[n] = true
			}
			if x.Len() != len(want) {
				t.Fatalf("%d numbers, want %d", x.Len(), len(want))
			}
		}
		for n := range want {
			if _, ok := x.Find(hashOf(n), func(m uint32) bool { return m == n }); !ok {
				t.Fatalf("%d is lost", n)
			}
		}
		x.Reset(10)
		if _, ok := x.Find(hashOf(1), func(uint32) bool { return true }); ok || x.Len() != 0 {
			t.Fatal("not empty after Reset")
		}
	})
}

func TestSet(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var s Set
	for range 3 {
		want := map[uint32]bool{}
		if s.Has(1) {
			t.Fatal("an empty set has a number")
		}
		for range 5000 {
			n := 1 + r.Uint32N(3000)
			if s.Has(n) != want[n] || s.Add(n) == want[n] {
				t.Fatalf("%d: want there: %v", n, want[n])
			}
			want[n] = true
		}
		s.Reset(100)
	}
}
