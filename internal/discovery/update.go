package discovery

import (
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/targetgroup"
)

// Update is news about the groups of one job. It names a group once at most.
type Update struct {
	Whole  bool    // Groups are all groups of the job; any other is gone
	Groups []Group // new and changed groups; if not Whole, also groups that are gone
}

// Group is a target group and the discovery that found it. One that has no targets is gone.
type Group struct {
	Discovery uint64 // identifies the group together with Source: two discoveries may find the same source
	*targetgroup.Group
}

const (
	// firstWait is how long a change waits for others after a time without any.
	firstWait = 100 * time.Millisecond
	// updateInterval is the longest that a change waits for others. Prometheus waits 5 s.
	updateInterval = time.Second
)

// batching decides how long changes are gathered before they are handed over together. The time grows from firstWait
// to updateInterval while changes keep coming.
type batching struct {
	wait time.Duration // for the last update
	last time.Time     // when that was handed over
}

// next is how long a change that comes now waits.
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

// collect returns what changed since the last call, by job. Jobs without news and held jobs are left out.
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
			continue // it gets everything when it is held no longer
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

// renew adds a job's whole picture to the updates. m.mu is held.
func (m *Manager) renew(j jobDiscovery, updates map[string]Update) {
	delete(m.fresh, j.name)
	updates[j.name] = j.whole()
	m.count(j)
}

// count shows what a job is handed over in Prometheus' metrics. m.mu is held.
func (m *Manager) count(j jobDiscovery) {
	targets := 0
	for _, p := range j.providers {
		targets += p.targetCount()
	}
	m.prom.DiscoveredTargets.WithLabelValues(j.name).Set(float64(targets))
	m.prom.LastUpdated.WithLabelValues(j.name).SetToCurrentTime()
}

// hand hands over what changed.
func (m *Manager) hand(apply func(map[string]Update)) {
	m.handing.Lock()
	defer m.handing.Unlock()
	if updates := m.collect(); len(updates) > 0 {
		m.prom.SentUpdates.Inc()
		apply(updates)
	}
}
