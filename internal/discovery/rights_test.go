package discovery

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/discovery/kubernetes"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"go.uber.org/zap"
)

// slowAPI is an API server with slow responses. It counts the requests.
type slowAPI struct {
	respond func(r *http.Request) (status int, after time.Duration)

	mu       sync.Mutex     // guards the following
	requests map[string]int // by path
	open     int            // concurrent requests
	maxOpen  int
}

func (q *slowAPI) reply(r *http.Request) (int, string, error) {
	q.mu.Lock()
	q.requests[r.URL.Path]++
	q.open++
	q.maxOpen = max(q.maxOpen, q.open)
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.open--
	}()
	status, after := q.respond(r)
	select {
	case <-time.After(after):
		return status, `{"items":[{}]}`, nil
	case <-r.Context().Done():
		return 0, "", r.Context().Err()
	}
}

// times returns the number of requests for a path. A list and a watch are two.
func (q *slowAPI) times(path string) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.requests[path]
}

// kubeProvider returns a provider of a Kubernetes discovery.
func kubeProvider(c kubernetes.SDConfig) *provider {
	p := podProvider()
	p.needs = kubernetesNeeds(&c)
	return p
}

// withServer runs a server over a fake API server, with a fake clock.
func withServer(t *testing.T, q *slowAPI, providers []*provider, body func(t *testing.T, s *server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		q.requests = map[string]int{}
		s := newServer(serverKey{}, fakeClient(q.reply), zap.NewNop(), defaultPace())
		s.setProviders(providers)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); s.run(ctx) }()
		body(t, s)
		cancel()
		<-done
	})
}

// isOpen reports whether discoveries may start.
func (s *server) isOpen() bool {
	select {
	case <-s.answered:
		return true
	default:
		return false
	}
}

func (p *provider) knowsItsRights() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.rights.asked.IsZero()
}

func takes(d time.Duration) func(*http.Request) (int, time.Duration) {
	return func(*http.Request) (int, time.Duration) { return http.StatusOK, d }
}

// TestDiscoveryStartsWithManyNamespaces: checking the rights for 500 namespaces takes long. Discovery starts after the
// first responses.
func TestDiscoveryStartsWithManyNamespaces(t *testing.T) {
	c := kubernetes.SDConfig{Role: kubernetes.RolePod}
	for i := range 500 {
		c.NamespaceDiscovery.Names = append(c.NamespaceDiscovery.Names, fmt.Sprint("n", i))
	}
	p, q := kubeProvider(c), &slowAPI{respond: takes(300 * time.Millisecond)}
	withServer(t, q, []*provider{p}, func(t *testing.T, s *server) {
		<-time.After(400 * time.Millisecond)
		synctest.Wait()
		if !s.isOpen() || s.currentState() != StateOK {
			t.Errorf("after the first responses: started %v, state %s", s.isOpen(), s.currentState())
		}
		<-time.After(time.Minute)
		synctest.Wait()
		if !p.knowsItsRights() {
			t.Error("the rights are not known after a minute")
		}
		if n := q.times("/api/v1/namespaces/n499/pods"); n != 2 {
			t.Errorf("%d requests about the last namespace, want a list and a watch", n)
		}
		if q.maxOpen > concurrentQuestions {
			t.Errorf("%d concurrent requests, want at most %d", q.maxOpen, concurrentQuestions)
		}
	})
}

// TestDiscoveryStartsWithManyJobs: a right that several discoveries need is checked once.
func TestDiscoveryStartsWithManyJobs(t *testing.T) {
	var providers []*provider
	for i := range 10 {
		providers = append(providers, kubeProvider(kubernetes.SDConfig{Role: kubernetes.RoleEndpoint,
			Selectors: []kubernetes.SelectorConfig{
				{Role: kubernetes.RoleEndpoint, Label: fmt.Sprint("app=a", i)},
			}}))
	}
	q := &slowAPI{respond: takes(2 * time.Second)}
	withServer(t, q, providers, func(t *testing.T, s *server) {
		<-time.After(3 * time.Second)
		synctest.Wait()
		if !s.isOpen() {
			t.Error("not started after the first responses")
		}
		<-time.After(time.Minute)
		synctest.Wait()
		for i, p := range providers {
			if !p.knowsItsRights() {
				t.Errorf("job %d: the rights are not known after a minute", i)
			}
		}
		if n := q.times("/api/v1/pods"); n != 2 {
			t.Errorf("%d requests about pods, want a list and a watch for all jobs", n)
		}
	})
}

