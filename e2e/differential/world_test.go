package differential

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
	"github.com/envoy-scraper/envoy-scraper/e2e/process"
)

// interval applies to every scrape. timeout is shorter, so that a hanging scrape does not cost the next one.
const (
	interval = 2 * time.Second
	timeout  = 1500 * time.Millisecond
)

// A world is both agents, their targets and their receiver.
type world struct {
	*testing.T
	dir      string
	recorder *recorder
	agents   map[agentName]*process.Process
	urls     map[agentName]string

	endpoints []endpoint
	explained map[string]int // number of deliberate differences, by reason
}

// newWorld starts the receiver.
func newWorld(t *testing.T) *world {
	return &world{
		T: t, dir: t.TempDir(), recorder: newRecorder(t), endpoints: endpoints(t),
		agents: map[agentName]*process.Process{}, urls: map[agentName]string{}, explained: map[string]int{},
	}
}

// settings returns the sections global and remote_write of the configuration: every endpoint, with everything sent.
func (w *world) settings() string {
	var b strings.Builder
	fmt.Fprintf(&b, "global:\n  scrape_interval: %v\n  scrape_timeout: %v\n", model.Duration(interval),
		model.Duration(timeout))
	b.WriteString("  external_labels: {cluster: one, zone: external}\n")
	b.WriteString("remote_write:\n")
	for _, e := range w.endpoints {
		fmt.Fprintf(&b, "- name: v%d-%d\n  url: %s%s\n  protobuf_message: %s\n", e.version, e.scrapes, w.recorder.url,
			e.path(), e.message())
		b.WriteString("  send_exemplars: true\n  send_native_histograms: true\n" +
			"  metadata_config: {send: true, send_interval: 2s}\n")
		fmt.Fprintf(&b, "  queue_config: {batch_send_deadline: %v}\n", model.Duration(e.delay()))
	}
	return b.String()
}

// write writes the configuration to the file that both agents read.
func (w *world) write(yaml string) string {
	w.Helper()
	file := filepath.Join(w.dir, "agents.yml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		w.Fatal(err)
	}
	return file
}

// reload makes both agents reload another configuration.
func (w *world) reload(yaml string) {
	w.Helper()
	w.write(yaml)
	for _, p := range w.agents {
		if err := p.Signal(syscall.SIGHUP); err != nil {
			w.Fatal(err)
		}
	}
}

// start runs both agents with a configuration.
func (w *world) start(yaml string) {
	w.Helper()
	file := w.write(yaml)
	ports, err := process.FreePorts(2)
	if err != nil {
		w.Fatal(err)
	}
	w.run(theirs, filepath.Join(parts.Tools(w.T, "prometheus"), "prometheus"), ports[0], "--agent",
		"--config.file="+file, "--storage.agent.path="+filepath.Join(w.dir, "prometheus"))
	w.run(ours, parts.Scraper(w.T), ports[1], "--config.file="+file,
		"--storage.path="+filepath.Join(w.dir, "envoy-scraper"))
}

func (w *world) run(name agentName, path string, port int, args ...string) {
	w.Helper()
	p, err := process.Start(process.Spec{
		Name: string(name), Path: path, LogFile: filepath.Join(w.dir, string(name)+".log"),
		Args: append(args, fmt.Sprintf("--web.listen-address=127.0.0.1:%d", port)),
	})
	if err != nil {
		w.Fatal(err)
	}
	w.agents[name], w.urls[name] = p, fmt.Sprintf("http://127.0.0.1:%d", port)
	w.Cleanup(func() {
		p.Kill()
		if w.Failed() {
			w.Logf("log of %s:\n%s", name, tail(p.Log(), 60))
		}
	})
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	if err := p.WaitReady(ctx, process.Ready(w.urls[name])); err != nil {
		w.Fatal(err)
	}
}

// until waits for a condition.
func (w *world) until(within time.Duration, what string, reached func() bool) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), within)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !reached() {
		select {
		case <-tick.C:
		case <-w.agents[ours].Done():
			w.Fatalf("envoy-scraper exited before %s", what)
		case <-w.agents[theirs].Done():
			w.Fatalf("Prometheus exited before %s", what)
		case <-ctx.Done():
			w.Fatalf("not within %v: %s", within, what)
		}
	}
}

func tail(s string, lines int) string {
	all := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
