package pack

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// Queue is what a packer needs of a queue; see queue.Queue.
type Queue interface {
	Append(lane int, r queue.Record) (queue.Loss, error)
	Seal(lane int)
	Flush(lane int)
	Next(lane int, most queue.Limit) (group []queue.Request, state queue.State, wait time.Duration)
	Ack(lane int)
	Resize(lanes int)
	Stats() queue.Stats
}

// outlet is where all lanes of a packer put their requests.
type outlet struct {
	queue    Queue
	settings atomic.Pointer[Settings] // in force
	newest   atomic.Int64
	byTarget atomic.Bool // stream mode, whatever the settings say; changed under Packer.shape

	// Buffers hold the bytes of records on their way from a lane through the queue to the sender, and back.
	Buffers wire.Buffers
}

// streams reports whether stream mode is on under s (hold.go). It stays so while Packer.shape is held.
func (o *outlet) streams(s *Settings) bool { return s.streams || o.byTarget.Load() }

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

// maxRequestBytes bounds a request before compression.
const maxRequestBytes = 8 << 20

// Lane is one stream of requests to an endpoint: samples are delivered in the order in which they are appended. A
// lane fills the open request; sealed requests are in the queue, until its sender takes them with Next and Ack.
type Lane struct {
	outlet *outlet
	index  int
	wake   chan struct{} // wakes the sender after a request was begun or sealed
	gone   atomic.Bool   // the lane was removed: its sender ends
	ended  chan struct{} // closed when its sender has ended

	mostScrapes atomic.Int64 // of a target in one request, so far

	// before is the channel ended of the removed lane that had this index before; nil if there was none. The queue
	// knows a reader by its index, so there must be one at a time.
	before <-chan struct{}

	mu       sync.Mutex // guards the following
	writer   wire.FragmentWriter
	fragment queue.Record // the fragment that writer holds, without its bytes
	open     openRequest
	to       destination // of the next request
	history  history
	classics classics
	column   columnScratch
	pairs    []series.Pair // scratch
}

// destination is the stream of a request, and until when it may wait there. The zero value is stream 0, which does not
// wait.
type destination struct {
	stream uint32
	due    time.Time
}

// openRequest is the request that still grows. None is open if it has no samples.
type openRequest struct {
	number   uint64    // of the request in its lane, from 1
	settings *Settings // all samples of a request are packed under the same settings
	samples  int
	bytes    int // of the fragments in the queue, before compression
	since    time.Time
	record   bool // the queue has a record of it
}

func newLane(o *outlet, index int) *Lane {
	return &Lane{outlet: o, index: index, wake: make(chan struct{}, 1), ended: make(chan struct{}),
		open: openRequest{number: 1}}
}

// add puts one row into the open request. The caller holds mu, has looked at the history, and flushes after its batch.
// False: the row was dropped, and counted.
func (l *Lane) add(s *Settings, src source, r *row, t *Tally) bool {
	if l.full(s) || l.open.settings != s {
		l.finish(t)
	}
	if l.open.samples == 0 {
		l.open.settings = s
		l.beginWriter(len(s.added) > 0 || s.SendExemplars || s.ConvertNHCBToClassic)
		l.fragment = queue.Record{First: true, Stream: uint64(l.to.stream), Due: l.to.due}
	}
	with := wire.Options{Exemplars: s.SendExemplars, Metadata: s.MetadataConfig.Send, External: s.added}
	var exemplars int
	var ok bool
	if !src.text.IsEmpty() {
		exemplars, ok = l.writer.AddText(src.view, src.text, &r.Row, with)
	} else {
		f := l.writer.Stem(src.view, r.Parts.Stem, src.target, s.added)
		exemplars, ok = l.writer.Add(src.view, f, &r.Row, with)
	}
	if !ok {
		t.InvalidLabels++
		return false
	}
	t.Exemplars += exemplars
	if l.open.samples == 0 {
		l.open.since = time.Now()
		l.notify()
	}
	f := &l.fragment
	if f.Samples == 0 {
		f.Oldest, f.Newest = r.Time, r.Time
	}
	f.Samples++
	f.Oldest, f.Newest = min(f.Oldest, r.Time), max(f.Newest, r.Time)
	l.open.samples++
	return true
}

// full reports whether the open request takes no more samples. In stream mode max_samples_per_send is a matter of the
// sender, which divides what it merges.
func (l *Lane) full(s *Settings) bool {
	return !l.outlet.streams(s) && l.open.samples >= s.QueueConfig.MaxSamplesPerSend ||
		l.open.bytes+l.writer.Size() >= maxRequestBytes
}

