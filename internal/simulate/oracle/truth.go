package oracle

import (
	"maps"
	"slices"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/simulate/receiver"
)

// mayFail reports whether a scrape that runs in a time may fail.
func (p *pod) mayFail(from, to time.Time) bool {
	for _, s := range p.disturbed {
		if s.from.Before(to) && s.to.After(from) {
			return true
		}
	}
	return !p.to.IsZero() && to.After(p.to)
}

// processOf returns which process of an agent ran at a time.
func (o *Oracle) processOf(host string, at time.Time) process {
	n := len(o.lives[host])
	for n > 1 && o.lives[host][n-1].from.After(at) {
		n--
	}
	return process{host, n}
}

// alive reports whether a process still ran at a time.
func (o *Oracle) alive(p process, at time.Time) bool {
	l := o.lives[p.host][p.n-1]
	return l.to.IsZero() || l.to.After(at)
}

// excusedBy reports whether the end of a process of an agent may have taken what was scraped in a time.
func (o *Oracle) excusedBy(host string, from, to time.Time) bool {
	return slices.ContainsFunc(o.lives[host], func(l life) bool {
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

// forget drops what has been judged.
func (o *Oracle) forget(until time.Time) {
	old := until.Add(-time.Minute)
	for _, name := range slices.Clone(o.order) {
		p := o.pods[name]
		p.pages = slices.DeleteFunc(p.pages, func(pg *page) bool { return pg.start.Before(old) })
		p.disturbed = slices.DeleteFunc(p.disturbed, func(s span) bool { return s.to.Before(old) })
		if !p.to.IsZero() && p.to.Before(until.Add(-time.Hour)) {
			o.drop(p)
		}
	}
	for n := 0; n+1 < len(o.configs); {
		if o.configs[n+1].from.Before(until.Add(-time.Hour)) {
			o.configs = slices.Delete(o.configs, n, n+1)
			continue
		}
		break
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
