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
	// onceFailures is how many times an API server may fail to answer before Once gives up.
	onceFailures = 3
	// onceCheck is how often Once looks for a reason to give up.
	onceCheck = 100 * time.Millisecond
)

// Once discovers until the first picture of every job is whole, and returns it: for each job its groups. It gives up
// when ctx ends, and earlier where waiting is no use: an API server that refuses us, or that is not there.
func Once(ctx context.Context, jobs []*promconfig.ScrapeConfig) (map[string][]*targetgroup.Group, error) {
	m, err := New(zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		return nil, err
	}
	return m.once(ctx, jobs)
}

func (m *Manager) once(ctx context.Context, jobs []*promconfig.ScrapeConfig) (map[string][]*targetgroup.Group, error) {
	m.wholePods = true // for people, who ask what a rule could read
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
	return m.pictures(), nil
}

// pictures returns all groups of all jobs.
func (m *Manager) pictures() map[string][]*targetgroup.Group {
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

// awaitSync waits until all is discovered, or tells why that will not be.
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

// hopeless reports whether an API server has said no, or nothing, often enough.
func (m *Manager) hopeless() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.providers {
		if st := p.status(time.Now(), m.pace); st.State == StateDenied || p.failedFor() >= onceFailures {
			return true
		}
	}
	return false
}

// unsynced names every discovery that has not delivered, with the reason, or fallback where none is known.
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
