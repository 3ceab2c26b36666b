package mixin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/e2e/envoyproxy"
	"github.com/envoy-scraper/envoy-scraper/e2e/mesh"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
	"github.com/envoy-scraper/envoy-scraper/e2e/process"
	"github.com/envoy-scraper/envoy-scraper/e2e/receiver"
)

const envoyStats = "127.0.17.30:15090" // stats address of the real Envoy

// world is a simulated mesh and a real Envoy, scraped into a real Prometheus.
type world struct {
	prometheus *receiver.Receiver
	envoy      *envoyproxy.Proxy // nil without a binary
}

// group is an entry of a file_sd file.
type group struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

func newWorld(t *testing.T, tools string) *world {
	t.Helper()
	w := &world{}
	groups := startMesh(t)
	var err error
	if path := parts.Envoy(t); path != "" {
		w.envoy, err = envoyproxy.Start(t.Context(), envoyproxy.Config{Path: path, Dir: t.TempDir(), Stats: envoyStats})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.envoy.Close)
		groups = append(groups, group{[]string{envoyStats}, map[string]string{"namespace": "real", "pod_name": "real"}})
	}
	w.prometheus, err = receiver.Start(t.Context(),
		receiver.Config{Bin: tools, Dir: t.TempDir(), Protocol: receiver.V1AndV2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.prometheus.Close)
	// No server listens on this address. Its scrapes fail, which the panels about failures need.
	groups = append(groups, group{[]string{"127.0.17.31:15090"},
		map[string]string{"namespace": "gone", "pod_name": "gone"}})
	startScraper(t, groups, w.prometheus.WriteURL())
	return w
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
	// The second job exceeds its limit. The third job only provides metrics of Kubernetes discovery: no API server
	// answers it.
	text := fmt.Sprintf(`global: {scrape_interval: 2s, scrape_timeout: 2s}
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
remote_write:
- name: main
  url: %[2]q
`, list, writeURL)
	if err := errors.Join(os.WriteFile(list, content, 0o600), os.WriteFile(config, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
	ports, err := process.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", ports[0])
	parts.Run(t, process.Spec{
		Name: "envoy-scraper", Path: parts.Scraper(t), LogFile: filepath.Join(dir, "log"),
		Args: []string{"--config.file=" + config, "--web.listen-address=" + address, "--storage.path=" +
			filepath.Join(dir, "data"), "--self-scrape"},
	})
}
