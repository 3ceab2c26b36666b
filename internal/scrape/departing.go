package scrape

import (
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// departing holds the loops of a job that are not scraped any more, or are about to be replaced, and are not gone yet,
// by the hash of their targets' labels. A new target with the same labels has the same series. Markers that the old
// loop sent later would be older than the new loop's samples, and dropped. So the new loop takes the series over.
type departing map[uint64][]*loop

func (d departing) add(l *loop) {
	h := l.target.labels.Hash()
	d[h] = append(d[h], l)
}

// remove takes a loop out, and reports whether it was there.
func (d departing) remove(l *loop) bool {
	h := l.target.labels.Hash()
	i := slices.Index(d[h], l)
	if i < 0 {
		return false
	}
	if d[h] = slices.Delete(d[h], i, i+1); len(d[h]) == 0 {
		delete(d, h)
	}
	return true
}

// all returns the loops as they are now.
func (d departing) all() (all []*loop) {
	for _, same := range d {
		all = append(all, same...)
	}
	return all
}

// predecessor returns the loop that a target inherits from; nil: none. It has the same labels, and the same URL if
// samePage asks for that. A loop whose target another instance has comes last, and only with the same URL.
func (d departing) predecessor(t *target, samePage bool) *loop {
	var handed *loop
	for _, l := range d[t.labels.Hash()] {
		same := l.target.hasPageOf(t)
		switch {
		case !labels.Equal(l.target.labels, t.labels), !same && (samePage || l.handed):
		case !l.handed:
			return l
		default:
			handed = l
		}
	}
	return handed
}

// hasHanded reports whether a loop with the same labels and URL was handed to another instance.
func (d departing) hasHanded(t *target) bool {
	return slices.ContainsFunc(d[t.labels.Hash()], func(l *loop) bool {
		return l.handed && l.target.hasPageOf(t) && labels.Equal(l.target.labels, t.labels)
	})
}

// predecessors takes out the loops that new targets of a job inherit from: for each target one or nil. Loops of the
// same URL are paired first, so that each of several targets with the same labels inherits from its own.
func (ps *Pools) predecessors(p *pool, targets []*target) []*loop {
	before := make([]*loop, len(targets))
	for _, samePage := range []bool{true, false} {
		ps.inChunks(len(targets), func(i int) {
			if len(p.departing) == 0 || before[i] != nil {
				return
			}
			if before[i] = p.departing.predecessor(targets[i], samePage); before[i] != nil {
				p.departing.remove(before[i])
			}
		})
	}
	return before
}

// retire has a loop leave: why is eventLose if its target is lost, or eventOutdate if another loop is to replace it.
func (ps *Pools) retire(p *pool, l *loop, why eventKind) {
	l.uncountViaAPI()
	if ps.isTheirs(p, l) {
		ps.handOver(p, l)
		return
	}
	p.departing.add(l)
	ps.schedule.send(l, event{kind: why})
}

// handOver has a loop leave whose target another instance has now.
func (ps *Pools) handOver(p *pool, l *loop) {
	ps.env.metrics.moves.WithLabelValues(movedAway).Inc()
	l.moved.Store(true)
	if p.departing.hasHanded(l.target) { // both have the same series
		ps.schedule.send(l, event{kind: eventStop})
		return
	}
	now := time.Now()
	first := now
	if now.Sub(ps.phase.Since) < 2*l.target.interval {
		first = ps.first(l.target, ps.phase.Since, now)
	}
	if ps.schedule.send(l, event{kind: eventHandOver, first: first}) {
		l.handed = true
		p.departing.add(l)
	}
}

// reviewDeparting changes how departing loops end where discovery or the map of shards has changed its mind: a target
// is found again, but another instance has it now; or another instance was to have it, but discovery lost it.
func (ps *Pools) reviewDeparting(p *pool) {
	if !ps.opts.Sharded {
		return
	}
	ps.mu.Lock()
	all := p.departing.all()
	ps.mu.Unlock()
	ps.inChunks(len(all), func(i int) {
		l := all[i]
		theirs := ps.isTheirs(p, l)
		switch {
		case theirs == l.handed || !p.departing.remove(l): // or it is gone meanwhile
		case theirs:
			ps.handOver(p, l)
		default:
			l.handed = false
			p.departing.add(l)
			ps.schedule.send(l, event{kind: eventLose})
		}
	})
}
