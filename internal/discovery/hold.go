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

// Hold marks jobs whose new rules need pod labels that discovery has not kept, and jobs that share a discovery with
// them. It returns the names of all marked jobs. Call it before Adopt. A marked job gets no updates until its pods have
// been listed again, and must run its old rules until then: the new rules must not see groups without their labels.
// Hold waits for an update that Run is handing over, so the callback of Run must not call it.
func (m *Manager) Hold(jobs []*promconfig.ScrapeConfig) []string {
	m.handing.Lock()
	defer m.handing.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.running {
		return nil // no groups yet
	}
	wanted := m.readsOf(jobs)
	for _, job := range jobs {
		if m.lacks(job, wanted) { // also if it is held: the discovery that it waits for keeps too few labels
			m.held[job.JobName] = false
		}
	}
	for name := range m.held {
		m.held[name] = false // its hold cannot end before the next Adopt
	}
	return slices.Sorted(maps.Keys(m.held))
}

// lacks reports whether a running discovery of the job drops labels in wanted. m.mu is held.
func (m *Manager) lacks(job *promconfig.ScrapeConfig, wanted []jobReads) bool {
	running, _ := m.job(job.JobName)
	return slices.ContainsFunc(job.ServiceDiscoveryConfigs, func(c promdiscovery.Config) bool {
		return slices.ContainsFunc(running.providers, func(p *provider) bool {
			return reflect.DeepEqual(p.config, c) && !p.serves(c, readsFor(wanted, c))
		})
	})
}

// release starts the wait of held jobs: their hold ends when their adopted discoveries are complete. m.mu is held.
func (m *Manager) release() {
	for job := range m.held {
		m.held[job] = true
	}
	if len(m.held) == 0 {
		return
	}
	m.log.Info("new rules read pod labels that discovery has not kept: listing all pods again; the jobs run their "+
		"old rules until then",
		zap.Strings("job", slices.Sorted(maps.Keys(m.held))))
	select {
	case m.holding <- struct{}{}:
	default:
	}
}

// handDue ends holds and hands over all groups of their jobs.
func (m *Manager) handDue(now time.Time, apply func(map[string]Update)) {
	m.handing.Lock()
	defer m.handing.Unlock()
	if updates := m.due(now); len(updates) > 0 {
		m.prom.SentUpdates.Inc()
		apply(updates)
	}
}

// due ends the hold of jobs whose discoveries are complete, and returns all groups of these jobs.
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

// complete reports whether a job's discoveries have listed everything that they may list. There is no time limit: the
// old rules go on with the old groups. m.mu is held.
func (m *Manager) complete(j jobDiscovery, now time.Time) bool {
	return !slices.ContainsFunc(j.providers, func(p *provider) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.listedFor(now) < m.pace.quiet
	})
}

// waiting reports whether any job is held.
func (m *Manager) waiting() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.held) > 0
}