// flush appends the fragment to the queue. Symbols without a series wait for the next fragment.
func (l *Lane) flush(t *Tally) {
	if l.fragment.Samples == 0 {
		return
	}
	r := l.fragment
	l.open.bytes += l.writer.Size()
	r.Data = l.writer.Cut(&l.outlet.Buffers)
	l.fragment = queue.Record{}
	l.open.record = true
	if !l.append(r, t) {
		l.seal() // later fragments would refer to symbols that are not there
	}
}

// append appends a record to the queue. It returns false if the queue refused it.
func (l *Lane) append(r queue.Record, t *Tally) bool {
	o := l.outlet
	loss, err := o.queue.Append(l.index, r)
	t.QueueFull.Requests += loss.Requests
	t.QueueFull.Samples += loss.Samples
	if err != nil {
		t.QueueRefused += r.Samples
		t.QueueError = err
		return false
	}
	for before := o.newest.Load(); r.Newest > before && !o.newest.CompareAndSwap(before, r.Newest); {
		before = o.newest.Load()
	}
	return true
}

// finish flushes and seals, while a batch is appended.
func (l *Lane) finish(t *Tally) {
	l.flush(t)
	l.seal()
}

// seal ends the open request, if there is one, and wakes the sender. There is no fragment: between two batches there
// never is. The caller holds mu.
func (l *Lane) seal() {
	if l.open.samples == 0 {
		return
	}
	if l.open.record {
		l.outlet.queue.Seal(l.index)
	}
	l.open = openRequest{number: l.open.number + 1}
	l.notify()
}

// drainCheck is how often a sender that is to stop asks whether the queue is empty. The sender of the last request
// wakes the others, but a queue also loses requests, to its limit or to damage, and then wakes no sender.
const drainCheck = time.Second

// maxGroup limits what is merged at once: 8 requests of a target to catch up, more if the delay holds more. Samples and
// bytes bound the memory of the merge: 2 MiB are about 150,000 samples, which take 12 MiB while they are merged.
var maxGroup = queue.Limit{Requests: 8, Samples: 20_000, Bytes: 2 << 20}

// Next seals the open request if it is due, or at any age where closing. It returns the oldest requests that are due
// and may be merged, if there are any (Ready), and the same ones until Ack. Later: the caller asks again after Wake, or
// after wait if that is not 0. Empty: there will be no more, since the lane was removed or, where closing, nothing is
// queued in any lane. Requests of other lanes count, since this one may have to take them over.
func (l *Lane) Next(closing bool) (group []queue.Request, state queue.State, wait time.Duration) {
	wait = l.sealDue(closing)
	if closing {
		l.outlet.queue.Flush(l.index)
	}
	most := maxGroup
	// A scrape of a target that has both bound and unbound series is two requests.
	most.Requests = max(most.Requests, 2*int(l.mostScrapes.Load()))
	group, state, due := l.outlet.queue.Next(l.index, most)
	if state == queue.Ready {
		return group, state, 0
	}
	switch {
	case l.gone.Load() || closing && l.outlet.queue.Stats().Requests == 0:
		return nil, queue.Empty, 0
	case closing:
		return nil, queue.Later, drainCheck
	case wait == 0 || due > 0 && due < wait:
		wait = due
	}
	return nil, queue.Later, wait
}

// Ack removes the requests that Next gave, and takes their bytes back.
func (l *Lane) Ack(group []queue.Request) {
	l.outlet.queue.Ack(l.index)
	for _, r := range group {
		for _, rec := range r.Records {
			l.outlet.Buffers.Put(rec.Data)
		}
	}
}

// Wake receives when Next may give something.
func (l *Lane) Wake() <-chan struct{} { return l.wake }

// Before is closed when the sender of the lane that had this index before has ended; nil: there was none. The queue
// knows a reader by its index, so that there must be one at a time.
func (l *Lane) Before() <-chan struct{} { return l.before }

// End is called when the sender of the lane has ended.
func (l *Lane) End() { close(l.ended) }

// sealDue seals the open request if its time has come, and returns the time until then otherwise; 0: none is open.
func (l *Lane) sealDue(now bool) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open.samples == 0 {
		return 0
	}
	deadline := time.Duration(l.outlet.settings.Load().QueueConfig.BatchSendDeadline)
	if wait = deadline - time.Since(l.open.since); now || wait <= 0 {
		l.seal()
		return 0
	}
	return wait
}

func (l *Lane) notify() {
	select {
	case l.wake <- struct{}{}:
	default: // the sender is awake already
	}
}
