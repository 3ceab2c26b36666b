package remotewrite

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/deliver"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// endpoint is one receiver: its lanes, its queue, and how it does. It outlives reloads.
type endpoint struct {
	label    string // in metrics and logs
	identity string // of its queue; guarded by the mu of Writers
	log      *zap.Logger
	metrics  *endpointMetrics
	queue    queue.Queue
	table    *series.Table
	limits   queue.Config // of the queue
	durable  bool         // the queue outlives the process
	blocks   wire.Buffers
	newest   atomic.Int64 // Unix milliseconds of the newest sample that was put into the queue
	desired  atomic.Int64 // lanes that the load asks for

	shape     sync.RWMutex // held for reading by who appends, for writing while the number of lanes changes
	lanes     atomic.Pointer[[]*lane]
	former    map[int]<-chan struct{} // by index, when the lane ended that went last; guarded by shape
	resettled chan struct{}           // the settings may want another number of lanes

	rules    rules     // what write_relabel_configs make of each series
	scratch  sync.Pool // of *appendScratch
	settings atomic.Pointer[settings]

	receiver *deliver.Receiver // all that senders know
	account  account           // of the fates that they report
	filling  filling
	lines    deliver.LogLimit

	life     sync.Mutex // guards the following
	started  bool       // run has the rest of its life
	retired  bool
	retiring chan struct{} // closed by retire
	hurry    chan struct{} // closed when flushing must end at once
	ended    chan struct{} // closed by end
}

// newEndpoint makes an endpoint that has no queue yet.
func newEndpoint(label, identity string, s *settings, lanes int, log *zap.Logger, m *metrics) *endpoint {
	e := &endpoint{
		label: label, identity: identity, log: log.With(zap.String("endpoint", label)), metrics: m.endpoint(label),
		retiring: make(chan struct{}), hurry: make(chan struct{}), ended: make(chan struct{}),
		resettled: make(chan struct{}, 1),
	}
	all := make([]*lane, lanes)
	for i := range all {
		all[i] = newLane(i)
	}
	e.lanes.Store(&all)
	e.desired.Store(int64(lanes))
	e.settings.Store(s)
	e.receiver = deliver.NewReceiver(s.delivery, e.pending, e.log)
	return e
}

// all is the lanes that there are now.
func (e *endpoint) all() []*lane { return *e.lanes.Load() }

func (e *endpoint) laneOf(hash uint64) *lane {
	all := e.all()
	return all[hash%uint64(len(all))]
}

// pending returns the samples in the queue and their bytes.
func (e *endpoint) pending() (samples int, bytes int64) {
	q := e.queue.Stats()
	return q.Samples, q.Bytes
}

// reconfigure goes on under new settings; the backlog stays.
func (e *endpoint) reconfigure(s *settings) {
	old := e.exchange(s)
	e.receiver.Replace(s.delivery)
	e.wakeLanes(-1)
	select {
	case e.resettled <- struct{}{}:
	default:
	}
	old.delivery.Client.Close()
}

// logName tells under which name a renamed endpoint is found in metrics and logs.
func (e *endpoint) logName(next *settings) {
	if next.Name != e.settings.Load().Name {
		e.log.Info("remote write endpoint has another name and keeps its backlog; metrics and logs have the label before until a restart",
			zap.String("name", next.Name))
	}
}

// retire ends an endpoint that a reload removed.
func (e *endpoint) retire() {
	e.life.Lock()
	defer e.life.Unlock()
	if e.retired {
		return
	}
	e.retired = true
	close(e.retiring)
	if !e.started {
		e.end()
	}
}

// run delivers until ctx ends or the endpoint is retired, then flushes for at most the flush deadline.
func (e *endpoint) run(ctx context.Context) {
	e.life.Lock()
	if e.retired {
		e.life.Unlock()
		return
	}
	e.started = true
	e.life.Unlock()

	sending, stopSending := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSending()
	stopping := make(chan struct{})
	var senders sync.WaitGroup
	start := func(lanes []*lane) {
		for _, l := range lanes {
			senders.Go(func() { e.send(sending, l, stopping) })
		}
	}
	start(e.all()) // nobody else changes them
	telling, stopTelling := context.WithCancel(sending)
	defer stopTelling()
	senders.Go(func() { e.sendMetadata(telling) })
	e.serve(ctx, start)
	close(stopping)
	stopTelling() // nobody waits for metadata
	deadline := time.AfterFunc(e.flushTime(), stopSending)
	flushed := make(chan struct{})
	go func() { senders.Wait(); close(flushed) }()
	select {
	case <-flushed:
	case <-e.hurry:
		stopSending()
		<-flushed
	}
	deadline.Stop()
	e.end()
}

