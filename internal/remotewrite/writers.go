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

	// endpoints is replaced whole, so that Append never waits for Apply.
	endpoints atomic.Pointer[[]*endpoint]

	mu      sync.Mutex      // guards the following; held by Apply and by the start of Run
	running context.Context // Run's; nil before
	stopped bool            // Run has begun to end
	runners sync.WaitGroup
}

// New returns Writers without endpoints: they take batches and count nothing.
func New(table *series.Table, log *zap.Logger, reg prometheus.Registerer) *Writers {
	w := &Writers{table: table, log: log, metrics: newMetrics(reg), newClient: newClient}
	w.endpoints.Store(&[]*endpoint{})
	if reg != nil {
		reg.MustRegister(newPendingCollector(w.Status))
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
	w.table.Read(func(v series.View) {
		for _, e := range endpoints {
			e.append(v, b)
		}
	})
	return nil
}

// Apply makes the endpoints what cfg says. Unchanged ones are not touched; one that kept its name, or its URL,
// goes on with its backlog under the new settings; a removed one is flushed for at most the flush deadline. On
// an error nothing has changed.
func (w *Writers) Apply(cfg Config) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return errors.New("remote write has stopped")
	}
	current := *w.endpoints.Load()
	steps, gone, err := w.plan(cfg, current)
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
	return nil
}

// step is what Apply does to one endpoint.
type step struct {
	endpoint *endpoint
	replace  *settings // nil: leave it alone
	fresh    bool
}

// plan pairs the wanted endpoints with the current ones: by equal settings first, then by name or URL.
func (w *Writers) plan(cfg Config, current []*endpoint) (steps []step, gone []*endpoint, err error) {
	steps = make([]step, len(cfg.Endpoints))
	wanted := make([]*settings, len(cfg.Endpoints))
	used := map[*endpoint]bool{}
	pair := func(match func(*endpoint, *settings) bool, keep bool) {
		for i, s := range wanted {
			for _, e := range current {
				if steps[i].endpoint == nil && !used[e] && match(e, s) {
					used[e], steps[i].endpoint = true, e
					if !keep {
						steps[i].replace = s
					}
				}
			}
		}
	}
	for i, ec := range cfg.Endpoints {
		wanted[i] = newSettings(cfg, ec)
	}
	pair(func(e *endpoint, s *settings) bool { return e.settings.Load().equal(s) }, true)
	pair(func(e *endpoint, s *settings) bool { return e.settings.Load().same(s) }, false)

	labels := map[string]int{}
	for i, s := range wanted {
		label := s.label()
		if labels[label]++; labels[label] > 1 {
			label = fmt.Sprintf("%s#%d", label, labels[label]) // two entries without names may share a URL
		}
		if steps[i].endpoint != nil && steps[i].replace == nil {
			continue
		}
		if _, err := s.withClient(w.newClient); err != nil {
			return nil, nil, err
		}
		if steps[i].endpoint == nil {
			steps[i].fresh = true
			if steps[i].endpoint, err = w.open(cfg, s, label); err != nil {
				return nil, nil, err
			}
		}
	}
	for _, e := range current {
		if !used[e] {
			gone = append(gone, e)
		}
	}
	return steps, gone, nil
}

// open makes a new endpoint with its queue.
func (w *Writers) open(cfg Config, s *settings, label string) (*endpoint, error) {
	lanes := s.lanes()
	var q queue.Queue = queue.NewMemory(cfg.Queue, lanes)
	if cfg.OpenQueue != nil {
		var err error
		if q, err = cfg.OpenQueue(label, lanes, cfg.Queue); err != nil {
			return nil, fmt.Errorf("remote_write %s: %w", label, err)
		}
	}
	return newEndpoint(label, s, q, lanes, w.log, w.metrics), nil
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
	<-ctx.Done()
	w.mu.Lock()
	w.stopped = true // no Apply starts runners behind our back
	w.mu.Unlock()
	w.runners.Wait()
	return nil
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
