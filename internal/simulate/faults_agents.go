package simulate

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/simulate/network"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/oracle"
)

// agentKinds are what happens to one agent, and reloads of all agents.
func agentKinds() []kind {
	of := func(name string, weight int, do func(w *world, r *runner, chance *rand.Rand)) kind {
		return kind{name: "agent: " + name, weight: weight,
			begin: func(w *world, _ scheduledFault, chance *rand.Rand) func() {
				do(w, w.anyAgent(chance), chance)
				return nil
			}}
	}
	return []kind{
		of("kill -9", 4, func(w *world, r *runner, _ *rand.Rand) {
			r.kill(oracle.Killed)
			w.start(r)
		}),
		of("power cut", 2, func(w *world, r *runner, _ *rand.Rand) {
			r.kill(oracle.PowerCut)
			w.start(r)
		}),
		of("SIGTERM", 4, func(w *world, r *runner, _ *rand.Rand) {
			w.stop(r)
			w.start(r)
		}),
		{name: "agent: stopped for a while", weight: 2, lasts: true,
			begin: func(w *world, _ scheduledFault, chance *rand.Rand) func() {
				r := w.anyAgent(chance)
				r.stopped++
				w.stop(r)
				return func() {
					r.stopped--
					w.start(r)
				}
			}},
		{name: "agent: little memory and slow pages", weight: 2, lasts: true, begin: beginLittleMemory},
		of("reload", 6, func(w *world, _ *runner, chance *rand.Rand) {
			if p := w.anyPod(chance); p != nil { // so that the first page after the reload lacks series
				p.envoy.Churn(2)
			}
			w.reload(w.revision.next(w.reloads, w.opts.Exact))
		}),
		{name: "agent: reload of a bad file", weight: 3, lasts: true, begin: beginBadFile},
	}
}

// beginLittleMemory starts an agent that may read eight pages at once, and makes all pods slow. Scrapes that find no
// memory fail. When pods are fast again, nothing may be left of it.
func beginLittleMemory(w *world, f scheduledFault, chance *rand.Rand) func() {
	r := w.anyAgent(chance)
	r.memory = leastMemory
	w.stop(r)
	w.start(r)
	w.disturb("", f.For)
	rate := 500 + chance.IntN(5000)
	var names []string
	for _, p := range w.pods {
		name := fmt.Sprint(f.name(), " ", p.name)
		w.network.Begin(name, network.Fault{Kind: network.Slow, Rate: rate, To: p.addr})
		names = append(names, name)
	}
	return func() {
		r.memory = usualMemory
		for _, name := range names {
			w.network.End(name)
		}
	}
}

// stop stops the process of an agent, if one runs.
func (w *world) stop(r *runner) {
	if err := r.stop(); err != nil {
		w.problem("agent %d: %v", r.n, err)
	}
}

// reload gives all agents a revision. While their file is bad, they refuse it. They get it when the
// file is good again.
func (w *world) reload(next revision) {
	if !w.mayRename() {
		next.renamed = w.revision.renamed
	}
	w.revision = next
	w.trace.add("file: %+v", next)
	if w.bad != nil {
		w.reloadBadFile()
		return
	}
	for _, r := range w.agents {
		r.revision = next
		if err := r.reload(); err != nil {
			w.problem("agent %d: reload: %v", r.n, err)
		}
	}
}

// mayRename reports whether all agents run and can rename their queues. The queue of an endpoint that gets another name
// while its agent does not run has no endpoint any more: what it holds is not delivered.
func (w *world) mayRename() bool {
	return w.bad == nil && !w.aDiskFails() &&
		!slices.ContainsFunc(w.agents, func(r *runner) bool { return r.process == nil })
}

// later lets something happen after a time.
func (w *world) later(after time.Duration, do func()) {
	w.insert(event{at: time.Since(w.trace.start) + after, do: do})
}
