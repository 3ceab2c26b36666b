package pack

import (
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// Packer packs batches into the requests of the lanes of one endpoint, and appends these to the endpoint's queue.
type Packer struct {
	outlet
	table   *series.Table
	log     *zap.Logger
	rules   rules     // results of write_relabel_configs
	scratch sync.Pool // of *appendScratch

	shape  sync.RWMutex // held for reading while a batch is appended, for writing while lanes or settings change
	lanes  atomic.Pointer[[]*Lane]
	former map[int]<-chan struct{} // by index, Lane.ended of the lane that was removed last; guarded by shape
}

// New returns a packer with a number of lanes. It is ready after Use.
func New(table *series.Table, s *Settings, lanes int, log *zap.Logger) *Packer {
	p := &Packer{table: table, log: log}
	all := make([]*Lane, lanes)
	for i := range all {
		all[i] = newLane(&p.outlet, i)
	}
	p.lanes.Store(&all)
	p.settings.Store(s)
	return p
}

// Use sets the queue, once, before anything else. The queue may use Buffers and Wake already while it is opened.
func (p *Packer) Use(q Queue) { p.queue = q }

// Lanes returns the present lanes.
func (p *Packer) Lanes() []*Lane { return *p.lanes.Load() }

func (p *Packer) laneOf(hash uint64) *Lane {
	all := p.Lanes()
	return all[hash%uint64(len(all))]
}

// Newest returns the newest timestamp that was put into the queue, Unix milliseconds.
func (p *Packer) Newest() int64 { return p.newest.Load() }

// Wake wakes the sender of a lane; -1: of every lane.
func (p *Packer) Wake(lane int) {
	for _, l := range p.Lanes() {
		if lane < 0 || l.index == lane {
			l.notify()
		}
	}
}

// Replace puts settings into force between two batches. Requests that wait for later scrapes are sent at once. Where
// series change their lanes or streams, what is queued is delivered before what is appended from now on. PackByTarget
// stays in force.
func (p *Packer) Replace(s *Settings) {
	defer p.rules.clear(p.table, false) // after the unlock: an append locks a target of the rules first
	p.shape.Lock()
	defer p.shape.Unlock()
	old := p.settings.Swap(s)
	if old.rulesChangeLabels != s.rulesChangeLabels || p.streams(old) != p.streams(s) {
		p.beginGeneration()
	}
	p.flush()
}

// PackByTarget turns stream mode on, whatever the delay is, or leaves it to the delay again. It reports whether that
// changes the mode. Then what is queued is delivered before what is appended from now on.
func (p *Packer) PackByTarget(on bool) (changed bool) {
	p.shape.Lock()
	defer p.shape.Unlock()
	s := p.settings.Load()
	before := p.streams(s)
	p.byTarget.Store(on)
	if p.streams(s) == before {
		return false
	}
	p.beginGeneration()
	if !on {
		for _, l := range p.Lanes() {
			l.leaveStreams()
		}
	}
	return true
}

// ByTarget reports whether each request has samples of one target: stream mode is on.
func (p *Packer) ByTarget() bool { return p.streams(p.settings.Load()) }

// beginGeneration has everything that is queued delivered before what is appended from now on. The caller holds shape
// for writing.
func (p *Packer) beginGeneration() {
	lanes := p.Lanes()
	sealAll(lanes)
	p.queue.Resize(len(lanes))
}

// Flush sends what waits for later scrapes, and the open requests.
func (p *Packer) Flush() {
	p.shape.RLock()
	defer p.shape.RUnlock()
	sealAll(p.Lanes())
	p.flush()
}

func (p *Packer) flush() {
	for i := range p.Lanes() {
		p.queue.Flush(i)
	}
}

// Sweep forgets what rules made of series that were not appended for a while.
func (p *Packer) Sweep(now time.Time) { p.rules.sweep(p.table, now) }

// Close seals every open request and gives back what the packer holds in the table of series.
func (p *Packer) Close() {
	sealAll(p.Lanes())
	p.rules.clear(p.table, true)
}

func sealAll(lanes []*Lane) {
	for _, l := range lanes {
		l.mu.Lock()
		l.seal()
		l.mu.Unlock()
	}
}
