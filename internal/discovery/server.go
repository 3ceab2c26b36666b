package discovery

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	commonconfig "github.com/prometheus/common/config"
	promdiscovery "github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"go.uber.org/zap"
)

// fullEvery is how many questions to a healthy server are the cheap one before all rights are asked for again.
const fullEvery = 20

// serverKey is what makes two discoveries use the same client of an API server.
type serverKey struct {
	kubeconfig string
	apiServer  string
	http       commonconfig.HTTPClientConfig
}

// server watches over one API server, as Prometheus' discovery says nothing while it cannot reach it.
type server struct {
	key      serverKey
	client   *apiClient
	log      *zap.Logger
	pace     pace
	wake     chan struct{} // a discovery is new: ask now
	answered chan struct{} // closed at the first answer

	// owned by Manager, under its lock
	started bool
	cancel  context.CancelFunc

	// owned by run
	asked int // questions since the last one about rights

	mu sync.Mutex // guards the following
	// providers are the discoveries that use this server.
	providers []*provider
	state     State
	since     time.Time // of the state
	err       string    // why the server is unreachable or does not know us
	failures  int       // in a row
}

// rights is what the API server answered to the questions of one discovery.
type rights struct {
	asked  time.Time // when all was allowed; zero: not yet
	empty  bool      // there was nothing to discover then
	denied string    // what is not allowed, and why; empty: nothing, or not asked yet
}

// server returns the watcher over the API server that c uses, nil if it uses none.
func (p *Plan) server(c promdiscovery.Config) (*server, error) {
	k, ok := c.(*kubernetes.SDConfig)
	if !ok {
		return nil, nil
	}
	key := serverKey{kubeconfig: k.KubeConfig, http: k.HTTPClientConfig}
	if k.APIServer.URL != nil {
		key.apiServer = k.APIServer.String()
	}
	for _, s := range p.servers {
		if reflect.DeepEqual(s.key, key) {
			return s, nil
		}
	}
	client, err := newAPIClient(k)
	if err != nil {
		return nil, explainConfig(c, err)
	}
	s := newServer(key, client, p.m.log, p.m.pace)
	p.servers = append(p.servers, s)
	return s, nil
}

func newServer(key serverKey, client *apiClient, log *zap.Logger, pace pace) *server {
	return &server{
		key: key, client: client, log: log.With(zap.String("server", client.host)), pace: pace, state: StateWaiting,
		wake: make(chan struct{}, 1), answered: make(chan struct{}),
	}
}

// run asks until ctx ends.
func (s *server) run(ctx context.Context) {
	for {
		s.probe(ctx)
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-time.After(s.wait()):
		}
	}
}

// wait is how long until the next question, spread so that the nodes of a cluster do not ask together.
func (s *server) wait() time.Duration {
	s.mu.Lock()
	failures := s.failures
	s.mu.Unlock()
	d := s.pace.probe
	if failures > 0 {
		d = min(d, s.pace.retry<<min(failures-1, 10))
	}
	return time.Duration((0.8 + 0.4*rand.Float64()) * float64(d))
}

// probe asks the server once: all rights where they are not known yet, else only whether it is there.
func (s *server) probe(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, s.pace.ask)
	defer cancel()
	providers := s.users()
	if s.quick(providers) {
		s.asked++
		a, err := s.client.alive(ctx)
		s.conclude(ctx, a, err)
		return
	}
	s.asked = 0
	for _, p := range providers {
		a, err := s.askRights(ctx, p)
		if a == answerNone || a == answerUnknown {
			s.conclude(ctx, a, err)
			return
		}
	}
	s.conclude(ctx, answerOK, nil)
}

// quick reports whether the cheap question is enough.
func (s *server) quick(providers []*provider) bool {
	if s.currentState() != StateOK || s.asked >= fullEvery {
		return false
	}
	return !slices.ContainsFunc(providers, func(p *provider) bool { return !p.content() })
}

