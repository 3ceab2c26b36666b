package graphs

import (
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/mesh"
	"github.com/envoy-scraper/envoy-scraper/e2e/meshtest"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
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
	w.prometheus = parts.Prometheus(t, receiver.Config{Protocol: receiver.V1AndV2})
	meshtest.Scrape(t, meshtest.Groups(meshtest.Start(t, mesh.DefaultConfig())), `
global: {scrape_interval: 5s, scrape_timeout: 4s}
scrape_configs:
- job_name: envoy-stats
  metrics_path: /stats/prometheus
  file_sd_configs: [{files: [%[1]q]}]
`, w.prometheus)

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

// await waits until expr has data.
func (w *world) await(t *testing.T, within time.Duration, expr string) {
	t.Helper()
	parts.Eventually(t, within, expr, func() error { return meshtest.HasData(t.Context(), w.prometheus, expr) })
}
