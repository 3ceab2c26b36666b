// Package remotewrite packs batches into remote write requests and delivers them. Writers hands every batch to
// every endpoint; an endpoint has lanes; a lane has one request that grows and at most one in flight, in a
// queue between the two.
//
//   - Append never waits for a network.
//   - Samples of one series go through one lane, in order; no request holds two samples of one series.
//   - What is queued is always remote write 2.0; 1.0 is made of it when it is sent.
//   - Every sample that does not arrive is counted under a reason.
package remotewrite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// Writers is all remote write endpoints. New, then Apply, then Run; Apply again at any time.
type Writers struct {
	table     *series.Table
	log       *zap.Logger
	metrics   *metrics
	newClient clientFunc
	storage   *storage
	openQueue func(identity string, lanes int, cfg queue.Config) (queue.Queue, error) // storage's; tests have their own

	// endpoints is replaced whole, so that Append never waits for Apply.
	endpoints atomic.Pointer[[]*endpoint]

	mu      sync.Mutex      // guards the following; held by Apply and by the start of Run
	running context.Context // Run's; nil before
	stopped bool            // Run has begun to end
	adopted bool            // the first Apply is through
	retired []*endpoint     // may still flush
	gone    []goneMetrics   // of endpoints that are not among the endpoints any more
	maxAge  time.Duration   // of orphans
	runners sync.WaitGroup
}

// New returns Writers without endpoints: they take batches and count nothing. store keeps what is to be delivered,
// and is the caller's to close after Run; nil: memory does, and what it holds goes with the process.
func New(table *series.Table, store *queue.Store, log *zap.Logger, reg prometheus.Registerer) *Writers {
	w := &Writers{
		table: table, log: log, metrics: newMetrics(reg), newClient: newClient,
		storage: newStorage(store, log, reg),
	}
	w.openQueue = w.storage.open
	w.endpoints.Store(&[]*endpoint{})
	if reg != nil {
		endpoints := func() []*endpoint { return *w.endpoints.Load() }
		reg.MustRegister(newPendingCollector(w.Status), newLaneCollector(endpoints))
		if store != nil {
			reg.MustRegister(newQueueCollector(endpoints))
		}
	}
	return w
}

// Append hands a batch to every endpoint. It keeps nothing of the batch. It never fails for what a receiver
// does: what cannot be kept is counted.
func (w *Writers) Append(b *series.Batch) error {
	endpoints := *w.endpoints.Load()
	if len(endpoints) == 0 || b.Len() == 0 {
		return nil
	}
	for _, e := range endpoints {
		e.append(b)
	}
	return nil
}

// Apply makes the endpoints what cfg says. Unchanged ones are not touched. One that kept its name or its URL, but for
// the query, goes on with its backlog under the new settings. So does the only unnamed one that is new after the only
// one that is gone. A removed one is flushed for at most the flush deadline. On an error nothing has changed.
func (w *Writers) Apply(cfg Config) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return errors.New("remote write has stopped")
	}
	if cfg.Queue.MaxBytes == 0 {
		cfg.Queue = queue.DefaultConfig()
	}
	identities := identities(cfg.Endpoints)
	if !w.adopted {
		if err := w.storage.adopt(cfg.Endpoints, identities); err != nil {
			return err
		}
	}
	current := *w.endpoints.Load()
	steps, gone, err := w.plan(cfg, identities, current)
	if err != nil {
		return err
	}
	next := make([]*endpoint, 0, len(steps))
	for _, s := range steps {
		if s.replace != nil {
			s.endpoint.logName(s.replace)
			s.endpoint.reconfigure(s.replace)
		}
		next = append(next, s.endpoint)
		if s.fresh && w.running != nil {
			w.start(s.endpoint)
		}
	}
	w.endpoints.Store(&next)
	for _, e := range gone {
		e.retire()
		w.gone = append(w.gone, goneMetrics{label: e.label, ended: e.ended})
	}
	w.retired = slices.DeleteFunc(append(w.retired, gone...), func(e *endpoint) bool { return isDone(e.ended) })
	w.maxAge = cfg.Queue.MaxAge
	w.sweep(!w.adopted || len(gone) > 0)
	w.adopted = true
	return nil
}

