package discovery

import (
	"context"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"time"

	commonconfig "github.com/prometheus/common/config"
	promdiscovery "github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"go.uber.org/zap"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

const (
	// fullEvery is how many probes of a healthy server ask only for /version before the next one asks for all rights.
	fullEvery = 20
	// concurrentQuestions is how many questions are asked concurrently.
	concurrentQuestions = 8
)

// serverKey identifies an API server and our credentials. Discoveries with equal keys share a watcher.
type serverKey struct {
	kubeconfig string
	apiServer  string
	http       commonconfig.HTTPClientConfig
}

// server probes one API server regularly, because Prometheus' discovery does not report that it cannot reach one.
type server struct {
	key      serverKey
	client   *apiClient
	log      *zap.Logger
	pace     pace
	wake     chan struct{} // probe now
	answered chan struct{} // closed at the first answer

	// owned by Manager, under its lock; nil: not started
	cancel context.CancelFunc

	// owned by run
	random *rand.Rand
	cheap  int // probes that asked only for /version since the last probe that asked for all rights
	open   int // probes in a row after which some right was unknown

	mu sync.Mutex // guards the following
	// grants are the answers about rights, by question.
	grants map[need]grant
	// providers are the discoveries that use this server.
	providers []*provider
	state     State     // of the server
	since     time.Time // time of the last change of state
	err       string    // why the server is unreachable or refuses our credentials
	failures  int       // failed probes in a row
}

// server returns the watcher of the API server that c uses, or nil if c uses none.
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
	client, err := newAPIClient(k, p.m.opts.Dial)
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
		wake: make(chan struct{}, 1), answered: make(chan struct{}), grants: map[need]grant{},
		random: pace.chance.Of("probes of " + client.host).Rand(),
	}
}

// run probes until ctx ends. Then it closes its idle connections.
func (s *server) run(ctx context.Context) {
	defer utilnet.CloseIdleConnectionsFor(s.client.http.Transport)
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

// wait returns the time until the next probe. It varies by 20 %, so that the nodes of a cluster do not probe at the
// same moment.
func (s *server) wait() time.Duration {
	s.mu.Lock()
	failures := max(s.failures, s.open)
	s.mu.Unlock()
	d := s.pace.probe
	if failures > 0 {
		d = min(d, s.pace.retry<<min(failures-1, 10))
	}
	return time.Duration((0.8 + 0.4*s.random.Float64()) * float64(d))
}

// conclude sets the server's state from an answer, and logs a change.
func (s *server) conclude(ctx context.Context, a answer, err error) {
	if a == answerNone && context.Cause(ctx) == context.Canceled {
		return // we stop: no answer does not mean that the server is unreachable
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
		s.log.Warn("Kubernetes API server unreachable: known targets stay, changes are missed", jobs,
			zap.String("error", text))
	case state == StateDenied:
		s.log.Error("Kubernetes API server does not accept our credentials: known targets stay, changes are missed",
			jobs, zap.String("error", text))
	case before == StateUnreachable:
		s.log.Info("Kubernetes API server reachable again", jobs, zap.Duration("after", lasted.Round(time.Millisecond)))
	case before == StateDenied:
		s.log.Info("Kubernetes API server accepts our credentials again", jobs,
			zap.Duration("after", lasted.Round(time.Millisecond)))
	default:
		s.log.Debug("Kubernetes API server reachable", jobs)
	}
}

// noteAnswer lets the discoveries of the server start.
func (s *server) noteAnswer() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.answered:
	default:
		close(s.answered)
	}
}

// waitAnswer waits for the first answer of the server. It returns false if ctx ends before.
func (s *server) waitAnswer(ctx context.Context) bool {
	select {
	case <-s.answered:
		return true
	case <-ctx.Done():
		return false
	}
}

// wakeUp makes run probe now.
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

// setProviders sets the discoveries that use the server. It forgets the grants of new ones: an old answer "there are no
// objects" must not count for a new discovery.
func (s *server) setProviders(providers []*provider) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range providers {
		if !slices.Contains(s.providers, p) {
			s.forget(p)
		}
	}
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

// jobs returns the sorted names of the jobs that use this server.
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