// TestARightThatCannotBeChecked: requests about one right get no response. Discovery starts, other rights are checked,
// and each is checked once.
func TestARightThatCannotBeChecked(t *testing.T) {
	var silent atomic.Bool
	silent.Store(true)
	q := &slowAPI{respond: func(r *http.Request) (int, time.Duration) {
		if silent.Load() && strings.HasSuffix(r.URL.Path, "/services") {
			return http.StatusOK, time.Hour
		}
		return http.StatusOK, 2 * time.Second
	}}
	p := kubeProvider(kubernetes.SDConfig{Role: kubernetes.RoleEndpoint})
	withServer(t, q, []*provider{p}, func(t *testing.T, s *server) {
		<-time.After(2 * time.Minute)
		synctest.Wait()
		if !s.isOpen() || s.currentState() != StateOK || p.knowsItsRights() {
			t.Errorf("started %v, state %s, rights known %v", s.isOpen(), s.currentState(), p.knowsItsRights())
		}
		if n := q.times("/api/v1/pods"); n != 2 {
			t.Errorf("%d requests about pods, want a list and a watch", n)
		}
		if n := q.times("/api/v1/services"); n < 3 {
			t.Errorf("%d requests about services, want retries", n)
		}
		silent.Store(false)
		<-time.After(time.Minute)
		synctest.Wait()
		if !p.knowsItsRights() {
			t.Error("the rights are not known after all responses")
		}
	})
}

// TestABusyServerLetsDiscoveryStart: status 429 shows that the server is reachable, but not whether a right is granted.
func TestABusyServerLetsDiscoveryStart(t *testing.T) {
	q := &slowAPI{respond: func(*http.Request) (int, time.Duration) { return http.StatusTooManyRequests, 0 }}
	p := podProvider()
	withServer(t, q, []*provider{p}, func(t *testing.T, s *server) {
		<-time.After(time.Minute)
		synctest.Wait()
		if !s.isOpen() || s.currentState() != StateOK || p.knowsItsRights() {
			t.Errorf("started %v, state %s, rights known %v", s.isOpen(), s.currentState(), p.knowsItsRights())
		}
	})
}

// TestAProbeEndsWhenTheServerGoesAway: when requests begin to fail, the probe does not check the remaining rights. The
// failures take a second of the fake clock, so that all responses are counted before the first failure.
func TestAProbeEndsWhenTheServerGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := kubernetes.SDConfig{Role: kubernetes.RolePod}
		for i := range 500 {
			c.NamespaceDiscovery.Names = append(c.NamespaceDiscovery.Names, fmt.Sprint("n", i))
		}
		var requests atomic.Int64
		log, _ := observedLog()
		s := newServer(serverKey{}, fakeClient(func(*http.Request) (int, string, error) {
			if requests.Add(1) > 100 {
				<-time.After(time.Second)
				return 0, "", errors.New("connection refused")
			}
			return http.StatusOK, `{"items":[{}]}`, nil
		}), log, testPace())
		s.setProviders([]*provider{kubeProvider(c)})
		s.probe(t.Context())
		if n := requests.Load(); s.currentState() != StateUnreachable || n > 100+2*concurrentQuestions {
			t.Errorf("state %s after %d requests", s.currentState(), n)
		}
		before := requests.Load()
		s.probe(t.Context())
		if n := requests.Load() - before; n > concurrentQuestions+1 { // the questions in flight, and /version
			t.Errorf("%d more requests while the server is away", n)
		}
	})
}

