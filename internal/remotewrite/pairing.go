package remotewrite

import (
	"fmt"
	"slices"

	"go.uber.org/zap"
)

// step is what Apply does to one endpoint.
type step struct {
	endpoint *endpoint
	replace  *settings // nil: leave it alone
	fresh    bool
}

// plan pairs the wanted endpoints with the current ones: by equal settings first, then by name or, without one, by URL,
// then by URL whatever their names, then the only unnamed ones that are left. It opens the new ones.
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

// move is a queue that gets another identity.
type move struct {
	endpoint *endpoint
	to       string
}

// rename gives the queues of endpoints that go on under another name or URL the identities that a restart will look
// for, and returns what takes that back. The queue of a removed endpoint makes way. A queue that cannot be renamed
// keeps its identity until the restart.
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
		} else { // in a circle: one steps aside
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
			e.log.Warn("remote write queue keeps the name that it has", zap.Error(err))
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

// moveOrphan gives another identity to a queue that no endpoint has, so that one can have its identity, and returns
// what takes that back. What waits in the orphan stays there.
func (w *Writers) moveOrphan(identity string, wanted []string) (restore func()) {
	has := func(e *endpoint) bool { return e.identity == identity && !isDone(e.ended) }
	if slices.ContainsFunc(slices.Concat(*w.endpoints.Load(), w.retired), has) || !slices.Contains(w.storage.names(), identity) {
		return func() {}
	}
	to := w.freeIdentity(identity, wanted)
	if err := w.storage.rename(identity, to); err != nil {
		return func() {} // then the endpoint's queue keeps its name, and says so
	}
	w.log.Info("a queue that belongs to no remote_write entry makes way for that of an entry", zap.String("from", identity), zap.String("to", to))
	return func() { _ = w.storage.rename(to, identity) }
}

// freeIdentity makes an identity from another one that no queue has and no endpoint is wanted under.
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
	take(func(e *endpoint, s *settings) bool { return e.settings.Load().sameReceiver(s) }, false)
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
