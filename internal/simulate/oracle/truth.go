package oracle

import (
	"maps"
	"slices"
	"time"

	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"

	"github.com/envoy-scraper/envoy-scraper/internal/simulate/receiver"
)

// mayFail reports whether a scrape that runs in a time may fail.
func (o *Oracle) mayFail(p *pod, from, to time.Time) bool {
	overlaps := func(s span) bool { return s.from.Before(to) && s.to.After(from) }
	return slices.ContainsFunc(o.disturbed, overlaps) || slices.ContainsFunc(p.disturbed, overlaps) ||
		!p.to.IsZero() && to.After(p.to)
}

// processOf returns the process of an agent that ran at a time.
func (o *Oracle) processOf(host string, at time.Time) *life {
	n := len(o.lives[host]) - 1
	for n > 0 && o.lives[host][n].from.After(at) {
		n--
	}
	return o.lives[host][n]
}

// alive reports whether a process still ran at a time.
func (l *life) alive(at time.Time) bool {
	return l.to.IsZero() || l.to.After(at)
}

// excusedBy reports whether samples scraped between from and to may be lost because a process of the agent ended.
func (o *Oracle) excusedBy(host string, from, to time.Time) bool {
	return o.mayLeave(host, from, to) ||
		slices.ContainsFunc(o.lives[host], func(l *life) bool { return o.mayTake(l, from, to) })
}

// mayTake reports whether the end of a process may have taken samples scraped between from and to.
func (o *Oracle) mayTake(l *life, from, to time.Time) bool {
	if l.to.IsZero() || l.to.Before(from) {
		return false
	}
	if l.end != Stopped && l.damaged.After(from) {
		return true
	}
	loses := l.end.loses()
	if l.end != Stopped && o.isFragile(from) {
		loses = longestQueued
	}
	return !l.to.After(to.Add(loses))
}

// isDamaged reports whether files of an agent's queues were damaged or removed that have samples scraped after a time.
func (o *Oracle) isDamaged(host string, from time.Time) bool {
	return slices.ContainsFunc(o.lives[host], func(l *life) bool { return l.damaged.After(from) })
}

// longestQueued is how long samples may wait in memory for a disk that is full or fails.
const longestQueued = 10 * time.Minute

// isFragile reports whether samples that were scraped at a time may be in memory only.
func (o *Oracle) isFragile(at time.Time) bool {
	return slices.ContainsFunc(o.fragile, func(s span) bool {
		return at.After(s.from.Add(-time.Minute)) && at.Before(s.to.Add(2*time.Minute))
	})
}

// changedIn reports whether the configuration changed in a time.
func (o *Oracle) changedIn(from, to time.Time) bool {
	return slices.ContainsFunc(o.configs, func(c *inForce) bool {
		return !c.from.Before(from) && !c.from.After(to)
	})
}

// mayChangeIn reports whether a configuration may have come in force for some targets in a time. New rules may have to
// wait until the discovery has listed all pods again.
func (o *Oracle) mayChangeIn(from, to time.Time) bool {
	return slices.ContainsFunc(o.configs, func(c *inForce) bool {
		by := c.from
		if late := o.found(c.from); late.After(by.Add(discoveryDelay)) {
			by = late
		}
		return !by.Before(from) && !c.from.After(to)
	})
}

// isAbsent reports whether a receiver was no endpoint at some time between from and to, if anything was before.
func (o *Oracle) isAbsent(receiver string, from, to time.Time) bool {
	for i, c := range o.configs {
		ended := i+1 < len(o.configs) && !o.configs[i+1].from.After(from)
		if !from.IsZero() && !c.hasEndpoint(receiver) && !ended && !c.from.After(to) {
			return true
		}
	}
	return false
}

// isHidden reports whether the discovery may have ended the target of a pod that lives at a time.
func (o *Oracle) isHidden(at time.Time) bool {
	return slices.ContainsFunc(o.hidden, func(s span) bool { return !at.Before(s.from) && at.Before(s.to) })
}

