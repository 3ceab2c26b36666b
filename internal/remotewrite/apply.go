package remotewrite

import (
	"errors"
	"fmt"
	"slices"

	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
)

// Apply changes the endpoints to those of cfg. Unchanged endpoints keep running. An endpoint whose name or URL
// (without the query) is the same goes on with its backlog under the new settings. So does the only removed unnamed
// endpoint as the only new unnamed one. A removed endpoint is flushed for at most the flush deadline. If Apply fails,
// nothing has changed.
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
		w.removed = append(w.removed, removedMetrics{label: e.label, ended: e.ended})
	}
	w.retired = slices.DeleteFunc(append(w.retired, gone...), func(e *endpoint) bool { return isDone(e.ended) })
	w.maxAge = cfg.Queue.MaxAge
	w.sweep(!w.adopted || len(gone) > 0)
	w.adopted = true
	return nil
}

// plan pairs the wanted endpoints with the running ones, and opens the queues of new ones.
func (w *Writers) plan(cfg Config, identities []string, current []*endpoint) (
	steps []step, gone []*endpoint, err error,
) {
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
					s.endpoint.retire() // it was not started, so it is closed at once
				}
			}
		}
	}()
	for i, s := range wanted {
		if steps[i].endpoint != nil && steps[i].replace == nil {
			continue
		}
		if err := s.withClient(w.newClient); err != nil {
			return steps, nil, err
		}
	}
	restore = w.rename(steps, gone, identities)
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

// move gives the queue of an endpoint another identity.
type move struct {
	endpoint *endpoint
	to       string
}

// rename gives the queues of endpoints that go on under another name or URL the identities that a restart will look
// for. It returns a function that undoes this. The queue of a removed endpoint makes room. A queue that cannot be
// renamed keeps its identity until the restart.
func (w *Writers) rename(steps []step, gone []*endpoint, identities []string) (restore func()) {
	var moves []move
	for i, s := range steps {
		if e := s.endpoint; e != nil && e.identity != identities[i] {
			moves = append(moves, move{e, identities[i]})
		}
	}
	held := func(identity string) bool {
		return slices.ContainsFunc(moves, func(m move) bool { return m.endpoint.identity == identity })
	}
	for _, e := range slices.Concat(gone, w.retired) {
		if slices.ContainsFunc(moves, func(m move) bool { return m.to == e.identity }) && !isDone(e.ended) {
			moves = append(moves, move{e, w.freeIdentity(e.identity, identities)})
		}
	}
	var done []func()
	for len(moves) > 0 {
		at := slices.IndexFunc(moves, func(m move) bool { return !held(m.to) })
		to := ""
		if at >= 0 {
			to = moves[at].to
			done = append(done, w.moveOrphan(to, identities))
		} else { // in a circle: one queue moves out of the way
			at, to = 0, w.freeIdentity(moves[0].to, identities)
		}
		e, from := moves[at].endpoint, moves[at].endpoint.identity
		err := w.storage.rename(from, to)
		if err == nil {
			e.identity = to
			done = append(done, func() {
				if w.storage.rename(to, from) == nil {
					e.identity = from
				}
			})
		} else {
			e.log.Warn("remote write queue keeps its old name", zap.Error(err))
		}
		if err != nil || to == moves[at].to {
			moves = slices.Delete(moves, at, at+1)
		}
	}
	return func() {
		for _, back := range slices.Backward(done) {
			back()
		}
	}
}

// moveOrphan gives an orphan another identity, so that an endpoint can have its old one. It returns a function that
// undoes this. The samples stay in the orphan.
func (w *Writers) moveOrphan(identity string, wanted []string) (restore func()) {
	has := func(e *endpoint) bool { return e.identity == identity && !isDone(e.ended) }
	if slices.ContainsFunc(slices.Concat(*w.endpoints.Load(), w.retired), has) ||
		!slices.Contains(w.storage.names(), identity) {
		return func() {}
	}
	to := w.freeIdentity(identity, wanted)
	if err := w.storage.rename(identity, to); err != nil {
		return func() {} // then the queue of the endpoint keeps its name, which is logged
	}
	w.log.Info("renamed a queue without remote_write entry, because an entry needs its name",
		zap.String("from", identity), zap.String("to", to))
	return func() { _ = w.storage.rename(to, identity) }
}

// freeIdentity adds a number to an identity, so that no queue has the result and no endpoint is wanted under it.
func (w *Writers) freeIdentity(identity string, wanted []string) string {
	taken := slices.Concat(wanted, w.storage.names())
	for _, e := range slices.Concat(*w.endpoints.Load(), w.retired) {
		taken = append(taken, e.identity)
	}
	free := ""
	for n := 2; free == "" || slices.Contains(taken, free); n++ {
		free = fmt.Sprintf("%s-%d", identity, n)
	}
	return free
}

// open makes a new endpoint with its queue.
func (w *Writers) open(cfg Config, s *settings, label, identity string) (*endpoint, error) {
	w.freeQueueOf(identity)
	lanes := s.lanes()
	e := newEndpoint(label, identity, s, lanes, w.table, w.log, w.metrics)
	e.durable, e.limits, e.chance = w.storage.store != nil, cfg.Queue, w.chance.Of(label)
	q, err := w.openQueue(identity, lanes, e.queueConfig(cfg.Queue))
	if err != nil {
		return nil, fmt.Errorf("remote_write %s: %w", label, err)
	}
	e.use(q)
	return e, nil
}

// freeQueueOf ends the flushing of a removed endpoint whose identity is wanted again.
func (w *Writers) freeQueueOf(identity string) {
	for _, e := range w.retired {
		if e.identity == identity {
			e.abortFlush()
		}
	}
}
