package oracle

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/value"
)

// pageOf returns the page of a batch, and marks it as judged. Until discovery shows that a pod is gone, that may be a
// page of the pod that has its address now. An agent may scrape both targets within milliseconds, so the values say
// which page it is.
func (o *Oracle) pageOf(receiver string, p *pod, t *target, b *batch, good bool) *page {
	all := o.candidates(receiver, p, t, b, good)
	if len(all) == 0 {
		return nil
	}
	n := 0
	if len(all) > 1 {
		c := o.configOf(p, t)
		n = max(0, slices.IndexFunc(all, func(pg *page) bool { return c.fits(receiver, t, pg, b) }))
	}
	all[n].judged[receiver] = true
	return all[n]
}

// candidates returns the pages that the scrape of a batch may have read, good or not.
func (o *Oracle) candidates(receiver string, p *pod, t *target, b *batch, good bool) []*page {
	all := p.candidates(receiver, t, b, good)
	slices.SortStableFunc(all, func(a, b *page) int { return cmp.Compare(rank(a), rank(b)) })
	if p.to.IsZero() {
		return all
	}
	for _, name := range o.order {
		next := o.pods[name]
		if next.address() != p.address() || next.from.Before(p.to) {
			continue
		}
		for _, pg := range next.candidates(receiver, t, b, good) {
			// A scrape of an address without a pod is not answered later.
			if !next.from.After(b.time()) || pg.start.Sub(b.time()) < nearby {
				all = append(all, pg)
			}
		}
	}
	return all
}

// rank puts pages last that may not count.
func rank(pg *page) int {
	if pg.checked {
		return 1
	}
	return 0
}

// missedNext reports whether scrapes of a target between the last one and a batch may have read pages of the pod that
// has the address now, and have not arrived. Whose pages those were is not known.
func (o *Oracle) missedNext(p *pod, t *target, b *batch, last time.Time) bool {
	if p.to.IsZero() || b.time().Before(p.to) || b.time().Sub(last) < t.interval()*3/2 {
		return false
	}
	from, to := last.Add(t.interval()/2), b.time().Add(-t.interval()/2)
	return slices.ContainsFunc(o.order, func(name string) bool {
		next := o.pods[name]
		return next != p && next.address() == p.address() && slices.ContainsFunc(next.pages, func(pg *page) bool {
			return pg.by == b.from && pg.start.After(from) && pg.start.Before(to)
		})
	})
}

func (p *pod) candidates(receiver string, t *target, b *batch, good bool) (all []*page) {
	at, early := b.time(), t.early()
	for _, pg := range p.pages {
		if pg.start.After(at.Add(t.timeout() + early)) {
			break
		}
		if pg.by == b.from && pg.good() == good && !pg.judged[receiver] && !pg.start.Before(at.Add(-early)) {
			all = append(all, pg)
		}
	}
	return all
}

// address returns the address of the first port.
func (p *pod) address() string {
	if len(p.discovered) == 0 {
		return ""
	}
	return p.discovered[0].Get(model.AddressLabel)
}

// configOf returns the configuration that makes a target.
func (o *Oracle) configOf(p *pod, t *target) *inForce {
	for _, c := range o.configs {
		if c.targets[p.name] == t {
			return c
		}
	}
	return nil
}

// fits reports whether a batch has no other values than a page.
func (c *inForce) fits(receiver string, t *target, pg *page, b *batch) bool {
	seen := map[string]bool{}
	for _, s := range pg.samples {
		key := c.sentOf(receiver, t.scrapedOf(s.Series))
		if bits, there := b.samples[key]; there && !seen[key] && bits != math.Float64bits(s.Value) {
			return false
		}
		seen[key] = true
	}
	return true
}

// makes reports whether a batch may be of a target: it has its up or, if up is lost, the label rev of its series.
func (c *inForce) makes(receiver string, t *target, b *batch) bool {
	up := c.sentOf(receiver, t.report["up"])
	_, there := b.samples[up]
	return there || !b.hasUp && up != "" && t.labels.Get("rev") == b.rev
}

// judgeFirst checks that a process scrapes a target soon after the discovery shows it. Batches that did not arrive have
// pages.
func (o *Oracle) judgeFirst(receiver string, p *pod, s *liveness, c *inForce, t *target, b *batch) {
	since := p.from
	for _, from := range []time.Time{s.process.from, c.from} {
		if from.After(since) {
			since = from
		}
	}
	by := o.found(since).Add(mostMissed*t.interval() + t.timeout())
	scraped := slices.ContainsFunc(p.pages, func(pg *page) bool {
		return pg.by == b.from && pg.start.After(since) && pg.start.Before(by)
	})
	excused := scraped || since.Before(o.judged) || !o.ownedAll(b.from, t, since, b.time()) ||
		o.isHidden(b.time()) || o.mayFail(p, since, b.time())
	if excused || !b.time().After(by) {
		return
	}
	o.problem("%s: %s is there since %s and was first scraped at %s", receiver, p.name, clock(since), clock(b.time()))
}

// guessUp returns the value of up of a batch in which it is missing. The comparison counts it as lost.
func (o *Oracle) guessUp(receiver string, p *pod, t *target, b *batch) float64 {
	hasValue := slices.ContainsFunc(slices.Collect(maps.Values(b.samples)), func(bits uint64) bool {
		return !value.IsStaleNaN(math.Float64frombits(bits))
	})
	switch {
	case len(o.candidates(receiver, p, t, b, true)) > 0:
		return 1
	case !hasValue && len(o.candidates(receiver, p, t, b, false)) == 0 && o.mayEnd(p, t, b.time()):
		return math.Float64frombits(value.StaleNaN)
	}
	return 0
}
