package scrape

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// LastPage is the last page of a target, for reports on what the page consists of. Its series stay what they are until
// Release.
type LastPage struct {
	Job        string
	Pod        Pod                  // that discovery found the target in; zero: it is not a pod's
	Labels     labels.Labels        // of the target
	Discovered func() labels.Labels // returns the labels before relabeling
	Target     series.TargetID
	Interval   time.Duration
	Duration   time.Duration // of the scrape
	Bytes      int64         // of the page, uncompressed
	WireBytes  int64         // of the page as it was sent
	Samples    int           // on the page, before metric relabeling
	URL        string        // never with credentials
	Filter     string        // with which the target is asked; this page may still be a whole one
	Whole      PageSize      // of the last whole page
	Shown      exposition.Shown

	table *series.Table
}

// Release gives the references back. The page must not be used afterwards.
func (p *LastPage) Release() {
	p.Shown.Release()
	p.table.ReleaseTarget(p.Target)
}

// LastPages returns the last page of each target whose last scrape was good, and how many targets have none. The caller
// releases each of them. It takes the locks of one loop at a time, so no scrape waits for longer than that.
func (ps *Pools) LastPages() (pages []LastPage, without int) {
	for _, j := range ps.statusJobs(false) {
		for _, l := range j.loops {
			if p, ok := l.lastPage(); ok {
				pages = append(pages, p)
			} else {
				without++
			}
		}
	}
	return pages, without
}

// lastPage returns the last page if it was good. Just after a scrape, the sizes and the time may still be those of the
// scrape before.
func (l *loop) lastPage() (LastPage, bool) {
	l.mu.Lock()
	s, found, cfg := l.status, l.found, l.job.cfg
	good := s.health == HealthUp && s.shown.Hold()
	l.mu.Unlock()
	if !good {
		return LastPage{}, false
	}
	filter, _ := l.shownFilter(s.refused)
	return LastPage{
		Job: cfg.JobName, Pod: podIn(found.own, found.group),
		Labels: l.target.labels, Target: l.env.table.AddTarget(l.target.labels),
		Discovered: func() labels.Labels { return discovered(cfg, found.own, found.group) },
		Interval:   l.target.interval, Duration: s.duration, Bytes: s.page, WireBytes: s.wire,
		Samples: s.counts.Scraped, URL: l.target.shown, Filter: filter, Whole: s.whole(),
		Shown: s.shown, table: l.env.table,
	}, true
}

// OtherShards returns how many discovered targets other instances scrape.
func (ps *Pools) OtherShards() (n int) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, p := range ps.jobs {
		n += p.wanted.others
	}
	return n
}

// ScrapeOnce scrapes targets once, concurrent many at a time, for a command that never calls Run. If there are more
// than limit targets (0: no limit), it scrapes limit of them, of all jobs in turn. It returns how many it scraped.
func (ps *Pools) ScrapeOnce(ctx context.Context, limit, concurrent int) (scraped int) {
	loops := ps.inTurn()
	if limit > 0 && len(loops) > limit {
		loops = loops[:limit]
	}
	next := make(chan *loop)
	var workers sync.WaitGroup
	for range min(max(concurrent, 1), len(loops)) {
		workers.Go(func() {
			for l := range next {
				l.scrape(ctx, nil)
			}
		})
	}
	for _, l := range loops {
		select {
		case next <- l:
			scraped++
		case <-ctx.Done():
		}
	}
	close(next)
	workers.Wait()
	return scraped
}

// inTurn returns the loops of all jobs: one of each job, then a second one of each, and so on. Within a job they are in
// the order of their hashes, which has nothing to do with where the targets are.
func (ps *Pools) inTurn() []*loop {
	type turn struct {
		rank int
		job  string
		loop *loop
	}
	var turns []turn
	for _, j := range ps.statusJobs(false) {
		slices.SortFunc(j.loops, func(a, b *loop) int { return cmp.Compare(a.target.hash, b.target.hash) })
		for rank, l := range j.loops {
			turns = append(turns, turn{rank, j.cfg.JobName, l})
		}
	}
	slices.SortFunc(turns, func(a, b turn) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.job, b.job))
	})
	loops := make([]*loop, len(turns))
	for i, t := range turns {
		loops[i] = t.loop
	}
	return loops
}
