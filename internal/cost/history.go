package cost

import (
	"cmp"
	"context"
	"hash/maphash"
	"slices"
	"time"
)

const (
	firstCount = 2 * time.Minute  // after the start
	countEvery = 10 * time.Minute // the counts of the history
	countsKept = 7                // the oldest is about an hour old
	maxCounted = 8192             // rows of all tables together that a count keeps, the largest
)

// history is the number of series by row of each table, every ten minutes for the last hour. It takes 12 bytes a row,
// and at most 700 KiB.
type history struct {
	seed   maphash.Seed
	counts []counted // oldest first
}

type counted struct {
	at     time.Time
	series int          // of all targets
	rows   []countedRow // sorted by key
}

// countedRow is a row: its table and name as a hash, and its series.
type countedRow struct {
	key    uint64
	series uint32
}

// Run counts every ten minutes until ctx ends, so that reports can say what has changed within an hour.
func (c *Costs) Run(ctx context.Context) error {
	timer := time.NewTimer(firstCount)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		c.count(ctx)
		timer.Reset(countEvery)
	}
}

// count adds a count to the history.
func (c *Costs) count(ctx context.Context) {
	select {
	case c.making <- struct{}{}:
		defer func() { <-c.making }()
	case <-ctx.Done():
		return
	}
	pages, _ := c.src.Pages()
	defer func() {
		for i := range pages {
			pages[i].Release()
		}
	}()
	sortPages(pages)
	t := count(pages, &tableReader{table: c.src.Table}, c.controllers(), nil, nil, true)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.history.add(c.now(), t)
}

func (h *history) add(at time.Time, t *tally) {
	if len(h.counts) == 0 {
		h.seed = maphash.MakeSeed()
	}
	one := counted{at: at, series: t.totals.Series}
	for by, rows := range t.tables {
		for i := range rows {
			one.rows = append(one.rows, countedRow{h.key(by, rows[i].Name), uint32(rows[i].Series)})
		}
	}
	if len(one.rows) > maxCounted {
		slices.SortFunc(one.rows, func(a, b countedRow) int { return cmp.Compare(b.series, a.series) })
		one.rows = slices.Clone(one.rows[:maxCounted])
	}
	slices.SortFunc(one.rows, func(a, b countedRow) int { return cmp.Compare(a.key, b.key) })
	if h.counts = append(h.counts, one); len(h.counts) > countsKept {
		h.counts = slices.Delete(h.counts, 0, 1)
	}
}

func (h *history) key(by By, name string) uint64 {
	return maphash.String(h.seed, string(by)+"\xff"+name)
}

// of returns the series of a row at a count. If the count was cut, small rows are not known.
func (one *counted) of(key uint64) (series int, known bool) {
	i, ok := slices.BinarySearchFunc(one.rows, key, func(r countedRow, key uint64) int {
		return cmp.Compare(r.key, key)
	})
	if !ok {
		return 0, len(one.rows) < maxCounted
	}
	return int(one.rows[i].series), true
}

// hourAgo returns the newest count that is an hour old, or the oldest one.
func (h *history) hourAgo(now time.Time) (one *counted, ok bool) {
	if len(h.counts) == 0 {
		return nil, false
	}
	at := 0
	for i := range h.counts {
		if now.Sub(h.counts[i].at) >= time.Hour {
			at = i
		}
	}
	return &h.counts[at], true
}

// addChange sets what has changed since an hour ago. A row that is new has all of its series more.
func (c *Costs) addChange(t *tally, r *Report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, ok := c.history.hourAgo(r.At)
	if !ok {
		return
	}
	since, change := before.at, t.totals.Series-before.series
	r.Totals.Since, r.Totals.Change = &since, &change
	rows := t.tables[r.Query.By]
	for i := range rows {
		if n, known := before.of(c.history.key(r.Query.By, rows[i].Name)); known {
			change := rows[i].Series - n
			rows[i].Change = &change
		}
	}
}
