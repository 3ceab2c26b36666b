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

// questionLog is an API server that takes its time, and notes what it is asked.
type questionLog struct {
	answer func(r *http.Request) (status int, after time.Duration)

	mu    sync.Mutex // guards the following
	asked map[string]int
	open  int
	most  int // questions at the same time
}

func (q *questionLog) reply(r *http.Request) (int, string, error) {
	q.mu.Lock()
	q.asked[r.URL.Path]++
	q.open++
	q.most = max(q.most, q.open)
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.open--
	}()
	status, after := q.answer(r)
	select {
	case <-time.After(after):
		return status, `{"items":[{}]}`, nil
	case <-r.Context().Done():
		return 0, "", r.Context().Err()
	}
}

// times is how often the path was asked for: a list and a watch are two.
func (q *questionLog) times(path string) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.asked[path]
}

// kubeProvider is a discovery that needs what c says.
func kubeProvider(c kubernetes.SDConfig) *provider {
	p := podProvider()
	p.needs = kubernetesNeeds(&c)
	return p
}

// withServer runs a watcher over a fake API server in a bubble of fake time.
func withServer(t *testing.T, q *questionLog, providers []*provider, body func(t *testing.T, s *server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		q.asked = map[string]int{}
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

// TestDiscoveryStartsWithManyNamespaces: a thousand questions take longer than one may, and discovery does not wait for
// them.
func TestDiscoveryStartsWithManyNamespaces(t *testing.T) {
	c := kubernetes.SDConfig{Role: kubernetes.RolePod}
	for i := range 500 {
		c.NamespaceDiscovery.Names = append(c.NamespaceDiscovery.Names, fmt.Sprint("n", i))
	}
	p, q := kubeProvider(c), &questionLog{answer: takes(300 * time.Millisecond)}
	withServer(t, q, []*provider{p}, func(t *testing.T, s *server) {
		<-time.After(400 * time.Millisecond)
		synctest.Wait()
		if !s.isOpen() || s.currentState() != StateOK {
			t.Errorf("after the first answers: started %v, state %s", s.isOpen(), s.currentState())
		}
		<-time.After(time.Minute)
		synctest.Wait()
		if !p.knowsItsRights() {
			t.Error("the rights are not known after a minute")
		}
		if n := q.times("/api/v1/namespaces/n499/pods"); n != 2 {
			t.Errorf("asked %d times about the last namespace, want a list and a watch", n)
		}
		if q.most > concurrentQuestions {
			t.Errorf("%d questions at once, want at most %d", q.most, concurrentQuestions)
		}
	})
}

// TestDiscoveryStartsWithManyJobs: questions that several discoveries share are asked once.
func TestDiscoveryStartsWithManyJobs(t *testing.T) {
	var providers []*provider
	for i := range 10 {
		providers = append(providers, kubeProvider(kubernetes.SDConfig{Role: kubernetes.RoleEndpoint,
			Selectors: []kubernetes.SelectorConfig{
				{Role: kubernetes.RoleEndpoint, Label: fmt.Sprint("app=a", i)},
			}}))
	}
	q := &questionLog{answer: takes(2 * time.Second)}
	withServer(t, q, providers, func(t *testing.T, s *server) {
		<-time.After(3 * time.Second)
		synctest.Wait()
		if !s.isOpen() {
			t.Error("not started after the first answers")
		}
		<-time.After(time.Minute)
		synctest.Wait()
		for i, p := range providers {
			if !p.knowsItsRights() {
				t.Errorf("job %d: the rights are not known after a minute", i)
			}
		}
		if n := q.times("/api/v1/pods"); n != 2 {
			t.Errorf("asked %d times about pods, want a list and a watch for all jobs", n)
		}
	})
}

// TestAQuestionThatIsNeverAnswered keeps neither discovery from starting nor other questions from being asked, and what
// was answered is not asked again.
func TestAQuestionThatIsNeverAnswered(t *testing.T) {
	var mute atomic.Bool
	mute.Store(true)
	q := &questionLog{answer: func(r *http.Request) (int, time.Duration) {
		if mute.Load() && strings.HasSuffix(r.URL.Path, "/services") {
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
			t.Errorf("asked %d times about pods, want a list and a watch", n)
		}
		if n := q.times("/api/v1/services"); n < 3 {
			t.Errorf("asked %d times about services, want again and again", n)
		}
		mute.Store(false)
		<-time.After(time.Minute)
		synctest.Wait()
		if !p.knowsItsRights() {
			t.Error("the rights are not known though all was answered")
		}
	})
}

// TestABusyServerLetsDiscoveryStart: 429 is an answer, though it leaves the right unknown.
func TestABusyServerLetsDiscoveryStart(t *testing.T) {
	q := &questionLog{answer: func(*http.Request) (int, time.Duration) { return http.StatusTooManyRequests, 0 }}
	p := podProvider()
	withServer(t, q, []*provider{p}, func(t *testing.T, s *server) {
		<-time.After(time.Minute)
		synctest.Wait()
		if !s.isOpen() || s.currentState() != StateOK || p.knowsItsRights() {
			t.Errorf("started %v, state %s, rights known %v", s.isOpen(), s.currentState(), p.knowsItsRights())
		}
	})
}

// TestAServerThatGoesAwayIsNotAskedEverything: a thousand questions that nobody answers say no more than one.
func TestAServerThatGoesAwayIsNotAskedEverything(t *testing.T) {
	c := kubernetes.SDConfig{Role: kubernetes.RolePod}
	for i := range 500 {
		c.NamespaceDiscovery.Names = append(c.NamespaceDiscovery.Names, fmt.Sprint("n", i))
	}
	var asked atomic.Int64
	log, _ := observedLog()
	s := newServer(serverKey{}, fakeClient(func(*http.Request) (int, string, error) {
		if asked.Add(1) > 100 {
			return 0, "", errors.New("connection refused")
		}
		return http.StatusOK, `{"items":[{}]}`, nil
	}), log, testPace())
	s.setProviders([]*provider{kubeProvider(c)})
	s.probe(t.Context())
	if n := asked.Load(); s.currentState() != StateUnreachable || n > 100+2*concurrentQuestions {
		t.Errorf("state %s after %d questions", s.currentState(), n)
	}
	before := asked.Load()
	s.probe(t.Context())
	if n := asked.Load() - before; n > concurrentQuestions {
		t.Errorf("%d questions more while there is no answer", n)
	}
}

// TestARightThatIsGoneIsAskedFor: the word of a watch counts for more than an old answer.
func TestARightThatIsGoneIsAskedFor(t *testing.T) {
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

// TestAServerThatLeavesOneQuestionOpenIsReachable: all rights but one are known, and objects were found. That the one
// question is never answered does not make the server unreachable.
func TestAServerThatLeavesOneQuestionOpenIsReachable(t *testing.T) {
	q := &questionLog{answer: func(r *http.Request) (int, time.Duration) {
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
			t.Errorf("state %s, want ok; asked %d times whether it is there", s.currentState(), q.times("/version"))
		}
	})
}

// TestAServerThatAnswersListsAloneIsReachable: every watch hangs, so that a probe of many namespaces ends early and no
// right is known. The server has answered lists and /version, and is reachable.
func TestAServerThatAnswersListsAloneIsReachable(t *testing.T) {
	c := kubernetes.SDConfig{Role: kubernetes.RolePod}
	for i := range 3 * concurrentQuestions {
		c.NamespaceDiscovery.Names = append(c.NamespaceDiscovery.Names, fmt.Sprint("n", i))
	}
	q := &questionLog{answer: func(r *http.Request) (int, time.Duration) {
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
				t.Fatalf("state %s, want ok; /version asked for %d times", s.currentState(), q.times("/version"))
			}
		}
	})
}

// TestQuestionsAndPagesDoNotWaitForEachOther: a page that shows a discovery locks the discovery before its server.
// Drawing up the questions of a probe must take the locks in the same order.
func TestQuestionsAndPagesDoNotWaitForEachOther(t *testing.T) {
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
	both.Wait() // for ever if the order is not the same
}
