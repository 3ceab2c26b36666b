package remotewrite

import (
	"cmp"
	"context"
	"maps"
	"math"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/chance"
	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/deliver"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/pack"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// endpoint is an entry of remote_write: a packer, a queue and a receiver, with the goroutines between them. It outlives
// reloads.
type endpoint struct {
	label    string // in metrics and logs
	identity string // of its queue; guarded by the mu of Writers
	log      *zap.Logger
	table    *series.Table
	limits   queue.Config // of the queue
	durable  bool         // the queue outlives the process
	chance   chance.Source

	settings atomic.Pointer[settings]
	packer   *pack.Packer
	queue    queue.Queue
	receiver *deliver.Receiver
	account  account
	fillRate fillRate

	desired         atomic.Int64                 // lanes that the load asks for
	settingsChanged chan struct{}                // a signal to serve: the number of lanes may have to change
	laneBusy        chan struct{}                // a signal to serve: more lanes may be needed
	answerTimes     map[*pack.Lane]*atomic.Int64 // nanoseconds that lanes waited for answers; owned by run

	life     sync.Mutex // guards the following
	started  bool       // run will end the endpoint
	retired  bool
	retiring chan struct{} // closed by retire
	flushNow chan struct{} // closed when flushing must end at once
	ended    chan struct{} // closed by end
}

// newEndpoint returns an endpoint that has no queue yet.
func newEndpoint(label, identity string, s *settings, lanes int, table *series.Table, log *zap.Logger,
	m *metrics) *endpoint {
	log = log.With(zap.String("endpoint", label))
	e := &endpoint{
		label: label, identity: identity, log: log, table: table,
		account:  account{metrics: m.endpoint(label), log: log},
		packer:   pack.New(table, s.packing, lanes, log),
		retiring: make(chan struct{}), flushNow: make(chan struct{}), ended: make(chan struct{}),
		settingsChanged: make(chan struct{}, 1), laneBusy: make(chan struct{}, 1),
		answerTimes: map[*pack.Lane]*atomic.Int64{},
	}
	e.desired.Store(int64(lanes))
	e.settings.Store(s)
	e.receiver = deliver.NewReceiver(s.delivery, e.pending, log)
	return e
}

// use sets the queue, once, before anything else.
func (e *endpoint) use(q queue.Queue) {
	e.queue = q
	e.packer.Use(q)
}

// pending returns the samples in the queue and their bytes.
func (e *endpoint) pending() (samples int, bytes int64) {
	q := e.queue.Stats()
	return q.Samples, q.Bytes
}

// append packs a batch, and counts what became of it.
func (e *endpoint) append(b *series.Batch) {
	e.account.metrics.appended.Add(float64(b.Len()))
	e.account.batch(e.packer.Append(b))
}

// reconfigure puts settings into force. The backlog stays. The receiver is first: samples that are packed under s, for
// example with the external labels of another tenant, must not be sent to the URL of the old settings.
func (e *endpoint) reconfigure(s *settings) {
	old := e.settings.Swap(s)
	e.receiver.Replace(s.delivery)
	e.packer.Replace(s.packing)
	e.packer.Wake(-1)
	signal(e.settingsChanged)
	old.delivery.Client.Close()
}

// signal sends to a channel of one signal, which may be there already.
func signal(to chan<- struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}

// logName logs that an endpoint has another name: metrics and logs keep the old one.
func (e *endpoint) logName(next *settings) {
	if next.Name != e.settings.Load().Name {
		e.log.Info("remote write endpoint was renamed and keeps its backlog; "+
			"metrics and logs have the old label until a restart",
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

// run delivers until ctx ends or the endpoint is retired. Then it flushes for at most the flush deadline.
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
	start := func(lanes []*pack.Lane) {
		for _, l := range lanes {
			waited := new(atomic.Int64)
			e.answerTimes[l] = waited
			senders.Go(func() { e.send(sending, l, waited, stopping) })
		}
	}
	start(e.packer.Lanes()) // only serve changes their number
	telling, stopTelling := context.WithCancel(sending)
	defer stopTelling()
	senders.Go(func() { e.sendMetadata(telling) })
	e.serve(ctx, start)
	close(stopping)
	stopTelling() // a stop does not wait for metadata
	deadline := time.AfterFunc(e.flushTime(), stopSending)
	flushed := make(chan struct{})
	go func() { senders.Wait(); close(flushed) }()
	select {
	case <-flushed:
	case <-e.flushNow:
		stopSending()
		<-flushed
	}
	deadline.Stop()
	e.end()
}

// send runs the sender of a lane until ctx ends or the lane has ended.
func (e *endpoint) send(ctx context.Context, l *pack.Lane, waited *atomic.Int64, stopping <-chan struct{}) {
	defer l.End()
	defer e.packer.Wake(-1) // other senders may wait for the queue to be empty
	if before := l.Before(); before != nil {
		select {
		case <-before: // until then the earlier lane of this index delivers what is queued here, too
		case <-ctx.Done():
		}
	}
	watch := busyWatch{since: time.Now()}
	random := e.chance.Of("lane " + strconv.Itoa(l.Index())).Rand()
	e.receiver.NewSender(random, l, func(f deliver.Fate) {
		e.account.fate(f, waited)
		if f.Done > 0 && watch.tooBusy(time.Now(), time.Duration(waited.Load())) {
			signal(e.laneBusy)
		}
	}).Run(ctx, stopping)
}

func (e *endpoint) sendMetadata(ctx context.Context) {
	m := deliver.MetadataSender{
		Receiver: e.receiver,
		Random:   e.chance.Of("metadata").Rand(),
		Families: func() []wire.Family { return families(e.table) },
		Sent: func(families int, out deliver.Outcome) {
			if out == deliver.Accepted {
				e.account.metrics.metadataAccepted.Add(float64(families))
			} else {
				e.account.metrics.metadataRefused.Add(float64(families))
			}
		},
	}
	m.Run(ctx)
}

// serve adjusts the number of lanes until ctx ends or the endpoint is retired.
func (e *endpoint) serve(ctx context.Context, start func([]*pack.Lane)) {
	tick := time.NewTicker(growthCheck)
	defer tick.Stop()
	var g growth
	is, limits := e.load()
	e.wantedLanes(&g, is, limits) // the first check
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.retiring:
			return
		case <-e.settingsChanged:
			s := e.settings.Load()
			start(e.packer.Resize(max(s.lanes(), min(len(e.packer.Lanes()), s.maxLanes()))))
		case <-e.laneBusy:
			if is, limits := e.load(); is.pending > limits.backlog {
				start(e.packer.Resize(e.wantedLanes(&g, is, limits)))
			}
		case <-tick.C:
			e.packer.Sweep(time.Now())
			is, limits := e.load()
			e.packer.LimitScrapes(is.rejects) // finding the bad samples in a merged request takes many requests
			start(e.packer.Resize(e.wantedLanes(&g, is, limits)))
		}
	}
}

// flushTime returns how long a stop waits until queued samples are delivered. If the receiver is down and the queue
// is durable, there is nothing to wait for.
func (e *endpoint) flushTime() time.Duration {
	if e.outlasts() && e.receiver.Unreachable() {
		return 0
	}
	return e.settings.Load().flushDeadline
}

// outlasts reports whether queued samples are kept after the endpoint ends. A removed endpoint leaves them in the
// store, even if the store is lost with the process.
func (e *endpoint) outlasts() bool {
	return e.durable && (isDone(e.retiring) || !e.settings.Load().ephemeral)
}

// abortFlush ends the flushing of a retired endpoint, and waits until its queue is closed.
func (e *endpoint) abortFlush() {
	e.life.Lock()
	if !isDone(e.flushNow) {
		close(e.flushNow)
	}
	e.life.Unlock()
	<-e.ended
}

// end closes what the endpoint owns, and counts samples that are lost with it.
func (e *endpoint) end() {
	defer close(e.ended)
	e.packer.Close()
	left, outlasts := e.queue.Stats(), e.outlasts()
	loss, err := e.queue.Close()
	e.settings.Load().delivery.Client.Close()
	lost, requests := loss.Samples, loss.Requests
	if e.durable && !outlasts {
		lost, requests = left.Samples, left.Requests
	}
	if !outlasts { // requests in flight are part of the loss, although some of their samples are settled
		lost -= int(e.account.inFlight.Load())
	}
	if lost > 0 {
		e.account.metrics.drop(abandoned, lost)
		e.log.Warn("remote write samples abandoned", zap.Int("samples", lost), zap.Int("requests", requests))
	}
	if err != nil {
		e.log.Error("close queue", zap.Error(err))
	}
}

// load returns the work of the endpoint's lanes, and the limits that apply to it.
func (e *endpoint) load() (load, laneLimits) {
	// asked regularly, status knows how fast the queue grows
	s, all, q := e.settings.Load(), e.packer.Lanes(), e.queue.Stats()
	status := e.statusWith(q)
	backlog := status.PendingSamples - status.HeldSamples
	is := load{delivered: int(e.account.done.Load()), pending: backlog, down: status.Unreachable,
		rejects: e.receiver.RejectsAs10(), oldestLanes: q.OldestLanes}
	maps.DeleteFunc(e.answerTimes, func(l *pack.Lane, _ *atomic.Int64) bool { return !slices.Contains(all, l) })
	for _, l := range all {
		is.waited = append(is.waited, time.Duration(e.answerTimes[l].Load()))
	}
	perLane := min(s.QueueConfig.MaxSamplesPerSend, math.MaxInt/len(all))
	return is, laneLimits{min: s.lanes(), max: s.maxLanes(), backlog: len(all) * perLane}
}

// wantedLanes returns the number of lanes that the endpoint should have.
func (e *endpoint) wantedLanes(g *growth, is load, r laneLimits) int {
	want := g.next(time.Now(), len(is.waited), r, is)
	e.desired.Store(int64(g.desired))
	return want
}

// status returns the state of the endpoint. Regular calls tell it how fast the queue grows.
func (e *endpoint) status() EndpointStatus { return e.statusWith(e.queue.Stats()) }

func (e *endpoint) statusWith(q queue.Stats) EndpointStatus {
	r := e.receiver.Status()
	out := EndpointStatus{
		Name: e.label, URL: e.settings.Load().redactedURL(), Lanes: len(e.packer.Lanes()),
		PendingSamples: q.Samples, HeldSamples: q.HeldSamples, PendingBytes: q.Bytes, PendingLimit: q.MaxBytes,
		Protocol: r.Protocol.String(), Unreachable: r.Unreachable, Rejected: r.Rejected,
		LastError: r.LastError, LastErrorTime: r.LastErrorTime, LastSuccess: r.LastSuccess,
		// the limit is that of the disk, if any
		FullIn:    e.fillRate.timeToFull(q.MaxBytes, time.Now(), cmp.Or(q.DiskBytes, q.Bytes)),
		SentBytes: e.account.sentBytes.Load(), SentSamples: e.account.sentSamples.Load(),
	}
	if q.Requests > 0 {
		out.OldestPending = time.UnixMilli(q.Oldest)
	}
	return out
}

// queueConfig adds the callbacks of the endpoint to the configuration of its queue.
func (e *endpoint) queueConfig(cfg queue.Config) queue.Config {
	cfg.Lost, cfg.Wake, cfg.Log = e.account.lost, e.packer.Wake, e.log
	cfg.Alloc, cfg.Free = e.packer.Buffers.Get, e.packer.Buffers.Put
	return cfg
}
