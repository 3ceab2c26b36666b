package footprint

import (
	"context"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"
)

// percentInForce returns Go's percentage.
func percentInForce() int {
	percent := debug.SetGCPercent(100)
	debug.SetGCPercent(percent)
	return percent
}

func restorePercent(t *testing.T) {
	t.Helper()
	percent := percentInForce()
	t.Cleanup(func() { debug.SetGCPercent(percent) })
}

func TestTheHeapGrowsByWhatIsAllocatedSoon(t *testing.T) {
	const mib = 1 << 20
	for name, tc := range map[string]struct {
		base uint64
		rate float64
		want int
	}{
		"a node's agent":         {7 * mib, 20 << 10, 7},
		"a little more":          {7 * mib, 50 << 10, 13},
		"much":                   {7 * mib, mib, mostGrowth},
		"a large heap at rest":   {100 * mib, 0, leastGrowth},
		"a large heap at work":   {100 * mib, mib, 20},
		"nothing collected yet":  {0, 0, mostGrowth},
		"a small heap at rest":   {2 * mib, 0, 25},
		"more than the heap has": {100 * mib, 100 * mib, mostGrowth},
	} {
		if got := (heap{base: tc.base}).growth(tc.rate); got != tc.want {
			t.Errorf("%s: %d percent, want %d", name, got, tc.want)
		}
	}
}

func TestGrowthFollowsTheRate(t *testing.T) {
	restorePercent(t)
	var m Memory
	m.Use(0)
	if percentInForce() != mostGrowth {
		t.Errorf("%d percent at the start, want %d", percentInForce(), mostGrowth)
	}
	h := heap{base: 10 << 20}
	for range 100 {
		m.adapt(h, 0)
	}
	atRest := percentInForce()
	if want := h.growth(0); atRest < want-1 || atRest > want+want/4+1 {
		t.Errorf("%d percent at rest, want about %d", atRest, want)
	}
	m.adapt(h, 10<<20) // 2 MiB a second
	if percentInForce() != mostGrowth {
		t.Errorf("%d percent under load, want %d at once", percentInForce(), mostGrowth)
	}
	m.adapt(h, 0)
	if percentInForce() != mostGrowth {
		t.Errorf("%d percent right after a load, want still %d", percentInForce(), mostGrowth)
	}
}

func TestThePercentageOfTheUserStays(t *testing.T) {
	restorePercent(t)
	var m Memory
	for _, gogc := range []int{75, 30, -1} {
		m.Use(gogc)
		m.adapt(heap{base: 10 << 20}, 0)
		if percentInForce() != gogc {
			t.Errorf("%d percent, want %d", percentInForce(), gogc)
		}
	}
	m.Use(0)
	if percentInForce() != mostGrowth {
		t.Errorf("%d percent when the user has none any more, want %d", percentInForce(), mostGrowth)
	}
}

func TestMemoryIsReleasedIfItIsNotNeededSoon(t *testing.T) {
	restorePercent(t)
	for name, tc := range map[string]struct {
		free, allocated uint64
		want            bool
	}{
		"much free memory":                 {4 << 20, 0, true},
		"little free memory":               {leastRoom, 0, false},
		"allocated again within a minute":  {4 << 20, 5 * 100 << 10, false},
		"more than allocated in a minute":  {8 << 20, 5 * 100 << 10, true},
		"no free memory and no allocation": {0, 0, false},
	} {
		var m Memory
		if got := m.adapt(heap{base: 10 << 20, free: tc.free}, tc.allocated); got != tc.want {
			t.Errorf("%s: released is %v, want %v", name, got, tc.want)
		}
	}
}

func TestMemoryRunEndsWithItsContext(t *testing.T) {
	restorePercent(t)
	synctest.Test(t, func(t *testing.T) {
		var m Memory
		ctx, cancel := context.WithTimeout(t.Context(), startTime+memoryInterval)
		defer cancel()
		began := time.Now()
		if err := m.Run(ctx); err != nil || time.Since(began) != startTime+memoryInterval {
			t.Errorf("ended after %v with %v, want at the end of its context", time.Since(began), err)
		}
	})
}

func TestTheHeapIsRead(t *testing.T) {
	if h := readHeap(); h.allocated == 0 || h.base == 0 {
		t.Errorf("heap is %+v", h)
	}
}
