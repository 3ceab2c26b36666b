package remotewrite

import (
	"context"
	"errors"
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

	mu      sync.Mutex       // guards the following; held by Apply and by the start of Run
	running context.Context  // Run's; nil before
	stopped bool             // Run has begun to end
	adopted bool             // the first Apply is through
	retired []*endpoint      // may still flush
	removed []removedMetrics // of endpoints that are not among the endpoints any more
	maxAge  time.Duration    // of orphans
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
		w.removed = append(w.removed, removedMetrics{label: name, since: time.Now()})
	}
}

// hasLabel reports whether an endpoint counts under a label. The caller holds mu.
func (w *Writers) hasLabel(label string) bool {
	return slices.ContainsFunc(*w.endpoints.Load(), func(e *endpoint) bool { return e.label == label })
}

// forgetMetrics removes the metrics of endpoints that ended a while ago. The caller holds mu.
func (w *Writers) forgetMetrics(now time.Time) {
	kept := w.removed[:0]
	for _, g := range w.removed {
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
	w.removed = kept
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
	w.maintain(ctx)
	w.mu.Lock()
	w.stopped = true // no Apply starts runners behind our back
	w.mu.Unlock()
	w.runners.Wait()
	return nil
}

// lookAfterTheGone sees to the queues and metrics that endpoints left behind, and returns when ctx ends.
func (w *Writers) maintain(ctx context.Context) {
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

// Status returns the state of each endpoint, in the order of the configuration.
func (w *Writers) Status() []EndpointStatus {
	endpoints := *w.endpoints.Load()
	out := make([]EndpointStatus, 0, len(endpoints))
	for _, e := range endpoints {
		out = append(out, e.status())
	}
	return out
}
