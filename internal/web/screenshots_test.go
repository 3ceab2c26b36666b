package web

import (
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// maxScreenshotBytes keeps the repository small.
const maxScreenshotBytes = 120_000

// screenshots are the pages that docs/images shows.
var screenshots = []struct {
	file, page    string
	width, height int
}{
	{"overview.png", "/", 1200, 810},
	{"service-discovery.png", "/service-discovery?state=dropped", 1200, 730},
}

// storyMesh is what the screenshots show: one pod is down, some pods were dropped, and one receiver is behind.
func storyMesh(t *testing.T) *fakeMesh {
	const job, port = "envoy-stats", "http-envoy-prom"
	m := newFakeMesh(t)
	m.flags = nil
	m.loaded = Loaded{At: fakeNow.Add(-26 * time.Hour)}
	m.providers = []discovery.ProviderStatus{{
		Job: job, Kind: "kubernetes", Detail: "pod", Server: "https://10.96.0.1:443", State: discovery.StateOK,
		Reachable: true, Synced: true, Groups: 15, Targets: 16, LastUpdate: fakeNow.Add(-40 * time.Second),
	}}
	m.endpoints = []remotewrite.EndpointStatus{
		{
			Name: "main", URL: "http://prometheus.monitoring:9090/api/v1/write", Protocol: "2.0", Lanes: 1,
			LastSuccess: fakeNow.Add(-800 * time.Millisecond),
		},
		{
			Name: "long-term", URL: "https://metrics.example.com/api/v1/push", Protocol: "1.0", Lanes: 4,
			PendingSamples: 184_320, PendingBytes: 3 << 20, OldestPending: fakeNow.Add(-95 * time.Second),
			LastSuccess: fakeNow.Add(-96 * time.Second), Unreachable: true, PendingLimit: 1 << 30,
			FullIn:        9 * time.Hour,
			LastError:     `Post "https://metrics.example.com/api/v1/push": dial tcp: connection refused`,
			LastErrorTime: fakeNow.Add(-4 * time.Second),
		},
	}
	n := 0
	address := func() string { n++; return fmt.Sprintf("10.0.%d.%d:15090", n/9, 4+7*(n%9)) }
	for _, app := range []string{"cart", "catalog", "checkout", "payments"} {
		for i := range 3 {
			health := scrape.HealthUp
			if app == "payments" && i == 2 {
				health = scrape.HealthDown
			}
			m.discover(job, health, storyPod(job, "shop", fmt.Sprintf("%s-7d9c5-%d", app, i), app, address(), port))
		}
	}
	m.discover(job, scrape.HealthUp, storyPod(job, "istio-system", "istio-ingressgateway-5f6b8-0",
		"istio-ingressgateway", address(), port))
	m.discover(job, "", pod(job, "shop", "nightly-report-28", "10.0.2.8:15090", port, "__meta_kubernetes_pod_phase",
		"Succeeded"))
	m.discover(job, "", pod(job, "shop", "cart-7d9c5-0", "10.0.0.11:8080", "http",
		"__meta_kubernetes_pod_container_name", "cart",
		"__meta_kubernetes_pod_container_port_number", "8080"))
	m.discover(job, "", pod(job, "kube-system", "coredns-6f4c-0", "10.0.2.9:53", "dns",
		"__meta_kubernetes_pod_container_name", "coredns",
		"__meta_kubernetes_pod_container_port_number", "53"))
	return m
}

func storyPod(job, namespace, name, app, address, port string) labels.Labels {
	return pod(job, namespace, name, address, port, "__meta_kubernetes_pod_label_app", app)
}

// TestScreenshots writes docs/images, when `make screenshots` asks for it.
func TestScreenshots(t *testing.T) {
	chromium := os.Getenv("SCREENSHOTS_CHROMIUM")
	if chromium == "" {
		t.Skip("`make screenshots` sets SCREENSHOTS_CHROMIUM")
	}
	s := storyMesh(t).server(Config{})
	pages := httptest.NewServer(s.http.Handler)
	defer pages.Close()
	for _, shot := range screenshots {
		file := filepath.Join("..", "..", "docs", "images", shot.file)
		cmd := exec.CommandContext(t.Context(), chromium, "--headless", "--no-sandbox", "--disable-gpu",
			"--disable-quic", "--no-first-run",
			"--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
			"--user-data-dir="+t.TempDir(), fmt.Sprintf("--window-size=%d,%d", shot.width, shot.height),
			"--screenshot="+file, pages.URL+shot.page)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", shot.file, err, out)
		}
	}
}

// TestScreenshotsAreThere checks what is committed.
func TestScreenshotsAreThere(t *testing.T) {
	for _, shot := range screenshots {
		info, err := os.Stat(filepath.Join("..", "..", "docs", "images", shot.file))
		if err != nil {
			t.Errorf("%v (make screenshots writes it)", err)
		} else if info.Size() > maxScreenshotBytes {
			t.Errorf("docs/images/%s has %d bytes, want at most %d", shot.file, info.Size(), maxScreenshotBytes)
		}
	}
}
