package aggregate

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// feedKey distinguishes feeds. The names of all labels of the target are in it because series of a target refer to its
// labels by their places.
type feedKey struct {
	job    string
	names  uint64 // hash of the names of the target's labels
	groups [maxGroups]series.TargetID
}

// source returns the source of a batch, a new one if there is none; nil: no block sums series of its job.
func (a *Aggregates) source(b *series.Batch) *source {
	a.mu.Lock()
	defer a.mu.Unlock()
	hasBlock := len(a.blocks.byJob[b.Origin.Job]) > 0
	if s := a.sources[b.Origin.Source]; s != nil {
		if s.feed == nil && hasBlock {
			a.join(s)
		}
		return s
	}
	if !hasBlock || !b.Origin.Good {
		return nil
	}
	s := &source{job: b.Origin.Job, again: b.Origin.Again, uptime: -1}
	var target labels.Labels
	a.table.Read(func(v series.View) { target = v.TargetLabels(b.Target) })
	s.target = a.table.AddTarget(target)
	s.wasYoung = a.clock().Before(a.young[target.Hash()])
	a.sources[b.Origin.Source] = s
	a.join(s)
	return s
}

// rememberYoung notes that the target of a source that ends has shown a process that will look young for a while. If
// discovery finds the target again, its first page may be of that process, and is not to be counted. The caller holds
// mu.
func (a *Aggregates) rememberYoung(s *source) {
	now := a.clock()
	age := s.uptime
	if s.noUptime && age >= 0 { // the last page may have been of a new process
		age = 0
	}
	if age < 0 || age >= s.interval {
		return
	}
	a.table.Read(func(v series.View) {
		a.young[v.TargetLabels(s.target).Hash()] = now.Add(s.interval + uptimeLag - age)
	})
}

// forgetYoung forgets processes that are not young any more.
func (a *Aggregates) forgetYoung(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.young, func(_ uint64, until time.Time) bool { return !now.Before(until) })
}

// dropIfSent drops a source without a block once its series were sent as they are.
func (a *Aggregates) dropIfSent(b *series.Batch) {
	if !b.Origin.Good {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.sources[b.Origin.Source]; s != nil {
		delete(a.sources, b.Origin.Source)
		a.drop(s)
	}
	a.setNone()
}

// setNone notes whether batches can pass without a look. The caller holds mu, or changing for writing.
func (a *Aggregates) setNone() { a.none.Store(len(a.blocks.all)+len(a.sources) == 0) }

// join gives a source its feed under the blocks in force. The caller holds mu.
func (a *Aggregates) join(s *source) {
	var target labels.Labels
	a.table.Read(func(v series.View) { target = v.TargetLabels(s.target) })
	key, blocks := feedKey{job: s.job}, a.blocks.byJob[s.job]
	h := xxhash.New()
	target.Range(func(l labels.Label) {
		_, _ = h.WriteString(l.Name)
		_, _ = h.Write([]byte{0xff})
	})
	key.names = h.Sum64()
	groups := make([]*group, len(blocks))
	for i, b := range blocks {
		groups[i] = a.group(b.Labels(target))
		key.groups[i] = groups[i].target
	}
	f := a.feeds[key]
	if f == nil {
		locks := slices.Clone(groups)
		slices.SortFunc(locks, func(g, h *group) int { return cmp.Compare(g.number, h.number) })
		f = &feed{key: key, groups: groups, blocks: blocks, locks: slices.Compact(locks), layouts: map[uint64]*layout{}}
		a.feeds[key] = f
		for _, g := range f.locks {
			g.feeds++
		}
	}
	f.users++
	s.feed = f
}

// group returns the group of a label set, a new one if there is none. The caller holds mu.
func (a *Aggregates) group(l labels.Labels) *group {
	id := a.table.AddTarget(l)
	if g := a.groups[id]; g != nil {
		a.table.ReleaseTarget(id)
		return g
	}
	a.numbers++
	g := &group{number: a.numbers, target: id, byID: map[slotKey]uint32{}, sources: map[*source]struct{}{},
		having: map[time.Duration]int{}}
	a.groups[id] = g
	return g
}

// leaveFeed takes a source out of its feed, if it has one. The caller holds mu.
func (a *Aggregates) leaveFeed(s *source) {
	f := s.feed
	if s.feed = nil; f == nil {
		return
	}
	if f.users--; f.users > 0 {
		return
	}
	delete(a.feeds, f.key)
	for _, g := range f.locks {
		g.feeds--
	}
}

// dropIfEmpty takes a group away that has neither a feed nor an aggregate.
func (a *Aggregates) dropIfEmpty(g *group) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if g.feeds > 0 || a.groups[g.target] != g {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.byID) == 0 {
		delete(a.groups, g.target)
		a.table.ReleaseTarget(g.target)
	}
}

// allGroups returns the groups in the order of their numbers.
func (a *Aggregates) allGroups() []*group {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.SortedFunc(maps.Values(a.groups), func(g, h *group) int { return cmp.Compare(g.number, h.number) })
}

// setIntervals computes the intervals of the groups of a feed again. The caller has locked it.
func (a *Aggregates) setIntervals(f *feed, now time.Time) {
	sooner := false
	for _, g := range f.locks {
		sooner = g.setInterval(now.UnixMilli()) || sooner
	}
	if sooner {
		select {
		case a.wake <- struct{}{}:
		default:
		}
	}
}
