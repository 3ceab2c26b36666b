package aggregate

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// group holds the aggregates of one target label set. To the receiver it is one target.
type group struct {
	number int             // in the order in which groups are locked
	target series.TargetID // with one reference
	feeds  int             // that have the group; guarded by Aggregates.mu

	mu       sync.Mutex // guards the following
	slots    []slot
	byID     map[slotKey]uint32
	free     []uint32 // slots that can be used again
	bounds   allBounds
	sources  map[*source]struct{}
	having   map[time.Duration]int // sources by their intervals
	interval time.Duration         // between two ticks: that of most sources
	next     int64                 // the next tick, Unix milliseconds
	ticked   int64                 // the last batch, Unix milliseconds; 0: none
	gauges   int                   // slots that are gauges
}

// slot is one aggregate, with 32 bytes.
type slot struct {
	total   float64
	id      series.ID // with one reference; 0: the slot is free
	sources uint32    // that have a series of it on their last good page
	idle    uint32    // since when it has no source, Unix seconds; if sources is 0
	bounds  uint32    // index in group.bounds; 0: it is not of a histogram
	block   uint8     // number of its block
	kind    kind
	state   slotState
}

// kind says how the values of the sources become that of the aggregate.
type kind uint8

const (
	counter kind = iota // the sum of what they have grown by
	sum                 // the sum of their values, and so on
	largest
	smallest
)

// gauges returns what the block says of gauges; empty: the kind is not of gauges.
func (k kind) gauges() Gauges {
	return [...]Gauges{counter: "", sum: GaugesSum, largest: GaugesMax, smallest: GaugesMin}[k]
}

type slotState uint8

const (
	fresh  slotState = iota // no tick has written it
	shown                   // the last tick has written it
	hidden                  // a gauge that had no value at the last tick
)

// slotKey finds the slot of an aggregate. Two blocks do not share one, so that either can be taken away.
type slotKey struct {
	id    series.ID
	block uint8
}

// largestTotal is a total above which a float64 soon leaves out single requests. An aggregate that has a larger one
// begins again at 0, and all of its histogram with it, which every query takes for a restart.
const largestTotal = 1 << 52

// loseSource counts one source of a slot less.
func (g *group) loseSource(n uint32, now int64) {
	s := &g.slots[n]
	if s.sources--; s.sources == 0 {
		s.idle = uint32(now / 1000)
	}
}

// slotOf returns the slot of an aggregate, a new one if there is none. It takes over one reference of id if that is
// new, and returns whether it did.
func (g *group) slotOf(id series.ID, b *block, k kind, bounds uint32) (n uint32, added bool) {
	key := slotKey{id, b.number}
	if n, ok := g.byID[key]; ok {
		return n, false
	}
	if last := len(g.free) - 1; last >= 0 {
		n, g.free = g.free[last], g.free[:last]
	} else {
		n = uint32(len(g.slots))
		g.slots = append(g.slots, slot{})
	}
	g.slots[n] = slot{id: id, block: b.number, kind: k, bounds: bounds}
	g.bounds.use(bounds)
	g.byID[key] = n
	if k != counter {
		g.gauges++
	}
	return n, true
}

// freeSlot takes an aggregate away. The caller releases its ID after the markers are sent.
func (g *group) freeSlot(n uint32) {
	s := &g.slots[n]
	delete(g.byID, slotKey{s.id, s.block})
	if s.kind != counter {
		g.gauges--
	}
	g.bounds.leave(s.bounds)
	*s = slot{}
	g.free = append(g.free, n)
}

// tickAfter returns the first multiple of the interval after now, both Unix milliseconds.
func tickAfter(now int64, interval time.Duration) int64 {
	ms := max(interval.Milliseconds(), 1)
	return now - now%ms + ms
}

// join adds a source, or gives one that is there another interval. leave takes it away. After either, setInterval is to
// be called.
func (g *group) join(s *source, interval time.Duration) {
	g.leave(s)
	g.sources[s] = struct{}{}
	g.having[interval]++
}

func (g *group) leave(s *source) {
	if _, ok := g.sources[s]; !ok {
		return
	}
	delete(g.sources, s)
	if g.having[s.interval]--; g.having[s.interval] == 0 {
		delete(g.having, s.interval)
	}
}

// setInterval makes the interval of most sources that of the ticks, so that no single pod whose labels set an interval
// decides; of equally many the longest. It returns true if the next tick is sooner.
func (g *group) setInterval(now int64) (sooner bool) {
	most := time.Duration(0)
	for interval, n := range g.having {
		if n > g.having[most] || n == g.having[most] && interval > most {
			most = interval
		}
	}
	if most == 0 || most == g.interval {
		return false
	}
	g.interval = most
	next := tickAfter(max(now, g.ticked), most)
	sooner = g.next == 0 || next < g.next
	g.next = next
	return sooner
}

