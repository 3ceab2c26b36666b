package scrape

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/shard"
)

// Several instances can share the targets. How a target changes from one to another when their number does:
//
//	T−i      T       T+i      T+2i        i: the target's interval
//	 ├── a ──┼───────┼── b ───┤           T: the instant of the map
//
// The old owner scrapes it last at a, before T. The new one scrapes it first at b: the first of the target's turns,
// which are the same in all instances, that is one interval after T or later. So b is two intervals after a, one
// sample is missing, and both a delivery that takes time and clocks that differ have one interval before the order of
// samples suffers. The new owner waits for nothing but the clock. Nobody marks anything stale, unless discovery loses
// the target before b: then the old owner does, since the new one never had it.

// handover words of the metric.
const (
	movedHere = "here"
	movedAway = "away"
)

// Shard makes this instance one of those of a map. Targets that are others' are handed over; see above for how the
// instants of the map are kept. Options.Sharded must have been set.
func (ps *Pools) Shard(m shard.Map) {
	ps.changing.Lock()
	defer ps.changing.Unlock()
	if ps.shards.Equal(m) {
		return
	}
	ps.chart(m)
	ps.syncAll()
	ps.lookAgain()
}

// chart makes m the map. The caller holds changing.
func (ps *Pools) chart(m shard.Map) {
	now := ps.look(time.Now())
	phase, before := m.At(now), ps.shards
	if count := before.At(now).Count; before.On() && count != phase.Count {
		ps.env.log.Warn("the number of shards changed without an instant that was known before: until all instances have it, "+
			"some targets may be scraped twice or not at all", zap.Int("shards", phase.Count))
		phase.Since, phase.Before = now, count
	}
	ps.setPhase(m, phase)
}

// lookAgain has runMoves look at the map now.
func (ps *Pools) lookAgain() {
	select {
	case ps.charted <- struct{}{}:
	default:
	}
}

// setPhase makes m the map, and one of its phases that in force. The caller holds changing.
func (ps *Pools) setPhase(m shard.Map, phase shard.Phase) {
	others := map[*pool]int{}
	for _, p := range ps.jobs {
		if m.On() && ps.isKeyed(p) {
			others[p] = p.wanted.count(func(key uint64) bool { return !m.Mine(key, phase.Count) })
		}
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.shards, ps.phase = m, phase
	for _, p := range ps.jobs {
		p.wanted.others = others[p]
	}
	ps.env.metrics.shards.Set(float64(phase.Count))
}

// syncAll gives every job the targets of the phase in force. The caller holds changing.
func (ps *Pools) syncAll() {
	for _, p := range ps.jobs {
		ps.reshare(p)
	}
}

// longestLook is how long a map is left alone before one of its instants: the wall clock may be set meanwhile.
const longestLook = time.Second

// longestBack is from when on a clock that is set back undoes a change: what time servers correct is less, and by then
// the other instances have changed.
const longestBack = time.Minute

// runMoves puts each phase of the map into force at its instant, until ctx ends.
func (ps *Pools) runMoves(ctx context.Context) {
	for {
		var look <-chan time.Time
		if wait, pending := ps.move(time.Now()); pending {
			look = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return
		case <-ps.charted:
		case <-look:
		}
	}
}

// move puts the phase of an instant into force, and returns when to look again.
func (ps *Pools) move(now time.Time) (wait time.Duration, pending bool) {
	ps.changing.Lock()
	defer ps.changing.Unlock()
	now = ps.look(now)
	if ps.turnTo(now) {
		ps.syncAll()
	}
	next, pending := ps.shards.Next(now)
	return min(next.From.Sub(now), longestLook), pending
}

// turnTo puts the phase of an instant into force, and reports whether there are loops to end or to start. The caller
// holds changing.
func (ps *Pools) turnTo(now time.Time) bool {
	ps.mu.Lock()
	lost := ps.lost
	ps.lost = false
	ps.mu.Unlock()
	phase := ps.shards.At(now)
	if phase.Count == ps.phase.Count {
		return lost
	}
	ps.setPhase(ps.shards, phase)
	ps.env.log.Info("the number of shards changed", zap.Int("from", phase.Before), zap.Int("to", phase.Count), zap.Int("index", ps.shards.Index))
	return true
}

// look returns the instant by which a map is read: now, by the wall clock, unless that was set back a little. The caller
// holds changing.
func (ps *Pools) look(now time.Time) time.Time {
	now = now.Round(0)
	if back := ps.looked.Sub(now); back > 0 && back < longestBack {
		now = ps.looked
	}
	ps.looked = now
	return now
}

// reshare gives a job the targets of the phase in force, after that or the map was changed. ps.changing is held.
func (ps *Pools) reshare(p *pool) {
	all := make([]touched, 0, len(p.wanted.targets))
	for hash := range p.wanted.targets {
		all = append(all, touched{hash: hash})
	}
	ps.settle(p, all)
}

// isOthers reports whether a target with this key is another instance's.
func (ps *Pools) isOthers(p *pool, key uint64) bool {
	return key != 0 && ps.isShared(p) && !ps.shards.Mine(key, ps.phase.Count)
}

// isTheirs reports whether discovery finds a target with this key, and it is another instance's.
func (ps *Pools) isTheirs(p *pool, key uint64) bool {
	return p.wanted.keys[key] > 0 && ps.isOthers(p, key)
}

// isShared reports whether instances share the targets of a job now.
func (ps *Pools) isShared(p *pool) bool { return ps.shards.On() && ps.isKeyed(p) }

// isKeyed reports whether the targets of a job have keys, so that instances can share them.
func (ps *Pools) isKeyed(p *pool) bool {
	return ps.opts.Sharded && (ps.opts.Unsharded == nil || !ps.opts.Unsharded(p.state.cfg.JobName))
}

// movedHere is when a target that was another instance's became this one's; zero: it was not, as far as is known.
func (ps *Pools) movedHere(p *pool, t *target) time.Time {
	if !ps.isShared(p) || ps.phase.Before == 0 || ps.shards.Mine(t.key, ps.phase.Before) {
		return time.Time{}
	}
	if time.Since(ps.phase.Since) < t.interval {
		ps.env.metrics.moves.WithLabelValues(movedHere).Inc()
	}
	return ps.phase.Since
}

// first is a target's first turn from now on that leaves the one who had it until since an interval.
func (ps *Pools) first(t *target, since, now time.Time) time.Time {
	from := now
	if wait := since.Add(t.interval - 1).Sub(now); wait > 0 {
		from = now.Add(wait)
	}
	return from.Add(t.offset(from, ps.seed))
}

// nextMove is when a target of this instance moves to another one, by the map of shards; zero: it does not.
func (ps *Pools) nextMove(t *target) move {
	if !ps.shards.On() || t.key == 0 {
		return move{}
	}
	now := time.Now()
	if next, ok := ps.shards.Next(now); ok && !ps.shards.Mine(t.key, next.Count) {
		return move{at: next.From, first: ps.first(t, next.From, now)}
	}
	return move{}
}
