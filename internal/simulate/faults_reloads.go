package simulate

import (
	"math/rand/v2"
	"strings"
	"time"
)

// reloadKinds are reloads that change the endpoints for a while.
func reloadKinds() []kind {
	return []kind{
		{name: "endpoints: one is removed and comes back", weight: 3, lasts: true, begin: beginWithoutB},
		{name: "endpoints: another one for a while", weight: 3, lasts: true, begin: beginWithC},
	}
}

// aDiskFails reports whether a disk is broken, so that an agent may be unable to open the queue of a new endpoint. It
// then refuses the file.
func (w *world) aDiskFails() bool {
	for kind, n := range w.present {
		if n > 0 && strings.HasPrefix(kind, "disk: ") {
			return true
		}
	}
	return false
}

// beginWithoutB removes the endpoint b. What it has not delivered waits on disk until it comes back.
func beginWithoutB(w *world, _ scheduledFault, _ *rand.Rand) func() {
	if w.revision.withoutB {
		return nil
	}
	next := w.revision
	next.withoutB = true
	w.reload(next)
	var end func()
	end = func() {
		if w.aDiskFails() {
			w.later(7*time.Second, end)
			return
		}
		next := w.revision
		next.withoutB = false
		w.reload(next)
	}
	return end
}

// beginWithC adds the endpoint c. It is removed when it has received nearly everything; the rest is delivered within
// the flush deadline.
func beginWithC(w *world, _ scheduledFault, _ *rand.Rand) func() {
	if w.revision.withC || w.aDiskFails() {
		return nil
	}
	next := w.revision
	next.withC = true
	w.reload(next)
	var end func()
	end = func() {
		if w.bad != nil || !w.flushes("c") {
			w.later(7*time.Second, end)
			return
		}
		next := w.revision
		next.withC = false
		w.reload(next)
		w.later(flushDeadline+time.Second, func() { w.keepDropped("c") })
	}
	return end
}

// keepDropped notes what processes have dropped for an endpoint that was removed. They forget these counters.
func (w *world) keepDropped(endpoint string) {
	for _, r := range w.agents {
		if r.process == nil {
			continue
		}
		all := map[dropped]float64{}
		r.process.addDropped(all)
		for d, n := range all {
			if d.endpoint == endpoint {
				r.dropped[d] += n
			}
		}
	}
}

// flushes reports whether all agents run and would deliver what they have for an endpoint within seconds.
func (w *world) flushes(endpoint string) bool {
	for _, r := range w.agents {
		if r.leftOut {
			continue
		}
		if r.process == nil {
			return false
		}
		for _, e := range r.process.agent.Sources().Endpoints() {
			waits := !e.OldestPending.IsZero() && time.Since(e.OldestPending) > 10*time.Second
			if waits && receiverOf(e.Name) == endpoint {
				return false
			}
		}
	}
	return true
}
