package scrape

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/shard"
)

// Several instances can share the targets. When their number changes at an instant T, a target moves from its old owner
// to its new one like this; i is the target's interval:
//
//	T−i      T       T+i      T+2i
//	 ├── a ──┼───────┼── b ───┤
//
// The old owner scrapes it last at a, before T. The new owner scrapes it first at b: the first of the target's due
// times, which are the same in all instances, that is at least one interval after T. So b is two intervals after a, and
// one sample is missing. Samples stay in order even if a delivery is late, or clocks differ, by up to one interval:
// what waits for later scrapes is sent at T, and the samples of a scrape that runs at T are sent when it ends. The new
// owner waits for nothing but the clock. No instance sends markers, unless discovery loses the target before b: then
// the old owner sends them, since the new one never scraped it.

// Values of the label direction of envoy_scraper_scrape_handovers_total.
const (
	movedHere = "here"
	movedAway = "away"
)

// Shard makes this instance one of those that share the targets by a map. It hands over the targets that belong to
// other instances; see above for the instants of the map. Options.Sharded must be set.
func (ps *Pools) Shard(m shard.Map) {
	ps.changing.Lock()
	defer ps.changing.Unlock()
	if ps.shards.Equal(m) {
		return
	}
	ps.setMap(m)
	ps.syncAll()
	ps.checkPhaseNow()
}

// setMap puts a map of shards into force. The caller holds changing.
func (ps *Pools) setMap(m shard.Map) {
	now := ps.mapTime(time.Now())
	phase, before := m.At(now), ps.shards
	if before.On() && before.At(now).Count != phase.Count {
		ps.env.log.Warn("the number of shards changed without an instant that was known before: "+
			"until all instances have it, some targets may be scraped twice or not at all",
			zap.Int("shards", phase.Count))
		phase.Since, phase.Before = now, before.At(now).Count
	}
	ps.setPhase(m, phase)
}

// setPhase makes m the map of shards, with phase in force. The caller holds changing.
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

// maxPhaseWait bounds how long runPhases waits for the next instant of the map: the wall clock may be set meanwhile.
const maxPhaseWait = time.Second

// minStepBack is how far the wall clock must be set back to undo a change of phase. Time servers correct less, and the
// other instances have changed by then.
const minStepBack = time.Minute

// runPhases puts each phase of the map into force at its instant, and adapts the waves to pages, until ctx ends.
func (ps *Pools) runPhases(ctx context.Context) {
	recount := time.NewTicker(recountWaves)
	defer recount.Stop()
	for {
		var instant <-chan time.Time
		if wait, pending := ps.applyPhase(time.Now()); pending {
			instant = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return
		case <-ps.checkPhase:
		case <-instant:
		case <-recount.C:
			ps.changing.Lock()
			ps.adaptWaves(nil, nil)
			ps.changing.Unlock()
			ps.env.lessons.expire(time.Now()) // where scrapes are rare, or have ended
		}
	}
}

// checkPhaseNow wakes runPhases.
func (ps *Pools) checkPhaseNow() {
	select {
	case ps.checkPhase <- struct{}{}:
	default:
	}
}

// applyPhase puts the phase of now into force and starts loops that are missing. It returns how long to wait for the
// next phase; pending is false if none is known.
func (ps *Pools) applyPhase(now time.Time) (wait time.Duration, pending bool) {
	ps.changing.Lock()
	defer ps.changing.Unlock()
	now = ps.mapTime(now)
	ps.mu.Lock()
	update := ps.lostLoop
	ps.lostLoop = false
	ps.mu.Unlock()
	if phase := ps.shards.At(now); phase.Count != ps.phase.Count {
		ps.setPhase(ps.shards, phase)
		ps.env.log.Info("the number of shards changed",
			zap.Int("from", phase.Before), zap.Int("to", phase.Count), zap.Int("index", ps.shards.Index))
		update = true
	}
	if update {
		ps.syncAll()
	}
	next, pending := ps.shards.Next(now)
	return min(next.From.Sub(now), maxPhaseWait), pending
}

// mapTime returns the time by which the map is read: now by the wall clock, or the time of the last call if the wall
// clock was set back by less than minStepBack. The caller holds changing.
func (ps *Pools) mapTime(now time.Time) time.Time {
	now = now.Round(0)
	if back := ps.phaseComputed.Sub(now); back > 0 && back < minStepBack {
		now = ps.phaseComputed
	}
	ps.phaseComputed = now
	return now
}

// syncAll starts and ends the loops of every job after a change of the map or its phase. The caller holds changing.
func (ps *Pools) syncAll() {
	for _, p := range ps.jobs {
		all := make([]touched, 0, len(p.wanted.targets))
		for hash := range p.wanted.targets {
			all = append(all, touched{hash: hash})
		}
		ps.updateLoops(p, all)
	}
	ps.env.sink.Flush()
}

// isOthers reports whether a target with this placement key belongs to another instance.
func (ps *Pools) isOthers(p *pool, key uint64) bool {
	return key != 0 && ps.isShared(p) && !ps.shards.Mine(key, ps.phase.Count)
}

// isTheirs reports whether discovery finds the target of a loop, and it belongs to another instance. After a change of
// the rules, its hash may be another one.
func (ps *Pools) isTheirs(p *pool, l *loop) bool {
	if key := p.wanted.keyOf(l.target.hash); key != 0 {
		return ps.isOthers(p, key)
	}
	return p.wanted.keys[l.target.shardKey] > 0 &&
		ps.isOthers(p, p.wanted.placement(l.target.shardKey, l.discoveredAs()))
}

// isShared reports whether instances share the targets of a job now.
func (ps *Pools) isShared(p *pool) bool { return ps.shards.On() && ps.isKeyed(p) }

// isKeyed reports whether the targets of a job have keys, so that instances can share them.
func (ps *Pools) isKeyed(p *pool) bool { return ps.opts.isKeyed(p.state.cfg.JobName) }

// movedHere returns when a wanted target moved to this instance; zero: it did not, as far as is known.
func (ps *Pools) movedHere(p *pool, t *target) time.Time {
	if !ps.isShared(p) || ps.phase.Before == 0 || ps.shards.Mine(p.wanted.keyOf(t.hash), ps.phase.Before) {
		return time.Time{}
	}
	if time.Since(ps.phase.Since) < t.interval {
		ps.env.metrics.moves.WithLabelValues(movedHere).Inc()
	}
	return ps.phase.Since
}

// first returns the first due time of a target after now that is at least one interval after since, when it moved. The
// caller holds mu.
func (ps *Pools) first(t *target, since, now time.Time) time.Time {
	from := now
	if wait := since.Add(t.interval - 1).Sub(now); wait > 0 {
		from = now.Add(wait)
	}
	w := waves{t.interval, ps.seed}
	return from.Add(w.untilOffset(w.offset(t, ps.waves.of(t.interval)), from))
}

// nextMove returns when a wanted target of this instance moves to another one; zero: no such instant is known.
func (ps *Pools) nextMove(p *pool, t *target) move {
	key := p.wanted.keyOf(t.hash)
	if !ps.shards.On() || key == 0 {
		return move{}
	}
	now := time.Now()
	if next, ok := ps.shards.Next(now); ok && !ps.shards.Mine(key, next.Count) {
		return move{at: next.From, first: ps.first(t, next.From, now)}
	}
	return move{}
}
