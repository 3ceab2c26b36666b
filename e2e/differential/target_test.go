package differential

import (
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// agentName is the name of one of the two programs.
type agentName string

// The two programs. The User-Agent of a request says which one sent it.
const (
	theirs agentName = "prometheus"
	ours   agentName = "envoy-scraper"
)

var both = []agentName{theirs, ours}

func agentOf(r *http.Request) agentName {
	if strings.HasPrefix(r.UserAgent(), "Prometheus/") {
		return theirs
	}
	return ours
}

// A target plays a script separately for each agent: the n-th scrape of either agent gets the n-th answer.
type target struct {
	address string
	script  []answer

	mu    sync.Mutex // guards the fields below
	plays map[agentName]*play
}

// play is an agent's position in the script.
type play struct {
	step  int // index into the script
	since time.Time
}

// newTarget starts a target that runs until the end of the test.
func newTarget(t *testing.T, script []answer) *target {
	t.Helper()
	tg := &target{script: script, plays: map[agentName]*play{}}
	tg.address = serve(t, tg)
	return tg
}

// serve serves on a free port until the test ends. It returns the address.
func serve(t *testing.T, handler http.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("server: %v", err)
		}
	})
	return l.Addr().String()
}

// ServeHTTP implements http.Handler. Requests within sameScrape count as one scrape: an agent may follow a redirect or
// retry on a closed connection.
func (tg *target) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	tg.mu.Lock()
	p := tg.plays[agentOf(r)]
	switch {
	case p == nil:
		p = &play{since: now}
		tg.plays[agentOf(r)] = p
	case now.Sub(p.since) > sameScrape:
		*p = play{step: p.step + 1, since: now}
	}
	a := tg.script[min(p.step, len(tg.script)-1)]
	tg.mu.Unlock()
	a.serve(w, r)
}

// scrapes returns how many scrapes an agent has begun.
func (tg *target) scrapes(a agentName) int {
	tg.mu.Lock()
	defer tg.mu.Unlock()
	if p := tg.plays[a]; p != nil {
		return p.step + 1
	}
	return 0
}

// sameScrape is far less than the time between two scrapes, even if the first one is late.
const sameScrape = 150 * time.Millisecond
