package simulate

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/simulate/oracle"
)

// longestInterval is the longest scrape interval of the revisions.
const longestInterval = 30 * time.Second

// sharing is the number of agents that share the targets, as one of them knows it: count, or next from an instant on.
type sharing struct {
	count, next int // next: 0 if no change is known
	from        time.Time
}

// yaml returns the end of a configuration file, or nothing if there is one agent.
func (s sharing) yaml() string {
	text := fmt.Sprintf("  shards:\n  - count: %d\n", s.count)
	if s.next != 0 {
		text += fmt.Sprintf("  - {count: %d, from: %s}\n", s.next, s.from.Format(time.RFC3339))
	}
	return text
}

// shardsByFlag reports whether agents get their number by --shard.count instead of the file.
func (w *world) shardsByFlag() bool { return w.opts.Agents < 2 || w.opts.Seed%2 == 0 }

// share gives the oracle what the process of an agent knows of the others.
func (r *runner) share() {
	if r.world.opts.Agents < 2 {
		return
	}
	shares := []oracle.Share{{Count: r.shards.count}}
	if r.shards.next != 0 {
		shares = append(shares, oracle.Share{Count: r.shards.next, From: r.shards.from})
	}
	r.world.oracle.Shared(agentAddress(r.n), r.n, shares)
}

// fleetKinds change the number of agents.
func fleetKinds() []kind {
	return []kind{
		{name: "agents: another number at an instant", weight: 4, lasts: true, begin: beginHandover},
		{name: "agents: another number, one after the other", weight: 3, lasts: true, begin: beginRollingRestart},
	}
}

// number returns how many agents share the targets.
func (w *world) number() (n int) {
	for _, r := range w.agents {
		if !r.leftOut {
			n++
		}
	}
	return n
}

// nextNumber draws another number of agents; it is the present one if there is no other, or if it changes already.
func (w *world) nextNumber(chance *rand.Rand) (now, next int) {
	now = w.number()
	if len(w.agents) < 2 || w.resharding || w.bad != nil {
		return now, now
	}
	next = 1 + chance.IntN(len(w.agents)-1)
	if next >= now {
		next++
	}
	return now, next
}

// beginHandover changes the number of agents as docs/shards.md says: all know the instant before it comes. New agents
// start before. Agents that are too many stop at least two intervals later, when they have delivered everything.
func beginHandover(w *world, f scheduledFault, chance *rand.Rand) func() {
	now, next := w.nextNumber(chance)
	if w.shardsByFlag() || now == next {
		return nil
	}
	w.resharding = true
	instant := time.Now().Add(10*time.Second + f.For/2).Truncate(time.Second)
	w.trace.add("%d agents instead of %d", next, now)
	w.setShards(sharing{now, next, instant})
	for _, r := range w.agents[:max(now, next)] {
		r.leftOut = false
		w.start(r)
	}
	var end func()
	end = func() {
		if time.Since(instant) < 2*longestInterval || w.bad != nil || !w.delivered(next, 0) {
			w.later(5*time.Second, end)
			return
		}
		for _, r := range w.agents[next:] {
			r.leftOut = true
			w.stop(r)
		}
		w.setShards(sharing{count: next})
		w.resharding = false
	}
	return end
}

// setShards gives all agents another sharing.
func (w *world) setShards(s sharing) {
	for _, r := range w.agents {
		r.shards = s
		if r.leftOut {
			continue
		}
		if err := r.reload(); err != nil {
			w.problem("agent %d: reload: %v", r.n, err)
		}
	}
}

// delivered reports whether the agents from an index on run, and have nothing in their queues that is older than age.
// While an endpoint is removed, nobody sees what is in its queue.
func (w *world) delivered(from int, age time.Duration) bool {
	if w.revision.withoutB {
		return false
	}
	for _, r := range w.agents[from:] {
		if r.leftOut {
			continue
		}
		if r.process == nil {
			return false
		}
		for _, e := range r.process.agent.Sources().Endpoints() {
			if !e.OldestPending.IsZero() && time.Since(e.OldestPending) > age {
				return false
			}
		}
	}
	return true
}

// beginRollingRestart changes the number of agents as a StatefulSet does with another --shard.count: it starts new
// agents, or stops those that are too many, and then restarts the others one after the other, the last one first. Until
// all have the number, some targets are scraped by two agents, or by none.
func beginRollingRestart(w *world, f scheduledFault, chance *rand.Rand) func() {
	now, next := w.nextNumber(chance)
	if now == next || !w.delivered(next, 10*time.Second) {
		return nil
	}
	w.resharding = true
	w.trace.add("%d agents instead of %d, by restarts", next, now)
	for _, r := range w.agents[next:] {
		r.leftOut = true
		if r.process != nil {
			w.oracle.Leaves(agentAddress(r.n))
		}
		w.stop(r)
	}
	pause := f.For / time.Duration(len(w.agents)+1)
	n := next
	var restart func()
	restart = func() {
		if n--; n < 0 {
			w.resharding = false
			return
		}
		r := w.agents[n]
		w.stop(r)
		r.leftOut, r.shards = false, sharing{count: next}
		w.start(r)
		w.later(pause, restart)
	}
	restart()
	return nil
}
