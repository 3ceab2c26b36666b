package footprint

import (
	"context"
	"runtime"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"
)

const mib = 1 << 20

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

func TestPercentGivesTheRoom(t *testing.T) {
	for name, tc := range map[string]struct {
		live, roots uint64
		room        float64
		want        int
	}{
		"some":                  {6 * mib, 4 * mib, mib, 10},
		"more than half":        {6 * mib, 4 * mib, 9 * mib, mostGrowth},
		"little of a large one": {100 * mib, 0, mib, leastGrowth},
		"little of a small one": {6 * mib, mib, mib, 14},
		"much of a small one":   {6 * mib, mib, 9 * mib, mostOfSmall},
		"nothing collected yet": {0, 0, leastRoom, mostOfSmall},
	} {
		if got := (heap{live: tc.live, roots: tc.roots}).percent(tc.room); got != tc.want {
			t.Errorf("%s: %d percent, want %d", name, got, tc.want)
		}
	}
}

// process is a process that allocates.
type process struct {
	m    Memory
	heap heap
}

func newProcess(t *testing.T, live uint64) *process {
	t.Helper()
	restorePercent(t)
	p := &process{heap: heap{live: live}}
	p.m.Use(0)
	p.m.collected(p.heap)
	p.ticks(growingTicks, 0) // it has grown from nothing
	return p
}

// ticks lets intervals pass in which the process allocates.
func (p *process) ticks(n int, bytes uint64) {
	for range n {
		p.heap.allocated += bytes
		p.m.tick(p.heap)
	}
}

func TestTheHeapGrowsByWhatIsAllocatedSoon(t *testing.T) {
	p := newProcess(t, 10*mib)
	p.ticks(1, 100*mib)
	if got := percentInForce(); got != mostGrowth {
		t.Errorf("%d percent while it starts, want %d", got, mostGrowth)
	}
	p.ticks(2, 0)
	if got := percentInForce(); got != mostGrowth {
		t.Errorf("%d percent right after that, want still %d", got, mostGrowth)
	}
	p.ticks(100, mib/2) // 2 MiB in growTime
	if got := percentInForce(); got < 18 || got > 24 {
		t.Errorf("%d percent, want about 20", got)
	}
	p.ticks(100, 0)
	if got := percentInForce(); got < leastGrowth || got > leastGrowth+leastGrowth/4 {
		t.Errorf("%d percent at rest, want about %d", got, leastGrowth)
	}
}

func TestABurstNeedsNoTick(t *testing.T) {
	p := newProcess(t, 10*mib)
	p.ticks(100, 0)
	p.heap.allocated += 20 * mib
	p.m.collected(p.heap)
	if got := percentInForce(); got != mostGrowth {
		t.Errorf("%d percent after a collection in a burst, want %d", got, mostGrowth)
	}
}

func TestALargeHeapThatGrowsHasLittleRoom(t *testing.T) {
	p := newProcess(t, 100*mib)
	p.ticks(1, 1000*mib)
	p.heap.live = 160 * mib
	p.m.collected(p.heap)
	if got := percentInForce(); got != 10 {
		t.Errorf("%d percent, want 10: %d bytes of room", got, roomWhileGrowing)
	}
	p.heap.live = 170 * mib // by less than an eighth
	p.m.collected(p.heap)
	if got := percentInForce(); got != 9 {
		t.Errorf("%d percent when it has grown a little more, want 9: %d bytes of room", got, roomWhileGrowing)
	}
	p.ticks(growingTicks-1, 1000*mib)
	if got := percentInForce(); got != 9 {
		t.Errorf("%d percent while what it has read is sent, want still 9", got)
	}
	p.ticks(1, 1000*mib)
	if got := percentInForce(); got != mostGrowth {
		t.Errorf("%d percent when the heap grows no more, want %d", got, mostGrowth)
	}
}

func TestThePercentageOfTheUserStays(t *testing.T) {
	restorePercent(t)
	var m Memory
	for _, gogc := range []int{75, 30, -1} {
		m.Use(gogc)
		m.tick(heap{live: 10 * mib})
		m.collected(heap{live: 200 * mib})
		if percentInForce() != gogc {
			t.Errorf("%d percent, want %d", percentInForce(), gogc)
		}
	}
	m.Use(0)
	if percentInForce() != mostOfSmall {
		t.Errorf("%d percent when the user has none any more, want %d", percentInForce(), mostOfSmall)
	}
}

func TestMemoryIsReleasedAfterTheStart(t *testing.T) {
	restorePercent(t)
	synctest.Test(t, func(t *testing.T) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		ctx, cancel := context.WithTimeout(t.Context(), startTime+time.Second)
		defer cancel()
		began := time.Now()
		if err := new(Memory).run(ctx, nil); err != nil || time.Since(began) != startTime+time.Second {
			t.Errorf("ended after %v with %v, want at the end of its context", time.Since(began), err)
		}
		if runtime.ReadMemStats(&after); after.NumForcedGC == before.NumForcedGC {
			t.Error("nothing was collected")
		}
	})
}

func TestEachCollectionIsNoticed(t *testing.T) {
	noticed := collections(t.Context())
	for times := 0; times < 3; {
		runtime.GC() // a finalizer that is still running misses it
		select {
		case <-noticed:
			times++
		default:
			runtime.Gosched()
		}
	}
}

func TestTheHeapIsRead(t *testing.T) {
	runtime.GC()
	if h := readHeap(); h.allocated == 0 || h.live == 0 || h.roots == 0 {
		t.Errorf("heap is %+v", h)
	}
}
