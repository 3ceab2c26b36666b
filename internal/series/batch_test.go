package series

import "testing"

func TestALargeBatchIsNotKept(t *testing.T) {
	var b Batch
	fill := func(n int) {
		b.Reset(0, 1)
		for i := range n {
			b.Times = append(b.Times, OwnTime{Index: b.Add(1, 1)})
			b.Exemplars = append(b.Exemplars, Exemplar{Index: i})
		}
	}
	fill(500_000)
	fill(100_000)
	if n := cap(b.Series); n < 500_000 {
		t.Errorf("room for %d samples after 100,000 of 500,000 were used, want it kept", n)
	}
	fill(100)
	fill(100)
	if n := max(cap(b.Series), cap(b.Values), cap(b.Times), cap(b.Exemplars)); n > maxKeptRows {
		t.Errorf("room for %d samples after scrapes of 100, want at most %d", n, maxKeptRows)
	}
	fill(maxKeptRows / 2)
	fill(1)
	if n := testing.AllocsPerRun(5, func() { fill(maxKeptRows / 2); fill(1) }); n != 0 {
		t.Errorf("%v allocations in scrapes of different sizes, want 0", n)
	}
}
