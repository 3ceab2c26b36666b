package hashindex

import "testing"

// TestShardedMovesFewNumbersAtATime fills a large index and empties it. No single Add or Remove may move more than a
// small part of the numbers, and the memory must be given back.
func TestShardedMovesFewNumbersAtATime(t *testing.T) {
	const n = 200_000
	hashOf := func(n uint32) uint64 { return uint64(n) * 0x9e3779b97f4a7c15 }
	size := func(x *Sharded) (bytes int) {
		for i := range x.shards {
			bytes += x.shards[i].Bytes()
		}
		return bytes
	}
	var x Sharded
	most := 0
	step := func(do func()) {
		before := x.Moved()
		do()
		most = max(most, x.Moved()-before)
	}
	for i := range uint32(n) {
		step(func() { x.Add(hashOf(i), i, hashOf) })
	}
	full := size(&x)
	for i := range uint32(n) {
		if found, ok := x.Find(hashOf(i), func(m uint32) bool { return m == i }); !ok || found != i {
			t.Fatalf("%d is lost", i)
		}
		if i%100 > 0 {
			step(func() { x.Remove(hashOf(i), i, hashOf) })
		}
	}
	few := size(&x)
	for i := uint32(0); i < n; i += 100 {
		step(func() { x.Remove(hashOf(i), i, hashOf) })
	}
	if most == 0 || most > n/100 {
		t.Errorf("%d of %d numbers moved at once, want at most a hundredth", most, n)
	}
	if x.Len() != 0 || few > full/16 || size(&x) > full/16 {
		t.Errorf("%d numbers left; %d bytes when full, %d with a hundredth, %d when empty", x.Len(), full, few,
			size(&x))
	}
}
