package aggregate

import (
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
		s.Sources = g.sourceSeries()
		g.mu.Unlock()
		all.Groups = append(all.Groups, s)
	}
	slices.SortFunc(all.Groups, func(g, h GroupStatus) int { return labels.Compare(g.Labels, h.Labels) })
	return all
}

// sourceSeries returns how many series of pages are summed. The caller has locked the group.
func (g *group) sourceSeries() (n int) {
	for i := range g.slots {
		n += int(g.slots[i].sources)
	}
	return n
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
