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
		reg.MustRegister(newPendingCollector(w.Status))
		if store != nil {
			reg.MustRegister(newQueueCollector(func() []*endpoint { return *w.endpoints.Load() }))
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

// Apply makes the endpoints what cfg says. Unchanged ones are not touched; one that kept its name or, without one, its
// URL but for the query, goes on with its backlog under the new settings, and so does the only one that is new after
// the only one that is gone; a removed one is flushed for at most the flush deadline. On an error nothing has changed.
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
		if err := w.storage.adopt(identities); err != nil {
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
	}
	w.retired = slices.DeleteFunc(append(w.retired, gone...), func(e *endpoint) bool { return isClosed(e.ended) })
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
	if err := w.storage.sweep(w.maxAge, wanted, w.metrics, loud); err != nil {
		w.log.Error("look for queues without endpoint", zap.Error(err))
	}
}

// step is what Apply does to one endpoint.
type step struct {
	endpoint *endpoint
	replace  *settings // nil: leave it alone
	fresh    bool
}

// plan pairs the wanted endpoints with the current ones: by equal settings first, then by name or URL, then the only
// unnamed ones that are left. It opens the new ones.
func (w *Writers) plan(cfg Config, identities []string, current []*endpoint) (steps []step, gone []*endpoint, err error) {
	wanted := make([]*settings, len(cfg.Endpoints))
	for i, ec := range cfg.Endpoints {
		wanted[i] = newSettings(cfg, ec)
	}
	steps, gone = match(wanted, current)
	restore := func() {}
	defer func() {
		if err != nil {
			defer restore()
			for _, s := range steps {
				if s.fresh {
					s.endpoint.retire() // never started, so closed at once
				}
			}
		}
	}()
	for i, s := range wanted {
		if steps[i].endpoint != nil && steps[i].replace == nil {
			continue
		}
		if _, err := s.withClient(w.newClient); err != nil {
			return steps, nil, err
		}
	}
	restore = w.rename(steps, identities)
	labels := labelsOf(wanted)
	for i, s := range wanted {
		if steps[i].endpoint != nil {
			continue
		}
		e, err := w.open(cfg, s, unused(labels[i], steps), identities[i])
		if err != nil {
			return steps, nil, err
		}
		steps[i] = step{endpoint: e, fresh: true}
	}
	return steps, gone, nil
}

// rename gives the queues of endpoints that go on under another URL the identities that a restart will look for, and
// returns what takes that back. What cannot be renamed keeps its identity until then.
func (w *Writers) rename(steps []step, identities []string) (restore func()) {
	var done []func()
	for i, s := range steps {
		e := s.endpoint
		if e == nil || e.identity == identities[i] {
			continue
		}
		from, to := e.identity, identities[i]
		w.vacate(to)
		if err := w.storage.rename(from, to); err != nil {
			e.log.Warn("remote write queue keeps the name of the URL before", zap.Error(err))
			continue
		}
		e.identity = to
		done = append(done, func() {
			if w.storage.rename(to, from) == nil {
				e.identity = from
			}
		})
	}
	return func() {
		for _, back := range slices.Backward(done) {
			back()
		}
	}
}

// unused makes a label that no endpoint has which stays: one that got another URL keeps that of its first.
func unused(label string, steps []step) string {
	taken := func(l string) bool {
		return slices.ContainsFunc(steps, func(s step) bool { return s.endpoint != nil && s.endpoint.label == l })
	}
	free := label
	for n := 2; taken(free); n++ {
		free = fmt.Sprintf("%s#%d", label, n)
	}
	return free
}