// batchAt fills b with the aggregates: for a new one 0, so that no query takes what it has for an increase since the
// series began, and for the others their totals. Those that have been idle for too long get a staleness marker. at is
// the time of all samples. freed are the IDs to be released after the batch is sent.
func (g *group) batchAt(b *series.Batch, at int64, blocks *blockList) (freed []series.ID) {
	b.Reset(g.target, at)
	b.Interval = g.interval
	if g.gauges > 0 {
		g.readGauges()
	}
	tooMany := g.idleLimit(at)
	var large []uint32
	for n := range g.slots {
		s := &g.slots[n]
		switch {
		case s.id == 0:
		case s.sources == 0 && (at/1000-int64(s.idle) >= blocks.idleSeconds(s.block) || s.idle <= tooMany):
			if s.state == shown {
				b.Add(s.id, series.StaleMarker())
			}
			freed = append(freed, s.id)
			g.freeSlot(uint32(n))
		case s.kind == counter && s.state == fresh:
			b.Add(s.id, 0)
			s.state = shown
		case s.kind == counter:
			b.Add(s.id, s.total)
			if s.total >= largestTotal {
				large = append(large, uint32(n))
			}
		case !math.IsNaN(s.total):
			b.Add(s.id, s.total)
			s.state = shown
		case s.state == shown: // a gauge without a target whose last scrape was good
			b.Add(s.id, series.StaleMarker())
			s.state = hidden
		}
	}
	g.restart(large)
	return freed
}

// A group keeps at most 10,000 aggregates without a source, or four for each with a source if those are more. So a page
// with other series at each scrape cannot fill the memory.
const (
	mostIdle      = 10_000
	mostIdleShare = 4
)

// idleLimit returns the Unix second since when an aggregate must have a source at a tick, as there are too many
// without; 0: there are not. An aggregate whose last total no tick has written stays.
func (g *group) idleLimit(at int64) uint32 {
	if len(g.byID) <= mostIdle {
		return 0
	}
	var since []uint32
	idle, newest := 0, uint32((at-g.interval.Milliseconds())/1000)
	for n := range g.slots {
		if s := &g.slots[n]; s.id != 0 && s.sources == 0 {
			if idle++; s.idle < newest {
				since = append(since, s.idle)
			}
		}
	}
	over := min(idle-max(mostIdle, mostIdleShare*(len(g.byID)-idle)), len(since))
	if over <= 0 {
		return 0
	}
	slices.Sort(since)
	return since[over-1]
}

// restart lets the totals of slots that were just written begin again at 0, and all those of their histograms.
func (g *group) restart(large []uint32) {
	if len(large) == 0 {
		return
	}
	histograms := map[uint32]bool{} // by slot.bounds
	for _, n := range large {
		g.slots[n].total = 0
		histograms[g.slots[n].bounds] = true
	}
	delete(histograms, 0)
	for n := range g.slots {
		if s := &g.slots[n]; histograms[s.bounds] && s.state == shown {
			s.total = 0
		}
	}
}

// readGauges computes the gauges from the last values of all targets whose last scrape was good. NaN: there is none.
func (g *group) readGauges() {
	for n := range g.slots {
		if s := &g.slots[n]; s.kind != counter {
			s.total = math.NaN()
		}
	}
	for src := range g.sources {
		if src.good {
			src.addGauges(g)
		}
	}
}

// addGauges adds the gauges of a source to those of a group.
func (s *source) addGauges(g *group) {
	k := 0
	for _, ref := range s.layout.refs {
		if ref == 0 {
			continue
		}
		v := s.last[k]
		k++
		if s.feed.groups[ref.group()-1] != g || math.IsNaN(v) {
			continue
		}
		slot := &g.slots[ref.slot()]
		switch first := math.IsNaN(slot.total); {
		case slot.kind == counter:
		case first:
			slot.total = v
		case slot.kind == sum:
			slot.total += v
		case slot.kind == largest:
			slot.total = max(slot.total, v)
		case slot.kind == smallest:
			slot.total = min(slot.total, v)
		}
	}
}

// markAll fills b with a marker for each aggregate of a block that a tick has written, and takes all of the block away.
func (g *group) markAll(b *series.Batch, at int64, block uint8) (freed []series.ID) {
	b.Reset(g.target, at)
	b.Interval, b.Urgent = g.interval, true
	for n := range g.slots {
		s := &g.slots[n]
		if s.id == 0 || s.block != block {
			continue
		}
		if s.state == shown {
			b.Add(s.id, series.StaleMarker())
		}
		freed = append(freed, s.id)
		g.freeSlot(uint32(n))
	}
	return freed
}

// release gives references of series back.
func release(table *series.Table, ids []series.ID) { table.Release(slices.Values(ids)) }
