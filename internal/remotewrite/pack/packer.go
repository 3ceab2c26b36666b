package pack

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// PackSettings say what is packed. They are immutable; a reload replaces them whole.
type Settings struct {
	*promconfig.RemoteWriteConfig
	external []labels.Label // sorted, none empty
	added    []labels.Label // those that the encoder adds: none where rules have made them part of each series

	rulesChangeLabels bool // write_relabel_configs do more than keep and drop whole series
}

// NewPackSettings returns settings for an entry of remote_write and external labels.
func NewSettings(rw *promconfig.RemoteWriteConfig, external labels.Labels) *Settings {
	s := &Settings{RemoteWriteConfig: rw, rulesChangeLabels: canChangeLabels(rw.WriteRelabelConfigs)}
	external.Range(func(l labels.Label) {
		if l.Value != "" {
			s.external = append(s.external, l)
		}
	})
	if !s.rulesChangeLabels {
		s.added = s.external
	}
	return s
}

// Queue is what a packer needs of a queue; see queue.Queue.
type Queue interface {
	Append(lane int, r queue.Record) (queue.Loss, error)
	Seal(lane int)
	Next(lane int) (queue.Request, queue.State)
	Ack(lane int)
	Resize(lanes int)
	Stats() queue.Stats
}

// Packer packs batches into the requests of the lanes of one endpoint, and appends these to the endpoint's queue.
type Packer struct {
	table   *series.Table
	queue   Queue
	log     *zap.Logger
	rules   rules     // what write_relabel_configs make of each series
	scratch sync.Pool // of *appendScratch
	newest  atomic.Int64

	// Buffers hold the bytes of records on their way from a lane through the queue to the sender, and back.
	Buffers wire.Buffers

	shape    sync.RWMutex // held for reading while a batch is appended, for writing while lanes or settings change
	lanes    atomic.Pointer[[]*Lane]
	settings atomic.Pointer[Settings]
	former   map[int]<-chan struct{} // by index, Lane.ended of the lane that was removed last; guarded by shape
}

// NewPacker returns a packer with a number of lanes. It is not ready before Use.
func New(table *series.Table, s *Settings, lanes int, log *zap.Logger) *Packer {
	p := &Packer{table: table, log: log}
	all := make([]*Lane, lanes)
	for i := range all {
		all[i] = p.newLane(i)
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

// Replace puts settings into force between two batches. Where series change their lanes by that, what is queued is
// delivered before what is appended from now on.
func (p *Packer) Replace(s *Settings) {
	defer p.rules.clear(p.table, false) // after the unlock: an append locks a target of the rules first
	p.shape.Lock()
	defer p.shape.Unlock()
	if old := p.settings.Swap(s); old.rulesChangeLabels != s.rulesChangeLabels {
		lanes := p.Lanes()
		sealAll(lanes)
		p.queue.Resize(len(lanes))
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

// Tally is what became of the samples of a batch.
type Tally struct {
	Converted     int // samples more than the batch had: a native histogram became several classic series
	Exemplars     int
	Relabelled    int // dropped by write_relabel_configs
	Unsupported   int // native histograms, and send_native_histograms is off
	NotNewer      int // than the last sample of the series or target
	InvalidLabels int // a receiver would refuse or silently drop them

	QueueRefused int // with QueueError
	QueueError   error
	QueueFull    queue.Loss // older samples that made room in the queue
}

// canChangeLabels reports whether rules do more than keep and drop whole series.
func canChangeLabels(rules []*relabel.Config) bool {
	return slices.ContainsFunc(rules, func(r *relabel.Config) bool {
		switch r.Action {
		case relabel.Keep, relabel.Drop, relabel.KeepEqual, relabel.DropEqual:
			return false
		}
		return true
	})
}