// askRights asks for everything that a discovery needs, and remembers what is missing.
func (s *server) askRights(ctx context.Context, p *provider) (answer, error) {
	var missing []string
	empty := true
	for _, n := range p.needs {
		a, none, err := s.client.list(ctx, n)
		verb := "list"
		if a == answerOK {
			empty = empty && (none || !n.primary)
			verb = "watch"
			a, err = s.client.watch(ctx, n)
		}
		switch a {
		case answerNone, answerUnknown:
			return a, err
		case answerDenied:
			missing = append(missing, fmt.Sprintf("may not %s %s (%v)", verb, n, err))
		case answerMissing:
			missing = append(missing, fmt.Sprintf("has no %s (%v)", n, err))
		}
	}
	s.judge(p, rights{asked: time.Now(), empty: empty, denied: strings.Join(missing, "; ")})
	return answerOK, nil
}

// judge keeps what was found out about a discovery's rights, and says it if it is news.
func (s *server) judge(p *provider, r rights) {
	p.mu.Lock()
	before := p.rights
	if r.denied != "" {
		r.asked, r.empty = time.Time{}, false
	} else if before.empty && r.empty {
		r.asked = before.asked
	}
	p.rights = r
	jobs := slices.Clone(p.jobs)
	p.mu.Unlock()
	switch {
	case r.denied != "" && r.denied != before.denied:
		s.log.Error("Kubernetes API server refuses what discovery needs: grant get, list and watch",
			zap.Strings("job", jobs), zap.String("missing", r.denied))
	case r.denied == "" && before.denied != "":
		s.log.Info("Kubernetes API server allows what discovery needs now", zap.Strings("job", jobs))
	}
}

// conclude makes an answer the server's state, and says changes only.
func (s *server) conclude(ctx context.Context, a answer, err error) {
	if a == answerNone && context.Cause(ctx) == context.Canceled {
		return // we stop; that says nothing about the server
	}
	now := time.Now()
	state, text := StateOK, ""
	switch a {
	case answerNone:
		state, text = StateUnreachable, err.Error()
	case answerUnknown:
		state, text = StateDenied, err.Error()
	}
	s.mu.Lock()
	before, since := s.state, s.since
	if state != before {
		s.state, s.since = state, now
	}
	s.err = text
	if state == StateOK {
		s.failures = 0
	} else {
		s.failures++
	}
	s.mu.Unlock()
	if a != answerNone {
		s.noteAnswer()
	}
	s.say(before, state, now.Sub(since), text)
}

// say logs a change of state.
func (s *server) say(before, state State, lasted time.Duration, text string) {
	jobs := zap.Strings("job", s.jobs())
	switch {
	case state == before:
	case state == StateUnreachable:
		s.log.Warn("Kubernetes API server unreachable: known targets stay, changes are not seen", jobs, zap.String("error", text))
	case state == StateDenied:
		s.log.Error("Kubernetes API server does not accept our credentials: known targets stay, changes are not seen", jobs, zap.String("error", text))
	case before == StateUnreachable:
		s.log.Info("Kubernetes API server reachable again", jobs, zap.Duration("after", lasted.Round(time.Millisecond)))
	case before == StateDenied:
		s.log.Info("Kubernetes API server accepts our credentials again", jobs, zap.Duration("after", lasted.Round(time.Millisecond)))
	default:
		s.log.Debug("Kubernetes API server reachable", jobs)
	}
}

// noteAnswer lets the discoveries start.
func (s *server) noteAnswer() {
	select {
	case <-s.answered:
	default:
		close(s.answered) // only run gets here
	}
}

// waitAnswer waits until the server answered for the first time; false: ctx ended before.
func (s *server) waitAnswer(ctx context.Context) bool {
	select {
	case <-s.answered:
		return true
	case <-ctx.Done():
		return false
	}
}

// wakeUp makes run ask now, for discoveries that are new.
func (s *server) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// stop ends run. Manager's lock is held.
func (s *server) stop() {
	if s.cancel != nil {
		s.cancel()
	}
}

func (s *server) setProviders(providers []*provider) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.providers = providers
}

func (s *server) users() []*provider {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.providers)
}

func (s *server) currentState() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// jobs names the jobs that use this server.
func (s *server) jobs() []string {
	var jobs []string
	for _, p := range s.users() {
		p.mu.Lock()
		jobs = append(jobs, p.jobs...)
		p.mu.Unlock()
	}
	slices.Sort(jobs)
	return slices.Compact(jobs)
}

// content reports whether nothing about the rights of this discovery is left to ask.
func (p *provider) content() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.rights.asked.IsZero() && (p.rights.empty || !p.first.IsZero())
}
