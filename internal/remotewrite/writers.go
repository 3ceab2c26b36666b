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

	"github.com/envoy-scraper/envoy-scraper/internal/chance"
	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// Writers are all remote write endpoints. Call New, then Apply, then Run; Apply again at any time.
type Writers struct {
	table     *series.Table
	log       *zap.Logger
	metrics   *metrics
	chance    chance.Source
	newClient clientFunc
	storage   *storage
	// openQueue is storage.open; tests replace it.
	openQueue func(identity string, lanes int, cfg queue.Config) (queue.Queue, error)

	// endpoints is replaced whole, so that Append never waits for Apply.
	endpoints atomic.Pointer[[]*endpoint]

	mu      sync.Mutex       // guards the following; held by Apply and by the start of Run
	running context.Context  // context of Run; nil before Run
	stopped bool             // Run is about to return
	adopted bool             // the first Apply is done
	retired []*endpoint      // removed endpoints; they may still flush
	removed []removedMetrics // metrics of removed endpoints
	maxAge  time.Duration    // of an orphan
	runners sync.WaitGroup
}

// New returns Writers without endpoints, which accept batches and drop them. store keeps undelivered samples; the
// caller closes it after Run. Without a store (nil) they are kept in memory, and are lost with the process.
func New(table *series.Table, store *queue.Store, opts Options, log *zap.Logger,
	reg prometheus.Registerer) *Writers {
	w := &Writers{
		table: table, log: log, metrics: newMetrics(reg), chance: opts.Chance, newClient: opts.newClient,
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

// Append gives a batch to every endpoint. It keeps nothing of the batch, and never fails because of a receiver:
// samples that cannot be kept are counted.
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

// Flush sends at once what waits for later scrapes of its target (batch_send_deadline).
func (w *Writers) Flush() {
	for _, e := range *w.endpoints.Load() {
		e.packer.Flush()
	}
}

// sweep removes or reports queues of the store that have no endpoint. The caller holds mu.
func (w *Writers) sweep(loud bool) {
	var wanted []string
	for _, e := range slices.Concat(*w.endpoints.Load(), w.retired) {
		wanted = append(wanted, e.identity)
	}
	dropped, err := w.storage.sweep(w.maxAge, wanted, w.metrics, loud)
	if err != nil {
		w.log.Error("look for queues without remote_write entry", zap.Error(err))
	}
	for _, name := range dropped {
		w.removed = append(w.removed, removedMetrics{label: name, since: time.Now()})
	}
}

// hasLabel reports whether an endpoint has a label. The caller holds mu.
func (w *Writers) hasLabel(label string) bool {
	return slices.ContainsFunc(*w.endpoints.Load(), func(e *endpoint) bool { return e.label == label })
}

// forgetMetrics removes the metrics of endpoints that ended a while ago. The caller holds mu.
func (w *Writers) forgetMetrics(now time.Time) {
	kept := w.removed[:0]
	for _, g := range w.removed {
		switch {
		case w.hasLabel(g.label): // an endpoint has the label again
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

// start runs an endpoint until the context of Run ends or the endpoint is removed. The caller holds mu.
func (w *Writers) start(e *endpoint) {
	ctx := w.running
	w.runners.Go(func() { e.run(ctx) })
}

// Run delivers until ctx ends. Then it flushes for at most the flush deadline, and counts the samples that are
// abandoned. Scraping must stop before: samples that are appended later are abandoned too.
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
	w.stopped = true // from now on Apply fails
	w.mu.Unlock()
	w.runners.Wait()
	return nil
}

// maintain looks after the queues and metrics of removed endpoints until ctx ends.
func (w *Writers) maintain(ctx context.Context) {
	orphans, metrics := time.NewTicker(orphanCheck), time.NewTicker(time.Minute)
	defer orphans.Stop()
	defer metrics.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-orphans.C:
			w.unlessBusy(func() { w.sweep(false) })
		case now := <-metrics.C:
			w.unlessBusy(func() { w.forgetMetrics(now) })
		}
	}
}

// unlessBusy does something with mu held, unless an Apply runs: that may wait for a slow disk, and a later tick will
// do.
func (w *Writers) unlessBusy(do func()) {
	if w.mu.TryLock() {
		defer w.mu.Unlock()
		do()
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