// shownUntil returns until when the discovery may show a pod that is gone: an older state has it again.
func (o *Oracle) shownUntil(gone, scraped time.Time) time.Time {
	for _, s := range o.hidden {
		if s.to.After(gone) && scraped.After(s.from) {
			gone = s.to
		}
	}
	return gone
}

// noteEnds notes the last batches of targets.
func (d *delivered) noteEnds(until time.Time) {
	d.ends = slices.DeleteFunc(d.ends, func(e end) bool { return e.at.Before(until.Add(-time.Hour)) })
	for _, b := range d.batches {
		if b.hasUp && value.IsStaleNaN(b.up) && b.at < until.UnixMilli() {
			d.ends = append(d.ends, end{b.from, b.time()})
		}
	}
}

// endedDuring reports whether the target that a page was served to has ended during the scrape. Its agent then drops
// the page. While the discovery does not show that labels of a pod have changed, its pages are served to the target
// with the labels before.
func (o *Oracle) endedDuring(receiver string, p *pod, pg *page) bool {
	for p != nil {
		if d := o.receivers[receiver].pods[p.name]; d != nil && slices.ContainsFunc(d.ends, func(e end) bool {
			return e.from == pg.by && e.at.After(pg.start.Add(-time.Second)) && e.at.Before(pg.end.Add(time.Second))
		}) {
			return true
		}
		p = o.pods[p.before]
	}
	return false
}

// wasRemoved reports whether a configuration between from and to lacks a job. A job that is removed sends no markers.
func (o *Oracle) wasRemoved(job string, from, to time.Time) bool {
	return slices.ContainsFunc(o.configs, func(c *inForce) bool {
		hasJob := slices.ContainsFunc(c.Jobs, func(j *promconfig.ScrapeConfig) bool { return j.JobName == job })
		return c.from.After(from) && !c.from.After(to) && !hasJob
	})
}

// replacedAfter returns when the first configuration came in force that makes another target of a pod, or none, after a
// time. New rules may have to wait until the discovery has listed all pods again. Zero: there is none.
func (o *Oracle) replacedAfter(p *pod, t *target, after time.Time) time.Time {
	for _, c := range o.configs {
		other := c.targetOf(p)
		if o.found(c.from).After(after) && (other == nil || !labels.Equal(other.labels, t.labels)) {
			return c.from
		}
	}
	return time.Time{}
}

// forget drops what has been judged.
func (o *Oracle) forget(until time.Time) {
	old, hour := until.Add(-time.Minute), until.Add(-time.Hour)
	for _, name := range slices.Clone(o.order) {
		p := o.pods[name]
		p.pages = slices.DeleteFunc(p.pages, func(pg *page) bool { return pg.start.Before(old) })
		p.disturbed = slices.DeleteFunc(p.disturbed, func(s span) bool { return s.to.Before(old) })
		if !p.to.IsZero() && p.to.Before(hour) {
			o.drop(p)
		}
	}
	for len(o.configs) > 1 && o.configs[1].from.Before(hour) {
		o.configs = slices.Delete(o.configs, 0, 1)
	}
	o.disturbed = slices.DeleteFunc(o.disturbed, func(s span) bool { return s.to.Before(old) })
	ended := func(s span) bool { return s.to.Before(hour) }
	o.blind, o.fragile = slices.DeleteFunc(o.blind, ended), slices.DeleteFunc(o.fragile, ended)
	o.forgetViews(hour)
	o.hidden = slices.DeleteFunc(o.hidden, ended)
	for _, l := range o.losses {
		l.forget(hour)
	}
	for host, lives := range o.lives { // the last one stays: batches of it may still come
		n := 0
		for n+1 < len(lives) && lives[n].to.Before(hour) {
			n++
		}
		o.lives[host] = slices.Delete(lives, 0, n)
	}
}

// drop forgets a pod.
func (o *Oracle) drop(p *pod) {
	delete(o.pods, p.name)
	o.order = slices.DeleteFunc(o.order, func(name string) bool { return name == p.name })
	for _, c := range o.configs {
		delete(c.targets, p.name)
	}
	for _, a := range o.receivers {
		delete(a.pods, p.name)
		maps.DeleteFunc(a.refs, func(_ *receiver.Series, r ref) bool { return r.pod == p.name })
	}
}
