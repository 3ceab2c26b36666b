package oracle

import (
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/labels"
)

// Share is the number of agents that share the targets from a time on.
type Share struct {
	Count int
	From  time.Time // zero: always
}

// view is what an agent knows about the others from a time on.
type view struct {
	from   time.Time
	index  int     // of the agent, from 0
	shares []Share // by From; empty: no process runs
}

// handover is the slack around a time at which a target gets another owner: a scrape may run then.
const handover = 2 * time.Second

// Shared says that the running process of the agent at a host shares the targets with others from now on.
func (o *Oracle) Shared(host string, index int, shares []Share) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.setView(host, view{time.Now(), index, shares})
	o.quietFrom = time.Now()
}

// Leaves says that an agent is about to stop although samples of the last seconds may be in its queue. They arrive only
// when it comes back, and may then be too old.
func (o *Oracle) Leaves(host string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.left[host] = append(o.left[host], time.Now())
}

// mayLeave reports whether samples scraped between from and to may be in the queue of an agent that left.
func (o *Oracle) mayLeave(host string, from, to time.Time) bool {
	return slices.ContainsFunc(o.left[host], func(at time.Time) bool {
		return !at.Before(from) && at.Before(to.Add(30*time.Second))
	})
}

func (o *Oracle) setView(host string, v view) {
	if len(v.shares) == 0 && len(o.views[host]) == 0 {
		return // targets are not shared
	}
	o.views[host] = append(o.views[host], v)
}

// viewAt returns what an agent knew at a time.
func (o *Oracle) viewAt(host string, at time.Time) (v view) {
	for _, next := range o.views[host] {
		if !next.from.After(at) {
			v = next
		}
	}
	return v
}

// countAt returns the number of agents at a time, since when, and the number before; 0: not known.
func (v view) countAt(at time.Time) (count, before int, since time.Time) {
	for _, s := range v.shares {
		if !s.From.After(at) {
			count, before, since = s.Count, count, s.From
		}
	}
	return count, before, since
}

// owns reports whether an agent takes a target for its own at a time.
func (o *Oracle) owns(host string, t *target, at time.Time) bool {
	v := o.viewAt(host, at)
	count, _, _ := v.countAt(at)
	return count > 0 && ownerOf(t.key, count) == v.index
}

// ownedIn reports whether an agent takes a target for its own at some time between from and to.
func (o *Oracle) ownedIn(host string, t *target, from, to time.Time) bool {
	return slices.ContainsFunc(o.turns(from, to), func(at time.Time) bool { return o.owns(host, t, at) })
}

// ownedAll reports whether an agent takes a target for its own all the time between from and to.
func (o *Oracle) ownedAll(host string, t *target, from, to time.Time) bool {
	return len(o.views) == 0 ||
		!slices.ContainsFunc(o.turns(from, to), func(at time.Time) bool { return !o.owns(host, t, at) })
}

// wasAway reports whether a target of an agent was another one's at some time between from and to, and is back. The
// agent knows nothing of it then. What the other one sent may not have arrived.
func (o *Oracle) wasAway(host string, t *target, from, to time.Time) bool {
	return !o.ownedAll(host, t, from, to) && o.owns(host, t, to)
}

// turns returns from, and the times until to at which owners may change.
func (o *Oracle) turns(from, to time.Time) []time.Time {
	all := []time.Time{from}
	add := func(at time.Time) {
		if at.After(from) && !at.After(to) {
			all = append(all, at)
		}
	}
	for _, views := range o.views {
		for _, v := range views {
			add(v.from)
			for _, s := range v.shares {
				add(s.From)
			}
		}
	}
	slices.SortFunc(all, time.Time.Compare)
	return slices.Compact(all)
}

// isContested reports whether two agents at once take a target for their own, at some time close to a scrape. Both
// scrape it then.
func (o *Oracle) isContested(t *target, at time.Time) bool {
	if len(o.views) < 2 {
		return false
	}
	turns := o.turns(at.Add(-handover), at.Add(t.timeout()+handover))
	return slices.ContainsFunc(turns, func(at time.Time) bool {
		owners := 0
		for host := range o.views {
			if o.owns(host, t, at) {
				owners++
			}
		}
		return owners > 1
	})
}

// wasContested reports whether two agents may scrape a pod at once because they take it for one that had its address
// before, and whose target both own.
func (o *Oracle) wasContested(p *pod, at time.Time) bool {
	return len(o.views) > 1 && slices.ContainsFunc(o.order, func(name string) bool {
		before := o.pods[name]
		if before == p || before.to.IsZero() || before.to.After(at) || before.address() != p.address() {
			return false
		}
		_, t := o.targetAt(before, at)
		return t != nil && o.isContested(t, at)
	})
}

