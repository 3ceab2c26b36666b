package oracle

import (
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
)

// pageless is a batch without a page that some receiver has: of a failed scrape, or the last one of a target. Others
// may lack it.
type pageless struct {
	batchKey
	from string // host of the agent
	ends bool   // it is the last one
}

func (x pageless) time() time.Time { return time.UnixMilli(x.at) }

// pagelessOf returns the batches of a pod without a page before a time, by time.
func (o *Oracle) pagelessOf(p *pod, until time.Time) (all []pageless) {
	for _, r := range o.names {
		d := o.receivers[r].pods[p.name]
		if d == nil {
			continue
		}
		for _, b := range d.batches {
			x := pageless{batchKey{b.rev, b.at}, b.from, value.IsStaleNaN(b.up)}
			if b.hasUp && b.up != 1 && b.at < until.UnixMilli() && !slices.Contains(all, x) {
				all = append(all, x)
			}
		}
	}
	slices.SortStableFunc(all, func(x, y pageless) int { return int(x.at - y.at) })
	return all
}

// lacking returns those of which a receiver has nothing.
func (d *delivered) lacking(all []pageless) []pageless {
	return slices.DeleteFunc(slices.Clone(all), func(x pageless) bool {
		return slices.ContainsFunc(d.batches, func(b *batch) bool { return batchKey{b.rev, b.at} == x.batchKey })
	})
}

// missed takes note of batches before a time that a receiver lacks, and returns the others. Their markers do not come
// again. judgeElsewhere counts them as lost.
func (o *Oracle) missed(receiver string, p *pod, d *delivered, all []pageless, until time.Time) []pageless {
	for len(all) > 0 && all[0].time().Before(until) {
		x := all[0]
		all = all[1:]
		o.judgeLostPages(receiver, p, d, x.time())
		s := d.states[x.rev]
		if s == nil || s.process != o.processOf(x.from, x.time()) {
			continue
		}
		s.live, s.complete, s.ended = map[string]labels.Labels{}, false, x.ends
		// A page with a bad line shows some series, and makes them live.
		s.unknown = s.unknown || slices.ContainsFunc(p.pages, func(pg *page) bool {
			return pg.partial && pg.by == x.from && pg.start.Sub(x.time()).Abs() < longestScrape
		})
	}
	return all
}