// send runs the sender of a lane until ctx ends or the lane has ended.
func (e *endpoint) send(ctx context.Context, l *lane, stopping <-chan struct{}) {
	defer close(l.ended)
	defer e.wakeLanes(-1) // other senders may wait for the queue to be empty
	if l.before != nil {
		select {
		case <-l.before: // until then the earlier lane of this index delivers what is queued here, too
		case <-ctx.Done():
		}
	}
	count := func(f deliver.Fate) { e.count(l, f) }
	e.receiver.NewSender(&laneReader{e, l}, count).Run(ctx, stopping)
}

func (e *endpoint) sendMetadata(ctx context.Context) {
	m := deliver.MetadataSender{
		Receiver: e.receiver,
		Families: func() []wire.Family { return families(e.table) },
		Sent: func(families int, out deliver.Outcome) {
			if out == deliver.Accepted {
				e.metrics.metadataAccepted.Add(float64(families))
			} else {
				e.metrics.metadataRefused.Add(float64(families))
			}
		},
	}
	m.Run(ctx)
}

// laneReader is a lane as its sender sees it.
type laneReader struct {
	endpoint *endpoint
	lane     *lane
}

func (r *laneReader) Next(closing bool) (queue.Request, queue.State, time.Duration) {
	wait := r.lane.sealDue(r.endpoint, closing)
	req, state := r.endpoint.queue.Next(r.lane.index)
	return req, state, wait
}

func (r *laneReader) Ack(req queue.Request) {
	r.endpoint.queue.Ack(r.lane.index)
	for _, rec := range req.Records {
		r.endpoint.blocks.Put(rec.Data)
	}
}

func (r *laneReader) Ended(closing bool) bool {
	return r.lane.gone.Load() || closing && r.endpoint.queue.Stats().Requests == 0
}

func (r *laneReader) Wake() <-chan struct{} { return r.lane.wake }

// serve returns when ctx ends or the endpoint is retired; until then it sees to the number of lanes.
func (e *endpoint) serve(ctx context.Context, start func([]*lane)) {
	tick := time.NewTicker(growthCheck)
	defer tick.Stop()
	var g growth
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.retiring:
			return
		case <-e.resettled:
			s := e.settings.Load()
			start(e.resize(max(s.lanes(), min(len(e.all()), s.maxLanes()))))
		case <-tick.C:
			e.rules.sweep(e.table, time.Now())
			start(e.resize(e.wantedLanes(&g)))
		}
	}
}

// flushTime is how long a stop waits for the endpoint to take what is queued. What a durable queue holds need not
// be waited for where the endpoint is down.
func (e *endpoint) flushTime() time.Duration {
	if e.outlasts() && e.receiver.Unreachable() {
		return 0
	}
	return e.settings.Load().flushDeadline
}

// outlasts: what is queued is there after the endpoint ends. An endpoint that a reload removed leaves it in the store even
// if that goes with the process.
func (e *endpoint) outlasts() bool {
	return e.durable && (isDone(e.retiring) || !e.settings.Load().ephemeral)
}

// leave ends the flushing of an endpoint that has retired and waits until its queue is closed.
func (e *endpoint) leave() {
	e.life.Lock()
	if !isDone(e.hurry) {
		close(e.hurry)
	}
	e.life.Unlock()
	<-e.ended
}

// end closes what the endpoint owns and counts what nobody will deliver.
func (e *endpoint) end() {
	defer close(e.ended)
	for _, l := range e.all() {
		l.sealDue(e, true)
	}
	e.rules.clear(e.table, true)
	left, outlasts := e.queue.Stats(), e.outlasts()
	loss, err := e.queue.Close()
	e.settings.Load().delivery.Client.Close()
	lost, requests := loss.Samples, loss.Requests
	if e.durable && !outlasts {
		lost, requests = left.Samples, left.Requests
	}
	if !outlasts { // what was on its way is part of the loss, though the fate of some of it is known
		lost -= int(e.account.inFlight.Load())
	}
	if lost > 0 {
		e.metrics.drop(abandoned, lost)
		e.log.Warn("remote write samples abandoned", zap.Int("samples", lost), zap.Int("requests", requests))
	}
	if err != nil {
		e.log.Error("close queue", zap.Error(err))
	}
}

func isDone(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
