package oracle

import (
	"maps"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"

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
	return slices.ContainsFunc(o.lives[host], func(l *life) bool {
		if l.to.IsZero() || l.to.Before(from) {
			return false
		}
		loses := l.end.loses()
		if l.end != Stopped && o.isFragile(from) {
			loses = longestQueued
		}
		return !l.to.After(to.Add(loses))
	})
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

// replacedAfter returns when the first configuration after a time came in force that makes another target of a pod, or
// none. Zero: there is none.
func (o *Oracle) replacedAfter(p *pod, t *target, after time.Time) time.Time {
	for _, c := range o.configs {
		if other := c.targetOf(p); c.from.After(after) && (other == nil || !labels.Equal(other.labels, t.labels)) {
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
