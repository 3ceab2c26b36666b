package discovery

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// State is how a discovery stands.
type State string

// The states of a discovery.
const (
	StateWaiting     State = "waiting"     // nothing heard yet
	StateOK          State = "ok"          // it delivers, or would if there were something
	StateUnreachable State = "unreachable" // its server does not answer; what was found stays
	StateDenied      State = "denied"      // its server refuses us, or a right that we need
	StateFailing     State = "failing"     // it complained since its last update (files, HTTP)
)

// ProviderStatus is one discovery of one job as people see it: a copy.
type ProviderStatus struct {
	Job        string
	Kind       string    // kubernetes, static, file or http
	Detail     string    // the role of a Kubernetes discovery, else empty
	Server     string    // the API server, without credentials; empty for other kinds
	State      State     // see there
	Since      time.Time // when the API server came to be as it is; zero for other kinds
	Reachable  bool      // false: the API server does not answer (or has not yet)
	Synced     bool      // the first picture is whole
	Groups     int       // that have targets: pods, for example
	Targets    int       // before relabeling
	LastUpdate time.Time // zero: none yet
	Watches    int       // of pods that were begun: more than some an hour mean that they do not last
	Err        string    // what is wrong; empty: nothing
}

// Status returns how each discovery of each job stands, in the order of the configuration.
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

// status tells how one discovery stands.
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

// describe adds what is known of the API server to the status of a discovery; the server's word counts for more than
// the discoverer's complaints, which follow from it.
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

// failedFor is how many questions in a row the API server of a discovery did not answer well.
func (p *provider) failedFor() int {
	if p.server == nil {
		return 0
	}
	p.server.mu.Lock()
	defer p.server.mu.Unlock()
	return p.server.failures
}
