package discovery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"go.uber.org/zap"
)

const (
	// onceFailures is the number of failed probes of an API server after which Once gives up.
	onceFailures = 3
	// onceCheck is how often Once checks whether to give up.
	onceCheck = 100 * time.Millisecond
)

// Once discovers until the first set of groups of every job is complete, and returns the groups by job. It gives up
// when ctx ends, or earlier if an API server refuses our credentials, denies a right or does not answer.
func Once(ctx context.Context, jobs []*promconfig.ScrapeConfig) (map[string][]*targetgroup.Group, error) {
	m, err := New(Options{}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		return nil, err
	}
	return m.once(ctx, jobs)
}

// Look discovers like Once, but does not give up if only some namespaces may not be listed. It returns the groups of
// each job as the update that Run hands over first, and the manager, which does not run any more: its Pods, Scopes
// and Pod answer as of then.
func Look(ctx context.Context, jobs []*promconfig.ScrapeConfig) (*Manager, map[string]Update, error) {
	m, err := New(Options{}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		return nil, nil, err
	}
	m.partly = true
	if _, err := m.once(ctx, jobs); err != nil {
		return nil, nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	updates := map[string]Update{}
	for _, j := range m.jobs {
		updates[j.name] = j.whole()
	}
	return m, updates, nil
}

func (m *Manager) once(ctx context.Context, jobs []*promconfig.ScrapeConfig) (map[string][]*targetgroup.Group, error) {
	m.wholePods = true // people want to see all labels that a rule could read
	m.pace.retry = min(m.pace.retry, time.Second)
	if err := m.Apply(jobs); err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- m.Run(run, func(map[string]Update) {}) }()
	failure := m.awaitSync(ctx)
	stop()
	if err := <-done; err != nil {
		return nil, err
	}
	if failure != nil {
		return nil, failure
	}
	return m.allGroups(), nil
}

// allGroups returns all groups of all jobs.
func (m *Manager) allGroups() map[string][]*targetgroup.Group {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := map[string][]*targetgroup.Group{}
	for _, j := range m.jobs {
		all[j.name] = []*targetgroup.Group{}
		for _, g := range j.whole().Groups {
			all[j.name] = append(all[j.name], g.Group)
		}
	}
	return all
}

// awaitSync waits until all jobs have their groups, or returns why that will not happen.
func (m *Manager) awaitSync(ctx context.Context) error {
	tick := time.NewTicker(onceCheck)
	defer tick.Stop()
	for {
		select {
		case <-m.synced:
			return nil
		case <-ctx.Done():
			if context.Cause(ctx) == context.Canceled {
				return context.Canceled
			}
			return m.unsynced("did not answer in time")
		case <-tick.C:
			if m.hopeless() {
				return m.unsynced("")
			}
		}
	}
}

// hopeless reports whether an API server has denied a right or failed onceFailures times.
func (m *Manager) hopeless() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.providers {
		st := p.status(time.Now(), m.pace)
		if st.State == StateDenied && !(m.partly && p.mayListSome()) || p.failedFor() >= onceFailures {
			return true
		}
	}
	return false
}

// mayListSome reports whether the API server accepts our credentials and has not refused the objects of the role in
// every namespace.
func (p *provider) mayListSome() bool {
	if p.server == nil || p.server.currentState() == StateDenied {
		return false
	}
	for _, n := range p.needs {
		if n.primary && p.server.denied(n) == "" {
			return true
		}
	}
	return false
}

// unsynced returns an error that names every incomplete discovery and the reason, or fallback if no reason is known.
func (m *Manager) unsynced(fallback string) error {
	var errs []error
	for _, st := range m.Status() {
		reason := st.Err
		if reason == "" && !st.Synced {
			reason = fallback
		}
		if reason == "" {
			continue
		}
		what := st.Kind + " discovery"
		if st.Server != "" {
			what = "Kubernetes API server " + st.Server
			if st.State == StateUnreachable {
				what += " is unreachable"
			}
		}
		errs = append(errs, fmt.Errorf("job %q: %s: %s", st.Job, what, reason))
	}
	return errors.Join(errs...)
}
