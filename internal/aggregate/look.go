package aggregate

import (
	"cmp"
	"slices"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// A look at a group for people: its numbers are copied under its lock and that of changes, with references of its
// series. Labels are made afterwards, without these locks, and a few hundred at a time, so neither scrapes nor ticks
// nor reloads wait for a page.

// AggregateOf is one aggregate.
type AggregateOf struct {
	Series  labels.Labels // whole
	Of      Gauges        // sum, max or min: what it is of gauges; empty: a sum of counters
	Total   float64       // what the next tick writes; of gauges what the last one has computed
	Written bool          // the last tick has written it
	Sources int           // series that it is made of
}

// SourceOf is one series that an aggregate is made of.
type SourceOf struct {
	Target labels.Labels // of the target
	Series labels.Labels // whole
	Last   float64       // the value on its last good page
}

// Series returns the aggregates of the group with these labels, at most limit of them from offset on, sorted by name
// and labels, and how many there are. match, unless nil, selects by the whole label set. It is called without a lock of
// a group.
func (a *Aggregates) Series(
	group labels.Labels, match func(labels.Labels) bool, offset, limit int,
) (of []AggregateOf, found int) {
	a.looking.Lock()
	defer a.looking.Unlock()
	of, ids := a.copySeries(group)
	defer release(a.table, ids)
	a.eachLabels(group, ids, func(i int, l labels.Labels) { of[i].Series = l })
	of = slices.DeleteFunc(of, func(a AggregateOf) bool { return match != nil && !match(a.Series) })
	slices.SortFunc(of, func(a, b AggregateOf) int {
		byName := cmp.Compare(a.Series.Get(model.MetricNameLabel), b.Series.Get(model.MetricNameLabel))
		return cmp.Or(byName, labels.Compare(a.Series, b.Series))
	})
	return part(of, offset, limit), len(of)
}

// copySeries returns the aggregates of a group without their labels, and their IDs, with a reference of each.
func (a *Aggregates) copySeries(group labels.Labels) (of []AggregateOf, ids []series.ID) {
	a.changing.RLock()
	defer a.changing.RUnlock()
	g := a.groupWith(group)
	if g == nil {
		return nil, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	of, ids = make([]AggregateOf, 0, len(g.byID)), make([]series.ID, 0, len(g.byID))
	for n := range g.slots {
		if s := &g.slots[n]; s.id != 0 {
			of = append(of, AggregateOf{Of: s.kind.gauges(), Total: s.total, Written: s.state == shown,
				Sources: int(s.sources)})
			ids = append(ids, s.id)
		}
	}
	a.table.Retain(slices.Values(ids))
	return of, ids
}

// Sources returns the series that an aggregate of a group is made of, at most limit of them from offset on, sorted by
// the labels of their targets, and how many there are. ok is false if the group or the aggregate is gone.
func (a *Aggregates) Sources(group, aggregate labels.Labels, offset, limit int) (of []SourceOf, found int, ok bool) {
	a.looking.Lock()
	defer a.looking.Unlock()
	all, ok := a.copySources(group, aggregate)
	defer func() {
		for _, s := range all {
			release(a.table, s.ids)
		}
	}()
	if !ok {
		return nil, 0, false
	}
	slices.SortFunc(all, func(a, b held) int { return labels.Compare(a.target, b.target) })
	skip := offset
	for _, s := range all {
		found += len(s.ids)
		from := min(max(skip, 0), len(s.ids))
		to := min(from+max(limit-len(of), 0), len(s.ids))
		skip -= len(s.ids)
		if from == to {
			continue
		}
		a.eachLabels(s.target, s.ids[from:to], func(i int, l labels.Labels) {
			of = append(of, SourceOf{Target: s.target, Series: l, Last: s.last[from+i]})
		})
	}
	return of, found, true
}

// held are the series of a target that an aggregate is made of, with a reference of each. There may be several, if the
// label that distinguishes them is of the page.
type held struct {
	target labels.Labels
	ids    []series.ID
	last   []float64
}

// copySources returns the series that an aggregate is made of; false: the aggregate is gone.
func (a *Aggregates) copySources(group, aggregate labels.Labels) (all []held, ok bool) {
	target := a.table.AddTarget(group)
	id := a.table.Intern(target, aggregate)
	defer a.table.ReleaseTarget(target)
	defer release(a.table, []series.ID{id})
	a.changing.RLock()
	defer a.changing.RUnlock()
	g := a.groupWith(group)
	if g == nil {
		return nil, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	rows := map[*layout][]sourceRow{} // replicas share layouts
	for n := range g.slots {
		ok = ok || g.slots[n].id == id
	}
	for s := range g.sources {
		if s.layout == nil {
			continue
		}
		at, known := rows[s.layout]
		if !known {
			at = s.rowsOf(g, id)
			rows[s.layout] = at
		}
		if len(at) == 0 {
			continue
		}
		h := held{}
		for _, r := range at {
			h.ids, h.last = append(h.ids, s.layout.ids[r.row]), append(h.last, s.last[r.place])
		}
		a.table.Read(func(v series.View) { h.target = v.TargetLabels(s.target) })
		a.table.Retain(slices.Values(h.ids))
		all = append(all, h)
	}
	return all, ok
}

// sourceRow is a row of a layout, and its place in source.last.
type sourceRow struct{ row, place int }

// rowsOf returns the rows of the last page that an aggregate of a group is made of. The caller has locked the group.
func (s *source) rowsOf(g *group, id series.ID) (rows []sourceRow) {
	place := 0
	for row, ref := range s.layout.refs {
		if ref == 0 {
			continue
		}
		if s.feed.groups[ref.group()-1] == g && g.slots[ref.slot()].id == id {
			rows = append(rows, sourceRow{row, place})
		}
		place++
	}
	return rows
}

// groupWith returns the group with these labels; nil: there is none.
func (a *Aggregates) groupWith(l labels.Labels) *group {
	id := a.table.AddTarget(l)
	defer a.table.ReleaseTarget(id)
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.groups[id]
}

// eachLabels calls fn with the whole labels of series of a target, of which the caller holds references.
func (a *Aggregates) eachLabels(target labels.Labels, ids []series.ID, fn func(i int, l labels.Labels)) {
	id := a.table.AddTarget(target)
	defer a.table.ReleaseTarget(id)
	var pairs []series.Pair
	const perLock = 256 // takes about a quarter of a millisecond
	for from := 0; from < len(ids); from += perLock {
		a.table.Read(func(v series.View) {
			for i := from; i < min(from+perLock, len(ids)); i++ {
				var l labels.Labels
				l, pairs = wholeLabels(v, pairs, ids[i], id)
				fn(i, l)
			}
		})
	}
}

// part returns at most limit elements from offset on.
func part[T any](all []T, offset, limit int) []T {
	from := min(max(offset, 0), len(all))
	return all[from : from+min(max(limit, 0), len(all)-from)]
}

// InGroup says how many series of a target are summed in a group.
type InGroup struct {
	Group  labels.Labels
	Series int
}

// Of returns, for each of some targets, by their public labels, in which groups their series are summed.
func (a *Aggregates) Of(targets []labels.Labels) [][]InGroup {
	all := make([][]InGroup, len(targets))
	if a.none.Load() {
		return all
	}
	places := make(map[series.TargetID]int, len(targets))
	for i, l := range targets {
		id := a.table.AddTarget(l)
		defer a.table.ReleaseTarget(id)
		places[id] = i
	}
	a.changing.RLock() // so that no source changes its feed
	defer a.changing.RUnlock()
	type found struct {
		place  int
		source *source
		feed   *feed
	}
	var sources []found
	a.mu.Lock()
	for _, s := range a.sources {
		if place, ok := places[s.target]; ok && s.feed != nil {
			sources = append(sources, found{place, s, s.feed})
		}
	}
	a.mu.Unlock()
	counts := map[*layout][]InGroup{} // replicas share layouts
	for _, f := range sources {
		f.feed.locks[0].mu.Lock()
		l := f.source.layout
		if _, known := counts[l]; !known && l != nil {
			counts[l] = a.countByGroup(f.feed, l)
		}
		f.feed.locks[0].mu.Unlock()
		all[f.place] = append(all[f.place], counts[l]...)
	}
	return all
}

// countByGroup counts the series of a layout that are summed in each group.
func (a *Aggregates) countByGroup(f *feed, l *layout) (of []InGroup) {
	counts := make([]int, len(f.groups))
	for _, ref := range l.refs {
		if ref != 0 {
			counts[ref.group()-1]++
		}
	}
	for _, g := range f.locks {
		in := InGroup{}
		for i, other := range f.groups {
			if other == g {
				in.Series += counts[i]
			}
		}
		if in.Series > 0 {
			a.table.Read(func(v series.View) { in.Group = v.TargetLabels(g.target) })
			of = append(of, in)
		}
	}
	return of
}