// match finds the endpoint that each of the wanted settings is for, and those that nobody wants.
func match(wanted []*settings, current []*endpoint) (steps []step, gone []*endpoint) {
	steps = make([]step, len(wanted))
	used := map[*endpoint]bool{}
	take := func(fits func(*endpoint, *settings) bool, keep bool) {
		for i, s := range wanted {
			for _, e := range current {
				if steps[i].endpoint == nil && !used[e] && fits(e, s) {
					used[e], steps[i].endpoint = true, e
					if !keep {
						steps[i].replace = s
					}
				}
			}
		}
	}
	take(func(e *endpoint, s *settings) bool { return e.settings.Load().equal(s) }, true)
	take(func(e *endpoint, s *settings) bool { return e.settings.Load().same(s) }, false)
	left := 0
	for i, s := range wanted {
		if s.Name == "" && steps[i].endpoint == nil {
			left++
		}
	}
	for _, e := range current {
		if !used[e] {
			gone = append(gone, e)
		}
	}
	unnamed := func(e *endpoint) bool { return e.settings.Load().Name == "" }
	if at := slices.IndexFunc(gone, unnamed); left == 1 && at >= 0 && !slices.ContainsFunc(gone[at+1:], unnamed) {
		take(func(e *endpoint, s *settings) bool { return unnamed(e) && s.Name == "" }, false)
		gone = slices.Delete(gone, at, at+1)
	}
	return steps, gone
}

// identities names the queues of endpoints; of two unnamed ones with one URL, the second has a number.
func identities(endpoints []EndpointConfig) []string {
	return numbered(len(endpoints), "-", func(i int) string { return endpoints[i].identity() })
}

// labelsOf names endpoints in metrics and logs.
func labelsOf(all []*settings) []string {
	return numbered(len(all), "#", func(i int) string { return all[i].label() })
}

func numbered(n int, mark string, name func(int) string) []string {
	names := make([]string, n)
	times := map[string]int{}
	for i := range names {
		base := name(i)
		names[i] = base
		if times[base]++; times[base] > 1 {
			names[i] = fmt.Sprintf("%s%s%d", base, mark, times[base])
		}
	}
	return names
}

// open makes a new endpoint with its queue.
func (w *Writers) open(cfg Config, s *settings, label, identity string) (*endpoint, error) {
	w.vacate(identity)
	lanes := s.lanes()
	e := newEndpoint(label, identity, s, lanes, w.log, w.metrics)
	e.table, e.durable = w.table, w.storage.store != nil
	var err error
	if e.queue, err = w.openQueue(identity, lanes, e.queueConfig(cfg.Queue)); err != nil {
		return nil, fmt.Errorf("remote_write %s: %w", label, err)
	}
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
	w.lookAfterOrphans(ctx)
	w.mu.Lock()
	w.stopped = true // no Apply starts runners behind our back
	w.mu.Unlock()
	w.runners.Wait()
	return nil
}

// lookAfterOrphans returns when ctx ends.
func (w *Writers) lookAfterOrphans(ctx context.Context) {
	tick := time.NewTicker(orphanCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			w.mu.Lock()
			w.sweep(false)
			w.mu.Unlock()
		}
	}
}

// EndpointStatus is what people are shown of an endpoint.
type EndpointStatus struct {
	Name           string // as in metrics
	URL            string // without user info and query
	Protocol       string // "2.0" or "1.0"
	Lanes          int
	PendingSamples int
	PendingBytes   int64
	OldestPending  time.Time // zero: nothing waits
	LastError      string
	LastErrorTime  time.Time
	LastSuccess    time.Time
	Unreachable    bool          // the last request failed in a way that may pass
	PendingLimit   int64         // bytes that may wait; 0: unknown
	FullIn         time.Duration // until they do, at the pace of the last minutes; 0: it does not grow
	Rejected       []Rejection   // what was refused for good of late, newest first
}

// Status tells how each endpoint does, in the order of the configuration.
func (w *Writers) Status() []EndpointStatus {
	endpoints := *w.endpoints.Load()
	out := make([]EndpointStatus, 0, len(endpoints))
	for _, e := range endpoints {
		out = append(out, e.status())
	}
	return out
}
