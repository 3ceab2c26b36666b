package discovery

import (
	"maps"
	"reflect"
	"slices"
	"time"

	promconfig "github.com/prometheus/prometheus/config"
	promdiscovery "github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"go.uber.org/zap"
)

// Hold prepares an Adopt of these jobs and returns those whose rules read labels that nothing read before, so that
// what was found lacks them, and those that share a discovery with them. What is found for such a job is kept back
// until everything was found anew; until then its new rules must not see the old groups. So what Run hands over at this
// moment is through when Hold returns: do not call it where that would wait for the caller.
func (m *Manager) Hold(jobs []*promconfig.ScrapeConfig) []string {
	m.handing.Lock()
	defer m.handing.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.running {
		return nil // nothing was found yet
	}
	wanted := m.readsOf(jobs)
	for _, job := range jobs {
		if m.lacks(job, wanted) { // held or not: what an earlier Apply made it wait for is not enough
			m.held[job.JobName] = false
		}
	}
	return slices.Sorted(maps.Keys(m.held))
}

// lacks reports whether a running discovery of the job keeps less than is wanted. m.mu is held.
func (m *Manager) lacks(job *promconfig.ScrapeConfig, wanted []jobReads) bool {
	i := slices.IndexFunc(m.jobs, func(j jobDiscovery) bool { return j.name == job.JobName })
	return i >= 0 && slices.ContainsFunc(job.ServiceDiscoveryConfigs, func(c promdiscovery.Config) bool {
		return slices.ContainsFunc(m.jobs[i].providers, func(p *provider) bool {
			return reflect.DeepEqual(p.config, c) && !p.serves(c, readsFor(wanted, c))
		})
	})
}

// release lets the held jobs wait for what their discoveries find from now on. m.mu is held.
func (m *Manager) release() {
	for job := range m.held {
		m.held[job] = true
	}
	if len(m.held) == 0 {
		return
	}
	m.log.Info("rules read labels of pods that none read before: all pods are read anew, and the jobs' old rules stay until then",
		zap.Strings("job", slices.Sorted(maps.Keys(m.held))))
	select {
	case m.holding <- struct{}{}:
	default:
	}
}

// hand hands an update over, but for the groups of held jobs, which go into kept.
func (m *Manager) hand(groups, kept map[string][]*targetgroup.Group, apply func(map[string][]*targetgroup.Group)) {
	m.handing.Lock()
	defer m.handing.Unlock()
	m.split(groups, kept)
	apply(groups)
}

// handDue hands over what was kept of jobs that are held no longer.
func (m *Manager) handDue(now time.Time, delivered map[string]int, kept map[string][]*targetgroup.Group, apply func(map[string][]*targetgroup.Group)) {
	m.handing.Lock()
	defer m.handing.Unlock()
	if groups := m.due(now, delivered, kept); len(groups) > 0 {
		apply(groups)
	}
}

// split takes the groups of held jobs out of an update, into kept.
func (m *Manager) split(groups, kept map[string][]*targetgroup.Group) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for job := range m.held {
		if g, ok := groups[job]; ok {
			kept[job] = g
			delete(groups, job)
		}
	}
}

// due returns the groups of held jobs whose discoveries are whole now, out of kept, and holds them no longer.
func (m *Manager) due(now time.Time, delivered map[string]int, kept map[string][]*targetgroup.Group) map[string][]*targetgroup.Group {
	m.mu.Lock()
	defer m.mu.Unlock()
	groups := map[string][]*targetgroup.Group{}
	for job, applied := range m.held {
		i := slices.IndexFunc(m.jobs, func(j jobDiscovery) bool { return j.name == job })
		if !applied || i >= 0 && !(m.complete(m.jobs[i], now) && m.whole(m.jobs[i], now, delivered)) {
			continue
		}
		delete(m.held, job)
		if g, ok := kept[job]; ok && i >= 0 {
			groups[job] = g
		}
		delete(kept, job)
	}
	return groups
}

// complete reports whether nothing that a job's discoveries can list is left to list, however long that takes: until
// then the old rules go on with what was found before. m.mu is held.
func (m *Manager) complete(j jobDiscovery, now time.Time) bool {
	return !slices.ContainsFunc(j.providers, func(p *provider) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.listedFor(now) < m.pace.quiet
	})
}

// forgetHeld takes held jobs out of what was delivered, for that was before they were held.
func (m *Manager) forgetHeld(delivered map[string]int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for job := range m.held {
		delete(delivered, job)
	}
}

// waiting reports whether jobs are held.
func (m *Manager) waiting() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.held) > 0
}