// TestARevokedRightIsCheckedAgain: after a watch was refused, the right is checked again although it was granted
// before.
func TestARevokedRightIsCheckedAgain(t *testing.T) {
	var refused atomic.Bool
	log, logs := observedLog()
	s := newServer(serverKey{}, fakeClient(func(*http.Request) (int, string, error) {
		if refused.Load() {
			return http.StatusForbidden, "", nil
		}
		return http.StatusOK, `{"items":[{}]}`, nil
	}), log, testPace())
	p := podProvider()
	s.setProviders([]*provider{p})
	s.probe(t.Context())
	refused.Store(true)
	s.doubtRights(p)
	s.probe(t.Context())
	s.probe(t.Context())
	if p.rights.denied == "" || logs.FilterMessageSnippet("refuses rights that discovery needs").Len() != 1 {
		t.Errorf("denied %q, log %v", p.rights.denied, logs.All())
	}
	refused.Store(false)
	s.probe(t.Context())
	if p.rights.denied != "" {
		t.Errorf("still denied: %q", p.rights.denied)
	}
}

// TestOneUnansweredRequestDoesNotMakeTheServerUnreachable: all rights except one are known, and objects were found. The
// requests about that one right get no response.
func TestOneUnansweredRequestDoesNotMakeTheServerUnreachable(t *testing.T) {
	q := &slowAPI{respond: func(r *http.Request) (int, time.Duration) {
		if strings.HasSuffix(r.URL.Path, "/services") {
			return http.StatusOK, time.Hour
		}
		return http.StatusOK, 2 * time.Second
	}}
	p := kubeProvider(kubernetes.SDConfig{Role: kubernetes.RoleEndpoint})
	withServer(t, q, []*provider{p}, func(t *testing.T, s *server) {
		<-time.After(5 * time.Second)
		p.note([]*targetgroup.Group{listed("one", "10.0.0.1:1")}, time.Now())
		<-time.After(2 * time.Minute)
		synctest.Wait()
		if s.currentState() != StateOK || q.times("/version") == 0 {
			t.Errorf("state %s, want ok; %d requests for /version", s.currentState(), q.times("/version"))
		}
	})
}

// TestAServerThatAnswersOnlyListsIsReachable: every watch hangs, so that a probe of many namespaces ends early and no
// right is known. The server responds to lists and /version, so it is reachable.
func TestAServerThatAnswersOnlyListsIsReachable(t *testing.T) {
	c := kubernetes.SDConfig{Role: kubernetes.RolePod}
	for i := range 3 * concurrentQuestions {
		c.NamespaceDiscovery.Names = append(c.NamespaceDiscovery.Names, fmt.Sprint("n", i))
	}
	q := &slowAPI{respond: func(r *http.Request) (int, time.Duration) {
		if r.URL.Query().Get("watch") != "" {
			return http.StatusOK, time.Hour
		}
		return http.StatusOK, time.Second
	}}
	withServer(t, q, []*provider{kubeProvider(c)}, func(t *testing.T, s *server) {
		for range 60 {
			<-time.After(2 * time.Second)
			synctest.Wait()
			if s.currentState() != StateOK {
				t.Fatalf("state %s, want ok; %d requests for /version", s.currentState(), q.times("/version"))
			}
		}
	})
}

// TestProbeAndStatusTakeLocksInTheSameOrder: Status locks a provider before its server. The probe must do the same, or
// both could wait for each other forever.
func TestProbeAndStatusTakeLocksInTheSameOrder(t *testing.T) {
	s := &server{grants: map[need]grant{}}
	p := kubeProvider(kubernetes.SDConfig{Role: kubernetes.RolePod})
	var both sync.WaitGroup
	both.Go(func() {
		for range 20_000 {
			p.mu.Lock()
			s.mu.Lock()
			s.cheap = 0
			s.mu.Unlock()
			p.mu.Unlock()
		}
	})
	both.Go(func() {
		for range 20_000 {
			s.questions([]*provider{p})
		}
	})
	both.Wait() // deadlocks if the order differs
}