// sweep looks after the queues of the store that have no endpoint. The caller holds mu.
func (w *Writers) sweep(loud bool) {
	var wanted []string
	for _, e := range slices.Concat(*w.endpoints.Load(), w.retired) {
		wanted = append(wanted, e.identity)
	}
	dropped, err := w.storage.sweep(w.maxAge, wanted, w.metrics, loud)
	if err != nil {
		w.log.Error("look for queues without endpoint", zap.Error(err))
	}
	for _, name := range dropped {
		w.gone = append(w.gone, goneMetrics{label: name, since: time.Now()})
	}
}

// hasLabel reports whether an endpoint counts under a label. The caller holds mu.
func (w *Writers) hasLabel(label string) bool {
	return slices.ContainsFunc(*w.endpoints.Load(), func(e *endpoint) bool { return e.label == label })
}

// forgetMetrics removes the metrics of endpoints that ended a while ago. The caller holds mu.
func (w *Writers) forgetMetrics(now time.Time) {
	kept := w.gone[:0]
	for _, g := range w.gone {
		switch {
		case w.hasLabel(g.label): // it is back
		case g.since.IsZero() && !isDone(g.ended):
			kept = append(kept, g)
		case g.since.IsZero():
			g.since = now
			kept = append(kept, g)
		case now.Sub(g.since) < keptMetrics:
			kept = append(kept, g)
		default:
			w.metrics.forget(g.label)
		}
	}
	w.gone = kept
}

// open makes a new endpoint with its queue.
func (w *Writers) open(cfg Config, s *settings, label, identity string) (*endpoint, error) {
	w.vacate(identity)
	lanes := s.lanes()
	e := newEndpoint(label, identity, s, lanes, w.table, w.log, w.metrics)
	e.durable, e.limits = w.storage.store != nil, cfg.Queue
	q, err := w.openQueue(identity, lanes, e.queueConfig(cfg.Queue))
	if err != nil {
		return nil, fmt.Errorf("remote_write %s: %w", label, err)
	}
	e.use(q)
	return e, nil
}

// vacate ends the flushing of a removed endpoint whose identity is wanted again.
func (w *Writers) vacate(identity string) {
	for _, e := range w.retired {
		if e.identity == identity {
			e.leave()
		}
	}
}

// start runs an endpoint until Run's context ends or it retires. The caller holds mu.
func (w *Writers) start(e *endpoint) {
	ctx := w.running
	w.runners.Go(func() { e.run(ctx) })
}

// Run delivers until ctx ends, then flushes for at most the flush deadline, and counts what is abandoned. Stop
// scraping before: what comes in after that is abandoned too.
func (w *Writers) Run(ctx context.Context) error {
	w.mu.Lock()
	if w.running != nil {
		w.mu.Unlock()
		return errors.New("remote write runs already")
	}
	w.running = ctx
	for _, e := range *w.endpoints.Load() {
		w.start(e)
	}
	w.mu.Unlock()
	w.lookAfterTheGone(ctx)
	w.mu.Lock()
	w.stopped = true // no Apply starts runners behind our back
	w.mu.Unlock()
	w.runners.Wait()
	return nil
}

// lookAfterTheGone sees to the queues and metrics that endpoints left behind, and returns when ctx ends.
func (w *Writers) lookAfterTheGone(ctx context.Context) {
	orphans, metrics := time.NewTicker(orphanCheck), time.NewTicker(time.Minute)
	defer orphans.Stop()
	defer metrics.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-orphans.C:
			w.mu.Lock()
			w.sweep(false)
			w.mu.Unlock()
		case now := <-metrics.C:
			w.mu.Lock()
			w.forgetMetrics(now)
			w.mu.Unlock()
		}
	}
}
