package remotewrite

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// maxRequestBytes bounds a request before compression.
const maxRequestBytes = 8 << 20

// lane is one stream of requests to an endpoint: what is appended to it in order arrives in order. Its sender
// takes the sealed requests out of the queue; everything here is about the open one.
type lane struct {
	index int
	wake  chan struct{} // tells the sender that a request was sealed or begun
	gone  atomic.Bool   // the endpoint has fewer lanes now: its sender ends
	ended chan struct{} // closed when its sender has

	answering atomic.Int64 // nanoseconds that the receiver took for answers, other than those that ask for another try

	// before is ended of the lane that had this index before and went; nil: none did. The queue knows a reader by its
	// index, so there is one at a time.
	before <-chan struct{}

	mu       sync.Mutex // guards the following
	enc      wire.FragmentWriter
	fragment queue.Record // what the encoder holds, less its bytes
	open     openRequest
	sent     history
	classics classics
	pairs    []series.Pair // scratch
}

// openRequest is the request that still grows. No samples: none is open.
type openRequest struct {
	number   uint64    // counts the requests of a lane, from 1
	settings *settings // a request is made by one set of them
	samples  int
	bytes    int // before they are packed, of what is in the queue already
	since    time.Time
	record   bool // a record of it is in the queue
}

func newLane(index int) *lane {
	return &lane{index: index, wake: make(chan struct{}, 1), ended: make(chan struct{}), open: openRequest{number: 1}}
}

// source is where a row's labels come from: the table, with the external labels that the settings add, or a text.
type source struct {
	view   series.View
	target series.TargetID
	text   labels.Labels // empty: the table has them
}

// add puts one row into the open request. The caller holds mu, has looked at the history, and flushes when its
// batch is through. False: the row was dropped, and counted.
func (l *lane) add(e *endpoint, s *settings, src source, r *row) bool {
	full := l.open.samples >= s.QueueConfig.MaxSamplesPerSend || l.open.bytes+l.enc.Size() >= maxRequestBytes
	if full || l.open.settings != s {
		l.seal(e)
	}
	if l.open.samples == 0 {
		l.open.settings = s
		l.enc.Begin(len(s.added) > 0 || s.SendExemplars || s.ConvertNHCBToClassic)
		l.fragment = queue.Record{First: true}
	}
	with := wire.Options{Exemplars: s.SendExemplars, Metadata: s.MetadataConfig.Send, External: s.added}
	var exemplars int
	var ok bool
	if !src.text.IsEmpty() {
		exemplars, ok = l.enc.AddText(src.view, src.text, &r.Row, with)
	} else {
		f := l.enc.Form(src.view, r.Parts.Stem, src.target, s.added)
		exemplars, ok = l.enc.Add(src.view, f, &r.Row, with)
	}
	if !ok {
		e.metrics.drop(invalidLabels, 1)
		return false
	}
	if exemplars > 0 {
		e.metrics.exemplars.Add(float64(exemplars))
	}
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

// flush appends the fragment to the queue. Symbols without a series wait for the next fragment.
func (l *lane) flush(e *endpoint) {
	if l.fragment.Samples == 0 {
		return
	}
	r := l.fragment
	l.open.bytes += l.enc.Size()
	r.Data = l.enc.Cut(&e.blocks)
	l.fragment = queue.Record{}
	l.open.record = true
	loss, err := e.queue.Append(l.index, r)
	if loss.Samples > 0 {
		e.lost(queue.QueueFull, loss)
	}
	if err != nil {
		// Later fragments would lean on symbols that are not there: the request ends here.
		e.queueRefused(r.Samples, err)
		l.seal(e)
		return
	}
	advance(&e.newest, r.Newest)
}

// seal ends the open request, if there is one, and wakes the sender.
func (l *lane) seal(e *endpoint) {
	if l.open.samples == 0 {
		return
	}
	l.flush(e)
	if l.open.samples == 0 {
		return // flush failed and sealed
	}
	if l.open.record {
		e.queue.Seal(l.index)
	}
	l.open = openRequest{number: l.open.number + 1}
	l.notify()
}

// sealDue seals the open request if its time has come and tells how long to wait for it otherwise; 0: for
// nothing.
func (l *lane) sealDue(e *endpoint, now bool) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open.samples == 0 {
		return 0
	}
	deadline := time.Duration(e.settings.Load().QueueConfig.BatchSendDeadline)
	if wait = deadline - time.Since(l.open.since); now || wait <= 0 {
		l.seal(e)
		return 0
	}
	return wait
}

func (l *lane) notify() {
	select {
	case l.wake <- struct{}{}:
	default: // it will look anyway
	}
}
