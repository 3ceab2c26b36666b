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
// series change their lanes or streams, what is queued is delivered before what is appended from now on.
func (p *Packer) Replace(s *Settings) {
	defer p.rules.clear(p.table, false) // after the unlock: an append locks a target of the rules first
	p.shape.Lock()
	defer p.shape.Unlock()
	old := p.settings.Swap(s)
	if old.rulesChangeLabels != s.rulesChangeLabels {
		p.queue.Resize(len(p.Lanes()))
	}
	for _, l := range p.Lanes() {
		l.mostScrapes.Store(0) // the delay may be shorter now
	}
	p.flush()
}

// LimitScrapes says whether a group has at most as many scrapes of a target as the delay allows, even if more of them
// wait.
func (p *Packer) LimitScrapes(on bool) { p.limitScrapes.Store(on) }

// Flush sends what waits for later scrapes.
func (p *Packer) Flush() {
	p.shape.RLock()
	defer p.shape.RUnlock()
	p.flush()
}

func (p *Packer) flush() {
	for i := range p.Lanes() {
		p.queue.Flush(i)
	}
}

// Sweep forgets what rules made of series that were not appended for a while.
func (p *Packer) Sweep(now time.Time) { p.rules.sweep(p.table, now) }

// Close gives back what the packer holds in the table of series.
func (p *Packer) Close() { p.rules.clear(p.table, true) }
