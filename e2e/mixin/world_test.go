package mixin

import (
	"testing"

	"github.com/envoy-scraper/envoy-scraper/e2e/envoyproxy"
	"github.com/envoy-scraper/envoy-scraper/e2e/mesh"
	"github.com/envoy-scraper/envoy-scraper/e2e/meshtest"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
	"github.com/envoy-scraper/envoy-scraper/e2e/receiver"
)

const (
	envoyStats = "127.0.17.30:15090" // stats address of the real Envoy
	nobody     = "127.0.17.31:15090" // no server listens here: panels about failures need scrapes that fail
)

// configuration has three jobs. The second one exceeds its limit. The third one only provides metrics of Kubernetes
// discovery: no API server answers it.
const configuration = `
global: {scrape_interval: 2s, scrape_timeout: 2s}
scrape_configs:
- job_name: envoy-stats
  metrics_path: /stats/prometheus
  file_sd_configs: [{files: [%[1]q]}]
- job_name: limited
  metrics_path: /stats/prometheus
  sample_limit: 1
  file_sd_configs: [{files: [%[1]q]}]
- job_name: pods
  kubernetes_sd_configs: [{role: pod, api_server: "http://127.0.0.1:1"}]
`

// world is a simulated mesh and a real Envoy, scraped into a real Prometheus.
type world struct {
	prometheus *receiver.Receiver
	envoy      *envoyproxy.Proxy // nil without a binary
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{prometheus: parts.Prometheus(t, receiver.Config{Protocol: receiver.V1AndV2})}
	groups := meshtest.Groups(meshtest.Start(t, mesh.DefaultConfig()))
	groups = append(groups, meshtest.NewGroup(nobody, "gone", "gone"))
	if path := parts.Envoy(t); path != "" {
		var err error
		w.envoy, err = envoyproxy.Start(t.Context(), envoyproxy.Config{Path: path, Dir: t.TempDir(), Stats: envoyStats})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.envoy.Close)
		groups = append(groups, meshtest.NewGroup(envoyStats, "real", "real"))
	}
	meshtest.Scrape(t, groups, configuration, w.prometheus)
	return w
}
