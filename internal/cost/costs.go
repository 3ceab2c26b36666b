package cost

import (
	"context"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/aggregate"
	"github.com/envoy-scraper/envoy-scraper/internal/envoy"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// Source is what reports are computed from. The functions must be safe for concurrent calls.
type Source struct {
	Table  *series.Table
	Pages  func() (pages []scrape.LastPage, without int) // scrape.Pools.LastPages
	Others func() int                                    // targets of other instances; nil: there are none
	Sent   func() []Sent                                 // by each endpoint of remote write; nil: nothing is sent
	Watch  *Watch                                        // nil: what is always zero is not known
	// Controllers returns the controller of each pod that is known, such as ReplicaSet/reviews-v1-7f9c. nil, or a pod
	// without one: the workload of a pod is guessed from its name.
	Controllers func() map[scrape.Pod]string
	// Aggregates returns what is summed; nil: nothing is. Without groups the number of aggregates is not known.
	Aggregates func() aggregate.Status
	// LeftOut is how many of the targets without a page --limit has left out.
	LeftOut int
}

// Sent is what an endpoint of remote write has sent since the start.
type Sent struct {
	Samples int64 // accepted by the receiver
	Bytes   int64 // compressed, with those of retries
}

// Costs makes reports. One is made at a time; others wait. Safe for concurrent use.
type Costs struct {
	src Source
	now func() time.Time

	making  chan struct{} // holds one token while a report is made
	mu      sync.Mutex    // guards history
	history history
}

// New returns Costs without a history. Run keeps one.
func New(src Source) *Costs {
	return &Costs{src: src, now: time.Now, making: make(chan struct{}, 1)}
}

// Report answers a query. It waits for a report that is being made, until ctx ends. Its error says what the query asks
// for that is not there, and what there is instead.
func (c *Costs) Report(ctx context.Context, q Query) (*Report, error) {
	select {
	case c.making <- struct{}{}:
		defer func() { <-c.making }()
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for another report: %w", ctx.Err())
	}
	used, err := q.Used.matcher()
	if err != nil {
		return nil, err
	}
	began := c.now()
	since := c.src.Watch.Start(began)
	pages, without := c.src.Pages()
	defer func() {
		for i := range pages {
			pages[i].Release()
		}
	}()
	sortPages(pages)
	reader := &tableReader{table: c.src.Table}
	sums := c.aggregates()
	t := count(pages, reader, c.controllers(), sums.Blocks, c.src.Watch.zero(), false)
	t.totals.Without, t.totals.LeftOut = without, min(c.src.LeftOut, without)
	if c.src.Others != nil {
		t.totals.Others = c.src.Others()
	}
	t.addSummed(sums)
	t.totals.addWritten(c.src.Sent)
	r := &Report{At: began, Query: q, Totals: t.totals, WhatIf: []WhatIf{}, Advice: []Fix{}, Notes: []string{}}
	c.addZero(t, r, since)
	c.addChange(t, r)
	if perSecond := r.Totals.WrittenBytesPerSecond; perSecond != nil {
		r.Advice = append(r.Advice, delayFix(*perSecond))
	}
	if r.WhatIf, err = answer(ctx, q, used, t, pages, reader); err != nil {
		return nil, err
	}
	r.Rows, r.Found = r.Query.choose(t.tables[q.By])
	r.All = len(t.tables[q.By])
	r.Totals.addPages(pages)
	r.addNotes(t, c.src.Sent != nil)
	r.Took, r.Lock = c.now().Sub(began).Seconds(), reader.longest.Seconds()
	return r, nil
}

// controllers returns what is known of the controllers of pods; nil: nothing.
func (c *Costs) controllers() map[scrape.Pod]string {
	if c.src.Controllers == nil {
		return nil
	}
	return c.src.Controllers()
}

// addZero sets what was always zero, if somebody has asked before.
func (c *Costs) addZero(t *tally, r *Report, since time.Time) {
	if since.IsZero() {
		return
	}
	r.Totals.ZeroSince, r.Totals.Zero = &since, &t.totals.zero
	for by, rows := range t.tables {
		if !hasZero(by) {
			continue
		}
		for i := range rows {
			rows[i].Zero = &rows[i].zero
		}
	}
}

// aggregates returns what is summed.
func (c *Costs) aggregates() aggregate.Status {
	if c.src.Aggregates == nil {
		return aggregate.Status{}
	}
	return c.src.Aggregates()
}

// addSummed sets what is summed, and what is sent instead.
func (t *tally) addSummed(sums aggregate.Status) {
	t.totals.SentSeries = t.totals.Series - t.totals.away
	t.totals.SentSamplesPerSecond = t.totals.SamplesPerSecond - t.totals.awayPerSecond
	if len(sums.Blocks) == 0 {
		return
	}
	t.totals.Summed = &t.totals.summed
	for by, rows := range t.tables {
		if !hasZero(by) {
			continue
		}
		for i := range rows {
			rows[i].Summed = &rows[i].summed
		}
	}
	if len(sums.Groups) == 0 && t.totals.summed > 0 {
		return
	}
	n := 0
	for i := range sums.Groups {
		g := &sums.Groups[i]
		n += g.Series
		if g.Interval > 0 {
			t.totals.SentSamplesPerSecond += float64(g.Series) / g.Interval.Seconds()
		}
	}
	t.totals.Aggregates = &n
	t.totals.SentSeries += n
}

// addWritten estimates the bytes that are sent per second.
func (t *Totals) addWritten(sent func() []Sent) {
	if sent == nil {
		return
	}
	perSecond, known := 0.0, false
	for _, s := range sent() {
		if s.Samples > 0 {
			known = true
			perSecond += t.SentSamplesPerSecond * float64(s.Bytes) / float64(s.Samples)
		}
	}
	if known {
		t.WrittenBytesPerSecond = &perSecond
	}
}

// addPages counts how the pages were asked for.
func (t *Totals) addPages(pages []scrape.LastPage) {
	for i := range pages {
		p := &pages[i]
		switch left := p.LeftOut(); {
		case left > 0:
			t.Filtered++
			t.FilteredBytes += left
		case p.Filter != "":
			t.Compared++
		}
		if u, err := url.Parse(p.URL); err == nil && u.Port() == envoy.MergedPort {
			t.Merged++
		}
	}
}

// addNotes says what the figures leave out. running says that there will be a history.
func (r *Report) addNotes(t *tally, running bool) {
	note := func(format string, args ...any) { r.Notes = append(r.Notes, fmt.Sprintf(format, args...)) }
	if n := r.Totals.LeftOut; n > 0 {
		note("%d targets are in no figure: they were left out by --limit.", n)
	}
	if n := r.Totals.Without - r.Totals.LeftOut; n > 0 {
		note("%d targets are in no figure: they were not scraped yet, or their last scrape failed.", n)
	}
	if n := r.Totals.Others; n > 0 {
		note("%d targets are in no figure: other instances scrape them (sharding).", n)
	}
	if n, left := r.Totals.Filtered, r.Totals.FilteredBytes; n > 0 {
		note("Filtered pages: %d. The lines that a filter leaves out cost nothing, and are in no table. That saves %s "+
			"in a round of scrapes, %s of what all pages would have.", n, size(left),
			percent(float64(left)/float64(left+r.Totals.PageBytes)))
	}
	if n := r.Totals.Compared; n > 0 {
		note("Whole pages of targets that have a filter: %d. The first page and every fortieth one is whole. Its "+
			"lines that rules drop are in the figures.", n)
	}
	if n := r.Totals.Merged; n > 0 {
		note("Targets on port %s: %d. There pilot-agent merges Envoy's page with that of the application. It is never "+
			"asked with a filter, and before Istio 1.32 it does not compress the page. Port %s has Envoy's page alone.",
			envoy.MergedPort, n, envoy.StatsPort)
	}
	note("The bytes of names and labels are exact. The rest of a page is divided equally among its samples.")
	if r.Query.By == ByDropped && r.Totals.Dropped > 0 {
		note("Of a line that rules dropped, only the length and the family of the TYPE line before it are known.")
		for i := range t.tables[ByDropped] {
			if t.tables[ByDropped][i].Name == unknownFamily {
				note("Lines without a TYPE line before them, and pages that are not plain text, are counted as %s.",
					unknownFamily)
			}
		}
	}
	if r.Totals.Zero == nil && hasZero(r.Query.By) {
		note("Which series are always zero is noted from now on: ask again after some scrapes.")
	}
	if r.Totals.Since == nil && running {
		note("There is nothing to compare with yet: the first count is made some minutes after the start.")
	}
}

// hasZero reports whether a table has the column of series that are always zero.
func hasZero(by By) bool { return by != ByLabel && by != ByDropped }
