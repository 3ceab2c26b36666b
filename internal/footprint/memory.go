// Package footprint lowers what the Go runtime itself costs: memory for garbage (memory.go), and threads that look for
// work (processors.go).
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

// Memory decides how far Go's heap grows between two garbage collections, and returns free memory to the operating
// system after the start. The zero value is ready. Safe for concurrent use.
//
// Go lets the heap grow by a percentage of its size (GOGC), and Memory chooses the percentage:
//
//   - The heap may grow by what the process allocates in growTime. An agent of one node allocates some 50 KB a second:
//     with 50 percent it would hold the garbage of a minute.
//   - A small heap may grow by a fifth, since collecting it takes little time. It also stays dense: what a high heap
//     leaves behind is many spans that are nearly empty.
//   - A heap whose live objects have become more within growingTicks, as while a target's first page is read and sent,
//     may grow by roomWhileGrowing at most.
type Memory struct {
	mu      sync.Mutex // guards the following
	fixed   bool       // the user has chosen the percentage
	set     int        // percentage in force
	last    heap       // at the last tick
	rate    float64    // bytes per second that the process allocates: the highest rate lately
	live    uint64     // bytes that the last collection before the last tick left
	growing int        // ticks until the live heap is no longer seen as growing
}

const (
	mostGrowth       = 50 // percent, unless the user has chosen
	mostOfSmall      = 20
	leastGrowth      = 5
	growTime         = 20 * time.Second
	smallHeap        = 8 << 20
	leastRoom        = 512 << 10 // bytes by which the heap may always grow
	roomWhileGrowing = 16 << 20
	growingTicks     = 6 // until what was read has been sent, too

	memoryInterval = 5 * time.Second
	// startTime is how long the start takes: discovery has listed the pods, most targets were scraped once, and their
	// samples were sent.
	startTime = 30 * time.Second
)

// Use takes gogc of a configuration: the percentage by which the heap grows between two collections. With 0 Run chooses
// it: a heap that is collected all the time helps nobody.
func (m *Memory) Use(gogc int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	fixed := gogc != 0
	if fixed {
		m.grow(gogc)
	} else if m.fixed || m.set == 0 {
		m.grow(mostOfSmall)
	}
	m.fixed = fixed
}

func (m *Memory) grow(percent int) {
	if percent != m.set {
		m.set = percent
		debug.SetGCPercent(percent)
	}
}

// Run adapts the percentage until ctx ends. When the start is over it returns the free memory to the operating system,
// once: the init functions of the linked libraries (Kubernetes' API types, the authentication of three clouds) and the
// first scrape of every target leave garbage, and the Go runtime would keep that memory for a long time.
func (m *Memory) Run(ctx context.Context) error {
	return m.run(ctx, collections(ctx))
}

func (m *Memory) run(ctx context.Context, collections <-chan struct{}) error {
	tick := time.NewTicker(memoryInterval)
	defer tick.Stop()
	started := time.After(startTime)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-collections:
			m.collected(readHeap())
		case <-tick.C:
			m.tick(readHeap())
		case <-started:
			debug.FreeOSMemory()
		}
	}
}

// collections returns a channel that receives after each garbage collection, until ctx ends.
func collections(ctx context.Context) <-chan struct{} {
	collected := make(chan struct{}, 1)
	type sentinel struct{ _ *int } // without a pointer, it might share its memory with others
	var again func(*sentinel)
	again = func(s *sentinel) {
		if ctx.Err() == nil {
			runtime.SetFinalizer(s, again)
		}
		select {
		case collected <- struct{}{}:
		default:
		}
	}
	runtime.SetFinalizer(&sentinel{}, again)
	return collected
}

// collected takes the heap after a garbage collection.
func (m *Memory) collected(h heap) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if h.live > m.live+m.live/8 {
		m.growing = growingTicks
	}
	m.rate = max(m.rate, m.rateOf(h)) // the interval is not over, so this is too low
	m.follow(h)
}

// tick takes the heap after each memoryInterval.
func (m *Memory) tick(h heap) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rate = max(m.rate/2, m.rateOf(h))
	m.last, m.live, m.growing = h, h.live, max(0, m.growing-1)
	m.follow(h)
}

// rateOf returns how many bytes the process has allocated since the last tick, as if the whole interval had passed.
func (m *Memory) rateOf(h heap) float64 {
	return float64(h.allocated-m.last.allocated) / memoryInterval.Seconds()
}

// follow sets the percentage, unless the user has chosen it, or it would hardly change. While the live objects become
// more, the same percentage means more room after each collection, so it is always set.
func (m *Memory) follow(h heap) {
	room := max(leastRoom, m.rate*growTime.Seconds())
	if m.growing > 0 {
		room = min(room, roomWhileGrowing)
	}
	want := h.percent(room)
	if !m.fixed && (want == mostGrowth || m.growing > 0 || math.Abs(float64(want-m.set)) > float64(m.set)/4) {
		m.grow(want)
	}
}

// heap is the state of Go's heap, in bytes.
type heap struct {
	allocated uint64 // since the process began
	live      uint64 // left by the last collection
	roots     uint64 // stacks and global variables
}

// percent returns the percentage by which the heap may grow so that it has the given room.
func (h heap) percent(room float64) int {
	base, most := max(1, h.live+h.roots), float64(mostGrowth)
	if base < smallHeap {
		most = mostOfSmall
	}
	return int(min(most, max(leastGrowth, 100*room/float64(base))))
}

func readHeap() heap {
	s := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"},
	}
	metrics.Read(s)
	read := func(i int) uint64 { return s[i].Value.Uint64() }
	return heap{allocated: read(0), live: read(1), roots: read(2) + read(3)}
}
