package aggregate

import (
	"cmp"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// Status is what pages show of the aggregates.
type Status struct {
	Blocks []Block
	Groups []GroupStatus // sorted by their labels
}

// GroupStatus is one group: the aggregates that have the same labels but for the name and those of single series. It is
// one target to the receiver.
type GroupStatus struct {
	Labels   labels.Labels // of the group
	Interval time.Duration
	Tick     time.Time // when its aggregates were written last; zero: not yet
	Targets  int       // whose pages are summed
	Sources  int       // series of these pages that are summed
	Series   int       // aggregates
}

// Status returns the state of all groups.
func (a *Aggregates) Status() Status {
	a.changing.RLock()
	defer a.changing.RUnlock()
	var all Status
	for _, b := range a.blocks.all {
		all.Blocks = append(all.Blocks, b.Block)
	}
	for _, g := range a.allGroups() {
		s := GroupStatus{}
		a.table.Read(func(v series.View) { s.Labels = v.TargetLabels(g.target) })
		g.mu.Lock()
		s.Interval, s.Targets, s.Series = g.interval, len(g.sources), len(g.byID)
		if g.ticked != 0 {
			s.Tick = time.UnixMilli(g.ticked)
		}
		for n := range g.slots {
			s.Sources += int(g.slots[n].sources)
		}
		g.mu.Unlock()
		all.Groups = append(all.Groups, s)
	}
	slices.SortFunc(all.Groups, func(g, h GroupStatus) int { return labels.Compare(g.Labels, h.Labels) })
	return all
}

// SourceOf is one series that an aggregate is made of.
type SourceOf struct {
	Target labels.Labels // of the target
	Series labels.Labels // whole
	Last   float64       // the value on its last good page
}

// AggregateOf is one aggregate and what it is made of.
type AggregateOf struct {
	Series  labels.Labels // whole
	Total   float64       // what the next tick writes
	Written bool          // at least one tick has written it
	Sources []SourceOf    // sorted by their labels
}

// Series returns the aggregates of the group with these labels, at most limit of them from offset on, sorted by name
// and labels, and how many there are. match, unless nil, selects by the whole label set.
func (a *Aggregates) Series(
	group labels.Labels, match func(labels.Labels) bool, offset, limit int,
) ([]AggregateOf, int) {
	a.changing.RLock()
	defer a.changing.RUnlock()
	g := a.groupWith(group)
	if g == nil {
		return nil, 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	type found struct {
		n  uint32
		of AggregateOf
	}
	var all []found
	var pairs []series.Pair
	a.table.Read(func(v series.View) {
		for n := range g.slots {
			s := &g.slots[n]
			if s.id == 0 {
				continue
			}
			of := AggregateOf{Total: s.total, Written: s.state == shown}
			of.Series, pairs = wholeLabels(v, pairs, s.id, g.target)
			if match == nil || match(of.Series) {
				all = append(all, found{uint32(n), of})
			}
		}
	})
	slices.SortFunc(all, func(x, y found) int {
		name := cmp.Compare(x.of.Series.Get(labels.MetricName), y.of.Series.Get(labels.MetricName))
		return cmp.Or(name, labels.Compare(x.of.Series, y.of.Series))
	})
	total := len(all)
	offset = min(max(offset, 0), total)
	all = all[offset:min(offset+max(limit, 0), total)]
	places := map[uint32]int{}
	result := make([]AggregateOf, len(all))
	for i, f := range all {
		result[i], places[f.n] = f.of, i
	}
	for s := range g.sources {
		a.addSources(result, s, g, places)
	}
	for i := range result {
		slices.SortFunc(result[i].Sources, func(x, y SourceOf) int { return labels.Compare(x.Series, y.Series) })
	}
	return result, total
}

// groupWith returns the group with these labels; nil: there is none.
func (a *Aggregates) groupWith(l labels.Labels) (found *group) {
	for _, g := range a.allGroups() {
		a.table.Read(func(v series.View) {
			if labels.Equal(v.TargetLabels(g.target), l) {
				found = g
			}
		})
	}
	return found
}

// addSources adds the series of a source to the aggregates of a group. places says where in all a slot is.
func (a *Aggregates) addSources(all []AggregateOf, s *source, g *group, places map[uint32]int) {
	if s.layout == nil {
		return
	}
	var pairs []series.Pair
	k := 0
	a.table.Read(func(v series.View) {
		for i, ref := range s.layout.refs {
			if ref == 0 {
				continue
			}
			last := s.last[k]
			k++
			place, ok := places[ref.slot()]
			if !ok || s.feed.groups[ref.group()-1] != g {
				continue
			}
			of := SourceOf{Target: v.TargetLabels(s.target), Last: last}
			of.Series, pairs = wholeLabels(v, pairs, s.layout.ids[i], s.target)
			all[place].Sources = append(all[place].Sources, of)
		}
	})
}

// wholeLabels returns the labels of a series of a target. It uses the memory of pairs.
func wholeLabels(
	v series.View, pairs []series.Pair, id series.ID, target series.TargetID,
) (labels.Labels, []series.Pair) {
	pairs = v.Labels(pairs[:0], id, target)
	b := labels.NewScratchBuilder(len(pairs))
	for _, p := range pairs {
		b.Add(v.String(p.Name), v.String(p.Value))
	}
	return b.Labels(), pairs
}