// hasMoved reports whether another agent than the one at a host takes a target for its own at some time between from
// and to.
func (o *Oracle) hasMoved(host string, t *target, from, to time.Time) bool {
	for other := range o.views {
		if other != host && o.ownedIn(other, t, from, to) {
			return true
		}
	}
	return false
}

// judgeOwner checks that the agent that scraped a page owns the target, and that a new owner waits for one scrape
// interval after an instant that all knew.
func (o *Oracle) judgeOwner(p *pod, pg *page) {
	if len(o.views) == 0 {
		return
	}
	waits := time.Time{}
	for _, name := range o.order { // another pod may have had the address
		other := o.pods[name]
		if other.address() != p.address() {
			continue
		}
		for _, c := range o.configs {
			t := c.targetOf(other)
			if t == nil || c.from.After(pg.start) {
				continue
			}
			from := pg.start.Add(-t.timeout() - handover)
			if !o.ownedIn(pg.by, t, from, pg.start) {
				continue
			}
			if waits = o.waits(pg.by, t, pg.start); !pg.start.Before(waits.Add(-t.early())) {
				return
			}
		}
	}
	if waits.IsZero() {
		o.problem("%s was scraped at %s by %s, which does not own it", p.name, clock(pg.start), pg.by)
	} else {
		o.problem("%s was scraped at %s by %s, its new owner, before %s", p.name, clock(pg.start), pg.by, clock(waits))
	}
}

// waits returns when an agent may scrape a target that moved to it; zero: it did not move.
func (o *Oracle) waits(host string, t *target, at time.Time) time.Time {
	v := o.viewAt(host, at)
	count, before, since := v.countAt(at)
	if before == 0 || ownerOf(t.key, count) != v.index || ownerOf(t.key, before) == v.index {
		return time.Time{}
	}
	return since.Add(t.interval())
}

// judgeHandover checks that a target that moved is scraped two intervals after its old owner's last scrape. The times
// of scrapes follow from the external labels with which a process started, so it is up to three intervals if they
// differ.
func (o *Oracle) judgeHandover(receiver string, p *pod, t *target, before *liveness, b *batch) {
	if before == nil || before.process.host == b.from || before.last.IsZero() || before.ended {
		return
	}
	v := o.viewAt(b.from, b.time())
	_, was, since := v.countAt(b.time())
	started := o.processOf(b.from, b.time()).from
	if was == 0 || since.Before(before.last) || o.found(started).After(since.Add(-handover)) || v.from.After(since) ||
		!before.process.alive(since) || o.mayFail(p, before.last, b.time()) ||
		o.changedIn(before.last, b.time()) {
		return
	}
	most := 2 * t.interval()
	if !labels.Equal(before.process.external, o.processOf(b.from, b.time()).external) {
		most = 3 * t.interval()
	}
	last, first := before.last, b.time()
	for _, pg := range p.pages { // their samples may be lost, or late and refused
		switch {
		case pg.by == before.process.host && pg.start.After(last) && pg.start.Before(since):
			last = pg.start
		case pg.by == b.from && pg.start.After(since) && pg.start.Before(first):
			first = pg.start
		}
	}
	if first.Sub(last) > most+t.early() {
		o.problem("%s: %s moved from %s to %s at %s, and was not scraped between %s and %s", receiver, p.name,
			before.process.host, b.from, clock(since), clock(last), clock(first))
	}
}

// keyOf returns the key by which agents share a target: the hash of its labels and its URL.
func keyOf(public labels.Labels, url string) uint64 {
	text := ""
	public.Range(func(l labels.Label) { text += l.Name + "\xff" + l.Value + "\xff" })
	return xxhash.Sum64String(text + url)
}

// ownerOf returns the owner of a target among count agents, by the jump consistent hash of its key
// (https://arxiv.org/abs/1406.2294).
func ownerOf(key uint64, count int) int {
	owner, next := int64(-1), int64(0)
	for next < int64(count) {
		owner = next
		key = key*2862933555777941757 + 1
		next = int64(float64(owner+1) * (float64(1<<31) / float64((key>>33)+1)))
	}
	return int(owner)
}

// forgetViews drops what agents knew before a time.
func (o *Oracle) forgetViews(until time.Time) {
	for host, views := range o.views {
		n := 0
		for n+1 < len(views) && views[n+1].from.Before(until) {
			n++
		}
		o.views[host] = slices.Delete(views, 0, n)
		o.left[host] = slices.DeleteFunc(o.left[host], func(at time.Time) bool { return at.Before(until) })
	}
}
