package discovery

import (
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/targetgroup"
)

// Update holds the changed groups of one job. It names each group at most once.
type Update struct {
	Whole  bool    // Groups lists all groups of the job; groups that are not listed are gone
	Groups []Group // new and changed groups; unless Whole, also groups that are gone, without targets
}

// Group is a target group and the discovery that found it. A group without targets is gone.
type Group struct {
	Discovery uint64 // identifies the group together with Source: two discoveries may find the same source
	*targetgroup.Group
}

const (
	// firstWait is how long a change waits for further changes after a period without changes.
	firstWait = 100 * time.Millisecond
	// updateInterval is the longest time that a change waits for further changes. Prometheus waits 5 s.
	updateInterval = time.Second
)

// batching decides how long changes are gathered before they are handed over in one update. The time grows from
// firstWait to updateInterval while changes keep coming: 100, 150, 225 ms … 1 s.
type batching struct {
	wait time.Duration // for the last update
	last time.Time     // when the last update was handed over
}

// next returns how long a change that arrives now waits.
func (b *batching) next(now time.Time) time.Duration {
	if now.Sub(b.last) > updateInterval {
		b.wait = firstWait
	} else {
		b.wait = min(b.wait*3/2, updateInterval)
	}
	b.last = now.Add(b.wait)
	return b.wait
}

// equalGroups reports whether two groups have the same labels and targets.
func equalGroups(a, b *targetgroup.Group) bool {
	return a == b || a.Labels.Equal(b.Labels) && slices.EqualFunc(a.Targets, b.Targets, model.LabelSet.Equal)
}

// takeChanged returns the groups that changed since the last call.
func (p *provider) takeChanged() []Group {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.changed) == 0 {
		return nil
	}
	changed := make([]Group, 0, len(p.changed))
	for source := range p.changed {
		g, ok := p.groups[source]
		if !ok {
			g = &targetgroup.Group{Source: source}
		}
		changed = append(changed, Group{p.id, g})
	}
	p.changed = nil // not cleared: a map keeps the size that it had for the first picture
	return changed
}

// all returns all groups that have targets.
func (p *provider) all() []Group {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]Group, 0, len(p.groups))
	for _, g := range p.groups {
		all = append(all, Group{p.id, g})
	}
	return all
}

// whole returns all groups of a job.
func (j jobDiscovery) whole() Update {
	u := Update{Whole: true}
	for _, p := range j.providers {
		u.Groups = append(u.Groups, p.all()...)
	}
	return u
}

// collect returns the groups that changed since the last call, by job. It leaves out held jobs and jobs without
// changes.
func (m *Manager) collect() map[string]Update {
	m.mu.Lock()
	defer m.mu.Unlock()
	changed := map[*provider][]Group{}
	for _, p := range m.providers {
		changed[p] = p.takeChanged()
	}
	updates := map[string]Update{}
	for _, j := range m.jobs {
		if _, held := m.held[j.name]; held {
			continue // when the hold ends, the job gets all groups
		}
		if m.fresh[j.name] {
			m.renew(j, updates)
			continue
		}
		var groups []Group
		for _, p := range j.providers {
			groups = append(groups, changed[p]...)
		}
		if len(groups) > 0 {
			updates[j.name] = Update{Groups: groups}
			m.count(j)
		}
	}
	return updates
}

// renew adds all groups of a job to updates. m.mu is held.
func (m *Manager) renew(j jobDiscovery, updates map[string]Update) {
	delete(m.fresh, j.name)
	updates[j.name] = j.whole()
	m.count(j)
}

// count sets Prometheus' metrics of a job that was handed an update. m.mu is held.
func (m *Manager) count(j jobDiscovery) {
	targets := 0
	for _, p := range j.providers {
		targets += p.targetCount()
	}
	m.prom.DiscoveredTargets.WithLabelValues(j.name).Set(float64(targets))
	m.prom.LastUpdated.WithLabelValues(j.name).SetToCurrentTime()
}

// hand collects changes and hands them over.
func (m *Manager) hand(apply func(map[string]Update)) {
	m.handing.Lock()
	defer m.handing.Unlock()
	if updates := m.collect(); len(updates) > 0 {
		m.prom.SentUpdates.Inc()
		apply(updates)
	}
}
