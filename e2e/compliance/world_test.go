// Package compliance checks envoy-scraper as a remote write sender, with the real binary:
//
//   - TestLibrary runs Prometheus' own compliance library against it.
//   - TestSpecification has one test for each requirement of the specification that a receiver can observe.
//   - TestPrometheus writes to a real Prometheus that rejects part of each request.
//
// To run it alone:
//
//	make compliance
package compliance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/agent"
	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/oracle"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

const text = "text/plain; version=0.0.4"

// A page is a target whose content the test chooses.
type page struct {
	address string

	mu     sync.Mutex // guards the fields below
	number int        // number of requests so far
	render func(number int) (contentType, body string)
}

// newPage starts a target. Its content may be changed at any time.
func newPage(t *testing.T, at *oracle.AddressRange, host int, render func(number int) (string, string)) *page {
	t.Helper()
	l, err := at.Listen(host, oracle.StatsPort)
	if err != nil {
		t.Fatal(err)
	}
	p := &page{address: l.Addr().String(), render: render}
	server := &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("target: %v", err)
		}
	})
	return p
}

// fixed returns a page that never changes.
func fixed(contentType, body string) func(int) (string, string) {
	return func(int) (string, string) { return contentType, body }
}

// ServeHTTP implements http.Handler.
func (p *page) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	p.number++
	number, render := p.number, p.render
	p.mu.Unlock()
	contentType, body := render(number)
	if contentType == "" {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", contentType)
	_, _ = w.Write([]byte(body)) // the error is ignored: the scraper closed the connection
}

func (p *page) change(render func(int) (string, string)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.render = render
}

func (p *page) requests() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.number
}

// settings are the parts of the configuration that tests change.
type settings struct {
	job         string // more keys of the job, indented by two
	discovery   string // replaces the static list
	remoteWrite string // more keys of the endpoint, indented by two
	queue       string // more keys of queue_config, indented by four
	protocol    string // protobuf_message; empty: negotiated
}

func (s settings) yaml(target, url string) string {
	discovery := s.discovery
	if discovery == "" {
		discovery = fmt.Sprintf("  static_configs:\n  - targets: [%s]\n", target)
	}
	protocol := ""
	if s.protocol != "" {
		protocol = "  protobuf_message: " + s.protocol + "\n"
	}
	return "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\n" +
		"scrape_configs:\n- job_name: spec\n" + discovery + s.job +
		"remote_write:\n- name: spec\n  url: " + url + "\n" + protocol + s.remoteWrite +
		"  queue_config:\n    batch_send_deadline: " + deadline() + "\n" + s.queue
}

// scrapesPerRequest returns how many scrapes of a target a request may hold: COMPLIANCE_SCRAPES, or 1.
func scrapesPerRequest() int {
	n, err := strconv.Atoi(cmp.Or(os.Getenv("COMPLIANCE_SCRAPES"), "1"))
	if err != nil {
		panic("COMPLIANCE_SCRAPES is no number: " + err.Error())
	}
	return n
}

// deadline returns the time that a sample may wait, in which scrapesPerRequest scrapes fit.
func deadline() string {
	if n := scrapesPerRequest(); n > 1 {
		return fmt.Sprintf("%ds", n)
	}
	return "100ms"
}

const (
	message1 = "prometheus.WriteRequest"
	message2 = "io.prometheus.write.v2.Request"
)

// A world is one target, one receiver and the program between them.
type world struct {
	*testing.T
	addresses *oracle.AddressRange
	page      *page
	receiver  *oracle.Receiver
	agent     *agent.Agent
}

// newWorld prepares a receiver that keeps every request.
func newWorld(t *testing.T, render func(int) (string, string)) *world {
	t.Helper()
	addresses := parts.Addresses(t)
	receiver := parts.Recorder(t, addresses, 2)
	receiver.Keep()
	return &world{T: t, addresses: addresses, receiver: receiver, page: newPage(t, addresses, 3, render)}
}

// start starts the program.
func (w *world) start(binary string, s settings) {
	w.Helper()
	w.agent = startAgent(w.T, binary, s.yaml(w.page.address, w.receiver.URL))
}

func startAgent(t *testing.T, binary, yaml string) *agent.Agent {
	t.Helper()
	cfg := agent.Config{Path: binary, Dir: t.TempDir(), Name: "agent", YAML: yaml}
	if agent.Knows(t, binary, "storage.path") {
		cfg.Args = []string{"--storage.path=" + t.TempDir()}
	}
	a := agent.Start(t, cfg)
	if _, err := a.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	return a
}

// answer changes how the receiver answers.
func (w *world) answer(m oracle.Mode) {
	w.Helper()
	if err := w.receiver.Set(m); err != nil {
		w.Fatal(err)
	}
}

// until waits up to a minute for a condition.
func (w *world) until(what string, reached func() bool) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !reached() {
		select {
		case <-tick.C:
		case <-w.agent.Process.Done():
			w.Fatalf("the program exited before %s:\n%s", what, w.agent.Process.Log())
		case <-ctx.Done():
			w.Fatalf("not within a minute: %s; log:\n%s", what, w.agent.Process.Log())
		}
	}
}

// requests waits until n requests have arrived, and returns all of them.
func (w *world) requests(n int) []oracle.Request {
	w.Helper()
	w.until(fmt.Sprintf("%d requests", n), func() bool { return len(w.receiver.Requests()) >= n })
	return w.receiver.Requests()
}

// scrapes waits for n more scrapes.
func (w *world) scrapes(n int) {
	w.Helper()
	last := w.page.requests() + n
	w.until(fmt.Sprintf("%d more scrapes", n), func() bool { return w.page.requests() >= last })
}

// dropped returns the number of samples that the program counts as dropped, by reason.
func (w *world) dropped() map[string]float64 {
	w.Helper()
	m, err := w.agent.Metrics(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	byReason := m.By("envoy_scraper_remotewrite_samples_dropped_total", "reason")
	for reason, n := range byReason {
		if n == 0 {
			delete(byReason, reason)
		}
	}
	return byReason
}
