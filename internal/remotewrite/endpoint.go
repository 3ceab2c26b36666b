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
	label   string // in metrics and logs
	log     *zap.Logger
	metrics *endpointMetrics
	queue   queue.Queue
	lanes   []*lane
	blocks  blocks

	encoders encoders // the senders' own

	settings atomic.Pointer[settings]
	health   health

	life     sync.Mutex // guards the following
	started  bool       // run has the rest of its life
	retired  bool
	retiring chan struct{} // closed by retire
	replaced chan struct{} // closed, and made anew, by reconfigure: nobody waits on by old settings
}

func newEndpoint(label string, s *settings, q queue.Queue, lanes int, log *zap.Logger, m *metrics) *endpoint {
	e := &endpoint{
		label: label, log: log.With(zap.String("endpoint", label)), metrics: m.endpoint(label), queue: q,
		retiring: make(chan struct{}), replaced: make(chan struct{}),
	}
	for i := range lanes {
		e.lanes = append(e.lanes, newLane(i))
	}
	e.settings.Store(s)
	e.health.reset(s)
	e.metrics.protocol.Set(float64(e.health.protocol))
	return e
}

func (e *endpoint) laneOf(hash uint64) *lane { return e.lanes[hash%uint64(len(e.lanes))] }

// append packs a batch. Series that kept their target's labels go through the lane of the target, all others,
// the loose ones, through the lane of their own labels.
func (e *endpoint) append(v series.View, b *series.Batch) {
	e.metrics.appended.Add(float64(b.Len()))
	s := e.settings.Load()
	loose := e.appendWhole(s, v, b)
	if len(loose) > 0 {
		e.appendLoose(s, v, b.Target, loose)
	}
}

// looseRow is a row that does not go with its target.
type looseRow struct {
	row
	hash    uint64
	changed *ruling
}

func (e *endpoint) appendWhole(s *settings, v series.View, b *series.Batch) (loose []looseRow) {
	hash := v.TargetHash(b.Target)
	l := e.laneOf(hash)
	l.mu.Lock()
	defer l.mu.Unlock()

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
		switch {
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

func (e *endpoint) appendLoose(s *settings, v series.View, target series.TargetID, loose []looseRow) {
	lanes := uint64(len(e.lanes))
	slices.SortStableFunc(loose, func(a, b looseRow) int { return cmp.Compare(a.hash%lanes, b.hash%lanes) })
	for len(loose) > 0 {
		at := loose[0].hash % lanes
		n := 1
		for n < len(loose) && loose[n].hash%lanes == at {
			n++
		}
		e.appendLooseTo(e.lanes[at], s, v, target, loose[:n])
		loose = loose[n:]
	}
}

func (e *endpoint) appendLooseTo(l *lane, s *settings, v series.View, target series.TargetID, loose []looseRow) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.enc.beginBatch()
	for i := range loose {
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
	if want := s.lanes(); want != len(e.lanes) {
		e.log.Info("remote write keeps its lanes until a restart",
			zap.Int("lanes", len(e.lanes)), zap.Int("wanted", want))
	}
	old := e.settings.Swap(s)
	e.metrics.protocol.Set(float64(e.health.reset(s)))
	e.life.Lock()
	close(e.replaced)
	e.replaced = make(chan struct{})
	e.life.Unlock()
	for _, l := range e.lanes {
		l.notify()
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
	for _, l := range e.lanes {
		senders.Go(func() { (&sender{endpoint: e, lane: l, encoders: &e.encoders}).run(sending, stopping) })
	}
	select {
	case <-ctx.Done():
	case <-e.retiring:
	}
	close(stopping)
	deadline := time.AfterFunc(e.settings.Load().flushDeadline, stopSending)
	senders.Wait()
	deadline.Stop()
	e.end()
}

// end closes what the endpoint owns and counts what nobody will deliver.
func (e *endpoint) end() {
	for _, l := range e.lanes {
		l.sealDue(e, true)
	}
	loss, err := e.queue.Close()
	e.settings.Load().client.close()
	if lost := loss.Samples - e.health.takeSettled(); lost > 0 {
		e.metrics.drop(abandoned, lost)
		e.log.Warn("remote write samples abandoned", zap.Int("samples", lost), zap.Int("requests", loss.Requests))
	}
	if err != nil {
		e.log.Error("close queue", zap.Error(err))
	}
}
