package discovery

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// State is the state of a discovery.
type State string

// The states of a discovery.
const (
	StateWaiting     State = "waiting"     // no update and no answer yet
	StateOK          State = "ok"          // it delivers, or there is nothing to deliver
	StateUnreachable State = "unreachable" // its server does not answer; known groups stay
	StateDenied      State = "denied"      // its server refuses our credentials or a right
	StateFailing     State = "failing"     // it logged a problem after its last update (files, HTTP)
)

// ProviderStatus describes one discovery of one job. It is a copy.
type ProviderStatus struct {
	Job        string
	Kind       string // kubernetes, static, file or http
	Detail     string // the role of a Kubernetes discovery, else empty
	Server     string // the API server, without credentials; empty for other kinds
	State      State
	Since      time.Time // time of the API server's last change of state; zero for other kinds
	Reachable  bool      // false: the API server does not answer (or has not yet)
	Synced     bool      // the first set of groups is complete
	Groups     int       // groups that have targets; a pod is one group
	Targets    int       // before relabeling
	LastUpdate time.Time // zero: no update yet
	Watches    int       // pod watches started; more than about 12 per hour mean that connections are lost
	Err        string    // the problem; empty: none
}

// Status returns the status of each discovery of each job, in the order of the configuration.
func (m *Manager) Status() []ProviderStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	var all []ProviderStatus
	for _, j := range m.jobs {
		for _, p := range j.providers {
			st := p.status(now, m.pace)
			st.Job = j.name
			all = append(all, st)
		}
	}
	return all
}

// status returns the status of one discovery, without the job.
func (p *provider) status(now time.Time, pace pace) ProviderStatus {
	synced := p.settled(now, pace)
	st := ProviderStatus{Kind: p.kind, Detail: p.detail, State: StateWaiting, Reachable: true, Synced: synced}
	p.mu.Lock()
	defer p.mu.Unlock()
	st.LastUpdate, st.Watches = p.last, p.watches
	st.Groups, st.Targets = len(p.groups), p.targets
	if synced || !p.first.IsZero() {
		st.State = StateOK
	}
	p.forgetFiles()
	if len(p.warnings) > 0 {
		st.State, st.Err = StateFailing, strings.Join(slices.Sorted(maps.Values(p.warnings)), "; ")
	}
	if p.server != nil {
		p.server.describe(&st, p.rights)
	}
	return st
}

// describe adds the state of the API server to the status of a discovery. It replaces the discoverer's own errors,
// which are consequences of that state.
func (s *server) describe(st *ProviderStatus, r rights) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Server, st.Since = s.client.host, s.since
	st.Reachable = s.state == StateOK || s.state == StateDenied
	switch {
	case s.state == StateUnreachable || s.state == StateDenied:
		st.State, st.Err = s.state, s.err
	case r.denied != "":
		st.State, st.Err = StateDenied, r.denied
	}
}

// failedFor returns the number of failed probes in a row of a discovery's API server.
func (p *provider) failedFor() int {
	if p.server == nil {
		return 0
	}
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	return p.server.failures
}
