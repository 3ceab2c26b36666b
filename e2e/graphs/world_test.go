package graphs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/mesh"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
	"github.com/envoy-scraper/envoy-scraper/e2e/process"
	"github.com/envoy-scraper/envoy-scraper/e2e/receiver"
)

const ownDashboards = "../../deploy/mixin/dashboards"

// meshDashboards returns the folder of the dashboards that the mesh's project publishes, or "" if they are not here.
func meshDashboards() string {
	folder := os.Getenv("DEMO_DASHBOARDS")
	if folder == "" {
		folder = "../../../shared/data/dashboards"
	}
	if found, err := filepath.Glob(filepath.Join(folder, "*.json")); err != nil || len(found) == 0 {
		return ""
	}
	return folder
}

// world is what the demo runs: a simulated mesh, scraped into a real Prometheus, and the graphs on it.
type world struct {
	prometheus *receiver.Receiver
	page       string // address of the graphs
	folders    []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{folders: []string{ownDashboards}}
	if folder := meshDashboards(); folder != "" {
		w.folders = []string{folder, ownDashboards}
	} else {
		t.Run("the mesh's own dashboards", func(t *testing.T) {
			t.Skip("SKIPPED: they are not beside the checkout (../shared/data/dashboards), and DEMO_DASHBOARDS " +
				"names no folder with them")
		})
	}
	var err error
	w.prometheus, err = receiver.Start(t.Context(), receiver.Config{
		Bin: parts.Tools(t, "prometheus"), Dir: t.TempDir(), Protocol: receiver.V1AndV2,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.prometheus.Close)
	startScraper(t, startMesh(t), w.prometheus.WriteURL())

	base, err := url.Parse(w.prometheus.URL())
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(Handler(Config{
		UI: parts.Script(t, "e2e/tools/vmui.sh"), Folders: w.folders, Prometheus: base, Querier: w.prometheus,
	}))
	t.Cleanup(server.Close)
	w.page = server.URL + Page
	return w
}

// group is an entry of a file_sd file.
type group struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// startMesh serves the simulated sidecars until the test ends.
func startMesh(t *testing.T) []group {
	t.Helper()
	m := mesh.New(mesh.DefaultConfig())
	if err := m.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	var groups []group
	for _, s := range m.Sidecars() {
		groups = append(groups, group{[]string{s.Addr.String()},
			map[string]string{"namespace": s.Namespace, "pod_name": s.Pod}})
	}
	return groups
}

func startScraper(t *testing.T, groups []group, writeURL string) {
	t.Helper()
	dir := t.TempDir()
	list, config := filepath.Join(dir, "pods.json"), filepath.Join(dir, "envoy-scraper.yml")
	content, err := json.Marshal(groups)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`global: {scrape_interval: 5s, scrape_timeout: 4s}
scrape_configs:
- job_name: envoy-stats
  metrics_path: /stats/prometheus
  file_sd_configs: [{files: [%q]}]
remote_write:
- url: %q
`, list, writeURL)
	if err := errors.Join(os.WriteFile(list, content, 0o600), os.WriteFile(config, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
	ports, err := process.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	parts.Run(t, process.Spec{
		Name: "envoy-scraper", Path: parts.Scraper(t), LogFile: filepath.Join(dir, "log"),
		Args: []string{"--config.file=" + config, fmt.Sprintf("--web.listen-address=127.0.0.1:%d", ports[0]),
			"--storage.path=" + filepath.Join(dir, "data"), "--self-scrape"},
	})
}

// await waits until expr has data.
func (w *world) await(t *testing.T, within time.Duration, expr string) {
	t.Helper()
	parts.Eventually(t, within, expr, func() error {
		vector, err := w.prometheus.Query(t.Context(), expr)
		if err == nil && len(vector) == 0 {
			err = errors.New("no data")
		}
		return err
	})
}
