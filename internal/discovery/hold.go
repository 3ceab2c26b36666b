package discovery

import (
	"maps"
	"reflect"
	"slices"
	"time"

	promconfig "github.com/prometheus/prometheus/config"
	promdiscovery "github.com/prometheus/prometheus/discovery"
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
	for name := range m.held {
		m.held[name] = false // until Adopt none is handed over: its new rules would miss that
	}
	return slices.Sorted(maps.Keys(m.held))
}

// lacks reports whether a running discovery of the job keeps less than is wanted. m.mu is held.
func (m *Manager) lacks(job *promconfig.ScrapeConfig, wanted []jobReads) bool {
	running, _ := m.job(job.JobName)
	return slices.ContainsFunc(job.ServiceDiscoveryConfigs, func(c promdiscovery.Config) bool {
		return slices.ContainsFunc(running.providers, func(p *provider) bool {
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

// handDue hands over all groups of jobs that are held no longer.
func (m *Manager) handDue(now time.Time, apply func(map[string]Update)) {
	m.handing.Lock()
	defer m.handing.Unlock()
	if updates := m.due(now); len(updates) > 0 {
		m.prom.SentUpdates.Inc()
		apply(updates)
	}
}

// due returns all groups of held jobs whose discoveries are whole now, and holds them no longer.
func (m *Manager) due(now time.Time) map[string]Update {
	m.mu.Lock()
	defer m.mu.Unlock()
	updates := map[string]Update{}
	for name, applied := range m.held {
		j, ok := m.job(name)
		switch {
		case !applied:
		case !ok:
			delete(m.held, name)
		case m.complete(j, now) && m.whole(j, now):
			delete(m.held, name)
			m.renew(j, updates)
		}
	}
	return updates
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

// waiting reports whether jobs are held.
func (m *Manager) waiting() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.held) > 0
}
