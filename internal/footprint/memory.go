package footprint

import (
	"context"
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

// Memory decides how far Go's heap grows between two garbage collections, and when free memory goes back to the
// operating system. The zero value is ready. Safe for concurrent use.
//
// Go lets the heap grow by a percentage of its size (GOGC). That is right for a process that makes much garbage. Where
// an agent of one node makes 30 KB in a second, 50 percent would hold the garbage of one or two minutes. So the heap may
// grow by what the process allocates in growTime. While the heap of live objects itself grows, as it does when a target
// shows its first page, it may grow by roomWhileGrowing at most.
type Memory struct {
	mu      sync.Mutex // guards the following
	fixed   bool       // the user has chosen the percentage
	set     int        // percentage in force
	last    heap       // at the last tick
	rate    float64    // bytes per second that the process allocates: the highest rate lately
	live    uint64     // bytes that the last collection left
	growing bool       // it left much more than the one before
}

const (
	mostGrowth       = 50 // percent, unless the user has chosen
	leastGrowth      = 5
	growTime         = 20 * time.Second
	leastRoom        = 512 << 10 // bytes by which the heap may always grow
	roomWhileGrowing = 32 << 20

	memoryInterval = 5 * time.Second
	// startTime is how long the start takes: discovery has listed the pods and most targets were scraped once.
	startTime   = 20 * time.Second
	releaseTime = time.Minute // at least between two releases
)

// Use takes gogc of a configuration: the percentage by which the heap grows between two collections. With 0 Run chooses
// it.
func (m *Memory) Use(gogc int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fixed := gogc != 0
	if fixed {
		m.grow(gogc)
	} else if m.fixed || m.set == 0 {
		m.grow(mostGrowth)
	}
	m.fixed = fixed
}

func (m *Memory) grow(percent int) {
	if percent != m.set {
		m.set = percent
		debug.SetGCPercent(percent)
	}
}

// Run adapts the growth of the heap until ctx ends. It returns free memory to the operating system when the start is
// over: the init functions of the linked libraries (Kubernetes' API types, the authentication of three clouds) and the
// first scrape of every target leave garbage, and the Go runtime would keep that memory for a long time. It does so
// again whenever there is more free memory than the process allocates in a minute.
func (m *Memory) Run(ctx context.Context) error {
	return m.run(ctx, collections(ctx))
}

func (m *Memory) run(ctx context.Context, collections <-chan struct{}) error {
	tick := time.NewTicker(memoryInterval)
	defer tick.Stop()
	release := time.Now().Add(startTime)
	for started := false; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-collections:
			m.collected(readHeap())
		case now := <-tick.C:
			hasFree := m.tick(readHeap())
			if !now.Before(release) && (!started || hasFree) {
				started, release = true, now.Add(releaseTime)
				debug.FreeOSMemory()
			}
		}
	}
}

// collections returns a channel that receives after each garbage collection, until ctx ends.
func collections(ctx context.Context) <-chan struct{} {
	collected := make(chan struct{}, 1)
	type sentinel struct{ pointer *int } // with a pointer, it has memory of its own
	var again func(*sentinel)
	again = func(s *sentinel) {
		select {
		case collected <- struct{}{}:
		default:
		}
		if ctx.Err() == nil {
			runtime.SetFinalizer(s, again)
		}
	}
	runtime.SetFinalizer(&sentinel{}, again)
	return collected
}

// collected takes the heap after a garbage collection.
func (m *Memory) collected(h heap) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.growing = h.live > m.live+m.live/8
	m.live = h.live
	m.rate = max(m.rate, m.rateOf(h)) // the interval is not over, so this is too low
	m.follow(h)
}

// tick takes the heap after each memoryInterval. It reports whether it is worthwhile to return the free memory.
func (m *Memory) tick(h heap) (hasFree bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rate = max(m.rate*3/4, m.rateOf(h))
	m.last = h
	m.follow(h)
	return float64(h.free) > leastRoom+m.rate*releaseTime.Seconds()
}

// rateOf returns how many bytes the process has allocated since the last tick, as if the whole interval had passed.
func (m *Memory) rateOf(h heap) float64 {
	return float64(h.allocated-m.last.allocated) / memoryInterval.Seconds()
}

// follow sets the percentage, unless the user has chosen it, or it would hardly change.
func (m *Memory) follow(h heap) {
	want := h.percent(max(leastRoom, m.rate*growTime.Seconds()))
	if m.growing {
		want = h.percent(roomWhileGrowing)
	}
	if !m.fixed && (want == mostGrowth || math.Abs(float64(want-m.set)) > float64(m.set)/4) {
		m.grow(want)
	}
}

// heap is the state of Go's heap, in bytes.
type heap struct {
	allocated uint64 // since the process began
	free      uint64 // not in use, and not returned to the operating system
	live      uint64 // left by the last collection
	roots     uint64 // stacks and global variables
}

// percent returns the percentage by which the heap may grow so that it has the given room.
func (h heap) percent(room float64) int {
	return int(min(mostGrowth, max(leastGrowth, 100*room/float64(max(1, h.live+h.roots)))))
}

func readHeap() heap {
	s := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"},
	}
	metrics.Read(s)
	read := func(i int) uint64 { return s[i].Value.Uint64() }
	return heap{allocated: read(0), free: read(1), live: read(2), roots: read(3) + read(4)}
}
