package pack

import (
	"math"
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
	queue        Queue
	settings     atomic.Pointer[Settings] // in force
	newest       atomic.Int64
	limitScrapes atomic.Bool // see Packer.LimitScrapes

	// Buffers hold the bytes of records on their way from a lane through the queue to the sender, and back.
	Buffers wire.Buffers
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

// maxRequestBytes bounds a request before compression. A larger one would only take memory, since a sender takes about
// as much at once (maxGroup). Example: the first page of a target can have 500,000 new series.
const maxRequestBytes = 2 << 20

// maxRequestSamples is as many samples as a POST has by the defaults, so that a sender can send a large fragment as it
// is. To divide one takes ten times its memory.
const maxRequestSamples = 10_500

// Lane is one way to an endpoint: samples of a series are delivered in the order in which they are appended. Each batch
// becomes one or more requests in the queue. They are there until the sender of the lane takes them with Next and Ack.
type Lane struct {
	outlet *outlet
	index  int
	began  time.Time
	wake   chan struct{} // wakes the sender
	gone   atomic.Bool   // the lane was removed: its sender ends
	ended  chan struct{} // closed when its sender has ended

	mostScrapes atomic.Int64 // of a target in one request, as the delay allows, since it was set
	alarm       atomic.Int64 // when the sender wakes by itself, nanoseconds after began; noAlarm: not at all

	// before is the channel ended of the removed lane that had this index before; nil if there was none. The queue
	// knows a reader by its index, so there must be one at a time.
	before <-chan struct{}

	mu         sync.Mutex // guards the following
	writer     wire.FragmentWriter
	request    queue.Record // that the writer holds, without its bytes; none if it has no samples
	number     uint64       // of the request, from 1
	to         destination  // of the next request
	collection time.Time    // see nextCollection
	history    history
	classics   classics
	column     columnScratch
	pairs      []series.Pair // scratch
}

// destination is the stream of a request, and until when it may wait there. Zero: it does not wait.
type destination struct {
	stream uint32
	due    time.Time
}

func newLane(o *outlet, index int) *Lane {
	l := &Lane{outlet: o, index: index, began: time.Now(), wake: make(chan struct{}, 1), ended: make(chan struct{}),
		number: 1}
	l.alarm.Store(noAlarm)
	return l
}

// add puts one row into the request. The caller holds mu, has looked at the history, and calls finish after its batch.
// False: the row was dropped, and counted.
func (l *Lane) add(s *Settings, src source, r *row, t *Tally) bool {
	q := &l.request
	if q.Samples >= maxRequestSamples || q.Samples > 0 && l.writer.Size() >= maxRequestBytes {
		l.finish(t)
	}
	if q.Samples == 0 {
		l.beginWriter(len(s.added) > 0 || s.SendExemplars || s.ConvertNHCBToClassic)
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
	if q.Samples == 0 {
		*q = queue.Record{First: true, Stream: uint64(l.to.stream), Due: l.to.due, Oldest: r.Time, Newest: r.Time}
	}
	q.Samples++
	q.Oldest, q.Newest = min(q.Oldest, r.Time), max(q.Newest, r.Time)
	return true
}

// finish appends the request to the queue, if there is one.
func (l *Lane) finish(t *Tally) {
	if l.request.Samples == 0 {
		return
	}
	r := l.request
	r.Data = l.writer.Cut(&l.outlet.Buffers)
	l.request = queue.Record{}
	l.number++
	if l.append(r, t) {
		l.outlet.queue.Seal(l.index)
		l.wakeFor(r.Due)
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

// drainCheck is how often a sender that is to stop asks whether the queue is empty. The sender of the last request
// wakes the others, but a queue also loses requests, to its limit or to damage, and then wakes no sender.
const drainCheck = time.Second

// maxGroup limits what is taken at once: 8 requests of a target to catch up, more if the delay holds more. Samples and
// bytes bound the memory of the merge, and what comes twice after a kill. By the defaults, 21,000 samples are two
// POSTs of several targets, and one for each large fragment (deliver.Sender). So it is with a lower
// max_samples_per_send.
var maxGroup = queue.Limit{Requests: 8, Samples: 2 * maxRequestSamples, Bytes: 2 << 20}

// limit returns the limit of the next group.
func (l *Lane) limit() queue.Limit {
	most, scrapes := maxGroup, int(max(1, l.mostScrapes.Load()))
	most.Samples = 2 * min(most.Samples/2, l.outlet.settings.Load().QueueConfig.MaxSamplesPerSend)
	if l.outlet.limitScrapes.Load() {
		most.Requests = scrapes
	} else {
		most.Requests = max(most.Requests, 2*scrapes) // a scrape with bound and unbound series is two requests
	}
	return most
}

// Next returns the oldest requests that are due and may be merged, if there are any (Ready), and the same ones until
// Ack. Where closing, all are due. Later: the caller asks again after Wake, or after wait if that is not 0. Empty:
// there will be no more, since the lane was removed or, where closing, nothing is queued in any lane. Requests of other
// lanes count, since this one may have to take them over.
func (l *Lane) Next(closing bool) (group []queue.Request, state queue.State, wait time.Duration) {
	if closing {
		l.outlet.queue.Flush(l.index)
	}
	l.alarm.Store(noAlarm) // what is appended after the queue has looked wakes the sender
	group, state, wait = l.outlet.queue.Next(l.index, l.limit())
	switch {
	case state == queue.Ready:
		return group, state, 0
	case l.gone.Load() || closing && l.outlet.queue.Stats().Requests == 0:
		return nil, queue.Empty, 0
	case closing:
		return nil, queue.Later, drainCheck
	case wait > 0:
		l.alarm.Store(int64(time.Since(l.began) + wait))
	}
	return nil, queue.Later, wait
}

// noAlarm is an alarm after everything that may wait.
const noAlarm = math.MaxInt64

// wakeFor wakes the sender for a request, unless it wakes in time by itself: the requests of a wave are due together.
func (l *Lane) wakeFor(due time.Time) {
	const late = time.Millisecond // the sender may wake that much after the due time
	if due.IsZero() || int64(due.Sub(l.began)+late) < l.alarm.Load() {
		l.notify()
	}
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

// Index returns the number of the lane, from 0.
func (l *Lane) Index() int { return l.index }

// Before is closed when the sender of the lane that had this index before has ended; nil: there was none. The queue
// knows a reader by its index, so that there must be one at a time.
func (l *Lane) Before() <-chan struct{} { return l.before }

// End is called when the sender of the lane has ended.
func (l *Lane) End() { close(l.ended) }

func (l *Lane) notify() {
	select {
	case l.wake <- struct{}{}:
	default: // the sender is awake already
	}
}
