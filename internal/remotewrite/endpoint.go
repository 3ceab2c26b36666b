package remotewrite

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
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
	durable  bool // the queue outlives the process
	blocks   blocks
	waited   atomic.Int64 // nanoseconds, for answers to requests that were accepted
	taken    atomic.Int64 // samples of these requests

	shape     sync.RWMutex // held for reading by who appends, for writing while the number of lanes changes
	lanes     atomic.Pointer[[]*lane]
	former    map[int]<-chan struct{} // by index, when the lane ended that went last; guarded by shape
	resettled chan struct{}           // the settings may want another number of lanes

	encoders encoders // the senders' own

	settings atomic.Pointer[settings]
	health   health

	life     sync.Mutex // guards the following
	started  bool       // run has the rest of its life
	retired  bool
	retiring chan struct{} // closed by retire
	hurry    chan struct{} // closed when flushing must end at once
	ended    chan struct{} // closed by end
	replaced chan struct{} // closed, and made anew, by reconfigure: nobody waits on by old settings
}

// newEndpoint makes an endpoint that has no queue yet.
func newEndpoint(label, identity string, s *settings, lanes int, log *zap.Logger, m *metrics) *endpoint {
	e := &endpoint{
		label: label, identity: identity, log: log.With(zap.String("endpoint", label)), metrics: m.endpoint(label),
		retiring: make(chan struct{}), replaced: make(chan struct{}), hurry: make(chan struct{}), ended: make(chan struct{}),
		resettled: make(chan struct{}, 1),
	}
	all := make([]*lane, lanes)
	for i := range all {
		all[i] = newLane(i)
	}
	e.lanes.Store(&all)
	e.settings.Store(s)
	e.health.reset(s)
	e.metrics.protocol.Set(float64(e.health.protocol))
	return e
}

// all is the lanes that there are now.
func (e *endpoint) all() []*lane { return *e.lanes.Load() }

func (e *endpoint) laneOf(hash uint64) *lane {
	all := e.all()
	return all[hash%uint64(len(all))]
}

// append packs a batch. Series that kept their target's labels go through the lane of the target, all others,
// the loose ones, through the lane of their own labels.
//
// A lane's lock is taken before the table's, which is given up every 1,024 rows. The owner of the batch holds a
// reference of each of its series meanwhile.
func (e *endpoint) append(b *series.Batch) {
	e.metrics.appended.Add(float64(b.Len()))
	e.shape.RLock()
	defer e.shape.RUnlock()
	s := e.settings.Load()
	loose := e.appendWhole(s, b)
	if len(loose) > 0 {
		e.appendLoose(s, b.Target, loose)
	}
}

// looseRow is a row that does not go with its target.
type looseRow struct {
	row
	hash    uint64
	changed *ruling
}

func (e *endpoint) appendWhole(s *settings, b *series.Batch) (loose []looseRow) {
	var hash uint64
	e.table.Read(func(v series.View) { hash = v.TargetHash(b.Target) })
	l := e.laneOf(hash)
	l.mu.Lock()
	defer l.mu.Unlock()
	e.table.Read(func(v series.View) { loose = e.appendRows(l, s, v, b, hash) })
	return loose
}

func (e *endpoint) appendRows(l *lane, s *settings, v series.View, b *series.Batch, hash uint64) (loose []looseRow) {
	t := l.sent.target(hash)
	added := false
	src := source{view: v, target: b.Target}
	cursor := openRows(v, b)
	l.enc.beginBatch()
	for r := (row{}); cursor.next(&r); {
		var changed *ruling
		if len(s.WriteRelabelConfigs) > 0 {
			ruled := l.rules.rule(s, v, r.id, b.Target, hash)
			if !ruled.kept {
				e.metrics.drop(relabelled, 1)
				continue
			}
			if ruled.changed() {
				changed = ruled
			}
		}
		if r.ownTime {
			t.setTimed(v, r.id)
		}
		if s.ConvertNHCBToClassic {
			have, taken := len(loose), false
			loose, taken = l.classics.expand(l, s, source{view: v, target: b.Target, changed: changed}, r, ruleKey{hash, r.id}, loose)
			more := len(loose) - have
			if taken {
				more-- // the row itself was counted with its batch
			}
			e.metrics.appended.Add(float64(more))
			if taken {
				continue
			}
		}
		switch {
		case r.histogram != nil && !s.SendNativeHistograms:
			e.metrics.drop(unsupported, 1)
		case changed != nil:
			loose = append(loose, looseRow{row: r, hash: changed.hash, changed: changed})
		case r.ownTime || !v.Whole(r.parts.Stem) || t.isTimed(v, r.id):
			l.enc.pairs = v.Labels(l.enc.pairs[:0], r.id, b.Target)
			loose = append(loose, looseRow{row: r, hash: hashSeries(v, l.enc.pairs)})
		case !t.takes(v, r.id, b.Time):
			e.metrics.drop(notNewer, 1)
		default:
			if !added && t.request == l.open.number {
				l.seal(e) // no request holds two samples of a series
			}
			added = l.add(e, s, src, &r) || added
		}
	}
	l.flush(e)
	t.batch(b.Time, added, l.open.number)
	return loose
}

