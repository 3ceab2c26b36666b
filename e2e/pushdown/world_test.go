package pushdown

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/agent"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
	"github.com/envoy-scraper/envoy-scraper/e2e/receiver"
)

const statsPath = "/stats/prometheus"

// patience is how long a test waits for what happens within seconds on an idle machine.
const patience = time.Minute

// Values of push_down.
const (
	auto = "auto"
	off  = "off"
)

// every is how many scrapes of a target there are for one whole page.
const every = 40

// job is a job of the program under test.
type job struct {
	name    string
	targets []string
	rules   string // metric_relabel_configs
}

const (
	keepRule = "  - {source_labels: [__name__], regex: '%s', action: keep}\n"
	dropRule = "  - {source_labels: [__name__], regex: '%s', action: drop}\n"
)

// world is a Prometheus that stores, and the program under test.
type world struct {
	*testing.T
	scraper string
	store   *receiver.Receiver
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{T: t, scraper: parts.Scraper(t),
		store: parts.Prometheus(t, receiver.Config{Protocol: receiver.V1AndV2})}
}

// at returns the same world for a subtest.
func (w *world) at(t *testing.T) *world { return &world{T: t, scraper: w.scraper, store: w.store} }

// start runs an envoy-scraper with the jobs. Its series have the label agent.
func (w *world) start(name, pushDown string, interval time.Duration, jobs ...job) *agent.Agent {
	w.Helper()
	dir := w.TempDir()
	var b strings.Builder
	fmt.Fprintf(&b, "global:\n  scrape_interval: %[1]v\n  scrape_timeout: %[1]v\n  external_labels: {agent: %[2]s}\n",
		model.Duration(interval), name)
	b.WriteString("scrape_configs:\n")
	for _, j := range jobs {
		fmt.Fprintf(&b, "- job_name: %s\n  metrics_path: %s\n  static_configs: [{targets: ['%s']}]\n", j.name,
			statsPath, strings.Join(j.targets, "', '"))
		if j.rules != "" {
			b.WriteString("  metric_relabel_configs:\n" + j.rules)
		}
	}
	fmt.Fprintf(&b, "remote_write: [{url: %q}]\nenvoy_scraper:\n  jobs:\n", w.store.WriteURL())
	for _, j := range jobs {
		fmt.Fprintf(&b, "  - {name: %s, push_down: %s, pace: fixed}\n", j.name, pushDown)
	}
	a := agent.Start(w.T, agent.Config{Path: w.scraper, Dir: dir, Name: name, YAML: b.String(),
		Args: []string{"--storage.path=" + dir + "/data"}})
	a.LogIfFailed(w.T)
	if _, err := a.WaitReady(w.Context()); err != nil {
		w.Fatal(err)
	}
	return a
}

// scraped waits until each agent has ended n more scrapes of each target.
func (w *world) scraped(agents map[string]*agent.Agent, n int, interval time.Duration, jobs ...job) {
	w.Helper()
	done := func(a *agent.Agent) map[string]float64 {
		m, err := a.Metrics(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		return m.By("envoy_scraper_scrape_scrapes_total", "job")
	}
	before := map[string]map[string]float64{}
	for name, a := range agents {
		before[name] = done(a)
	}
	parts.Eventually(w.T, 4*time.Duration(n)*interval+patience, fmt.Sprintf("%d more scrapes", n), func() error {
		for name, a := range agents {
			now := done(a)
			for _, j := range jobs {
				if got := now[j.name] - before[name][j.name]; got < float64(n*len(j.targets)) {
					return fmt.Errorf("agent %s, job %s: %v", name, j.name, got)
				}
			}
		}
		return nil
	})
}

// snapshot returns a folder with all that is stored.
func (w *world) snapshot() string {
	w.Helper()
	folder, err := w.store.Snapshot(w.Context())
	if err == nil {
		err = os.Mkdir(filepath.Join(folder, "wal"), 0o700) // promtool reads no database without one
	}
	if err != nil {
		w.Fatal(err)
	}
	return folder
}

// stop ends an agent in good order, so that all it has scraped is stored.
func (w *world) stop(a *agent.Agent) {
	w.Helper()
	if code := a.Process.Stop(20 * time.Second); code != 0 {
		w.Fatalf("exit code %d", code)
	}
}
