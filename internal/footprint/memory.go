package footprint

import (
	"context"
	"math"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

// Memory decides how far Go's heap grows between two garbage collections, and when free memory goes back to the
// operating system. The zero value is ready. Safe for concurrent use.
//
// Go lets the heap grow by a percentage of its size (GOGC). That is right for a process that makes much garbage. An
// agent of one node makes 20 KB a second: with 50 percent it would collect every two minutes, and hold 2.5 MiB of
// garbage. So the heap may grow by what the process allocates in growTime.
type Memory struct {
	mu    sync.Mutex // guards the following
	fixed bool       // the user has chosen the percentage
	set   int        // percentage in force
	rate  float64    // bytes per second that the process allocates: the highest rate lately
}

const (
	mostGrowth  = 50 // percent, unless the user has chosen
	leastGrowth = 5
	growTime    = 20 * time.Second
	leastRoom   = 512 << 10 // bytes by which the heap may always grow

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
	tick := time.NewTicker(memoryInterval)
	defer tick.Stop()
	before, release := readHeap(), time.Now().Add(startTime)
	for started := false; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		h := readHeap()
		isCalm := m.adapt(h, h.allocated-before.allocated)
		before = h
		if now := time.Now(); !now.Before(release) && (!started || isCalm) {
			started, release = true, now.Add(releaseTime)
			debug.FreeOSMemory()
		}
	}
}

// adapt takes the heap and the bytes that were allocated in the last interval. It reports whether it is worthwhile to
// return the free memory.
func (m *Memory) adapt(h heap, allocated uint64) (isCalm bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rate = max(float64(allocated)/memoryInterval.Seconds(), m.rate*3/4)
	if want := h.growth(m.rate); !m.fixed && (want == mostGrowth || math.Abs(float64(want-m.set)) > float64(m.set)/4) {
		m.grow(want)
	}
	return float64(h.free) > leastRoom+m.rate*releaseTime.Seconds()
}

// heap is the state of Go's heap, in bytes.
type heap struct {
	allocated uint64 // since the process began
	base      uint64 // what a percentage is of: live objects, stacks, and global variables
	free      uint64 // not in use, and not returned to the operating system
}

// growth returns the percentage by which the heap may grow if so many bytes are allocated in a second.
func (h heap) growth(rate float64) (percent int) {
	room := max(leastRoom, rate*growTime.Seconds())
	return int(min(mostGrowth, max(leastGrowth, 100*room/float64(max(1, h.base)))))
}

func readHeap() heap {
	s := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"},
	}
	metrics.Read(s)
	h := heap{allocated: s[0].Value.Uint64(), free: s[1].Value.Uint64()}
	for _, part := range s[2:] {
		h.base += part.Value.Uint64()
	}
	return h
}