func (e *endpoint) appendLoose(s *settings, target series.TargetID, loose []looseRow) {
	all := e.all()
	lanes := uint64(len(all))
	slices.SortStableFunc(loose, func(a, b looseRow) int { return cmp.Compare(a.hash%lanes, b.hash%lanes) })
	for len(loose) > 0 {
		at := loose[0].hash % lanes
		n := 1
		for n < len(loose) && loose[n].hash%lanes == at {
			n++
		}
		e.appendLooseTo(all[at], s, target, loose[:n])
		loose = loose[n:]
	}
}

func (e *endpoint) appendLooseTo(l *lane, s *settings, target series.TargetID, loose []looseRow) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.table.Read(func(v series.View) { e.appendLooseRows(l, s, v, target, loose) })
}

func (e *endpoint) appendLooseRows(l *lane, s *settings, v series.View, target series.TargetID, loose []looseRow) {
	l.enc.beginBatch()
	for i := range loose {
		if i > 0 && i%rowsAHold == 0 {
			v.Pause()
		}
		r := &loose[i]
		h := l.sent.series(r.hash)
		if r.time <= h.newest {
			e.metrics.drop(notNewer, 1)
			continue
		}
		if h.request == l.open.number {
			l.seal(e)
		}
		if l.add(e, s, source{view: v, target: target, changed: r.changed}, &r.row) {
			l.sent.put(r.hash, looseHistory{newest: r.time, request: l.open.number})
		}
	}
	l.flush(e)
}

// reconfigure goes on under new settings; the backlog stays.
func (e *endpoint) reconfigure(s *settings) {
	old := e.settings.Swap(s)
	e.metrics.protocol.Set(float64(e.health.reset(s)))
	e.life.Lock()
	close(e.replaced)
	e.replaced = make(chan struct{})
	e.life.Unlock()
	e.wakeLanes(-1)
	select {
	case e.resettled <- struct{}{}:
	default:
	}
	old.client.close()
}

// current returns the settings and what tells that they were replaced.
func (e *endpoint) current() (*settings, <-chan struct{}) {
	e.life.Lock() // before the load: a replacement after it is told
	defer e.life.Unlock()
	return e.settings.Load(), e.replaced
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
			senders.Go(func() { (&sender{endpoint: e, lane: l, encoders: &e.encoders}).run(sending, stopping) })
		}
	}
	start(e.all()) // nobody else changes them
	telling, stopTelling := context.WithCancel(sending)
	defer stopTelling()
	senders.Go(func() { e.runMetadata(telling) })
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
			start(e.resize(max(s.lanes(), min(len(e.all()), s.QueueConfig.MaxShards))))
		case <-tick.C:
			start(e.resize(e.outgrown(&g)))
		}
	}
}

// flushTime is how long a stop waits for the endpoint to take what is queued. What a durable queue holds need not
// be waited for where the endpoint is down.
func (e *endpoint) flushTime() time.Duration {
	if e.outlasts() && e.status().Unreachable {
		return 0
	}
	return e.settings.Load().flushDeadline
}

// outlasts: what is queued is there after the endpoint ends. An endpoint that a reload removed leaves it in the store even
// if that goes with the process.
func (e *endpoint) outlasts() bool {
	return e.durable && (isClosed(e.retiring) || !e.settings.Load().ephemeral)
}

// leave ends the flushing of an endpoint that has retired and waits until its queue is closed.
func (e *endpoint) leave() {
	e.life.Lock()
	if !isClosed(e.hurry) {
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
	left, outlasts := e.queue.Stats(), e.outlasts()
	loss, err := e.queue.Close()
	e.settings.Load().client.close()
	lost, requests := loss.Samples, loss.Requests
	if e.durable && !outlasts {
		lost, requests = left.Samples, left.Requests
	}
	if !outlasts { // what was on its way is part of the loss, though the fate of some of it is known
		lost -= e.health.takeSettled()
	}
	if lost > 0 {
		e.metrics.drop(abandoned, lost)
		e.log.Warn("remote write samples abandoned", zap.Int("samples", lost), zap.Int("requests", requests))
	}
	if err != nil {
		e.log.Error("close queue", zap.Error(err))
	}
}
