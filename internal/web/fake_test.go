package web

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	promrelabel "github.com/prometheus/prometheus/model/relabel"
	"go.uber.org/zap"
	"go.yaml.in/yaml/v2"

	"github.com/envoy-scraper/envoy-scraper/internal/cost"
	"github.com/envoy-scraper/envoy-scraper/internal/diagnose"
	"github.com/envoy-scraper/envoy-scraper/internal/diagnose/show"
	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/history"
	"github.com/envoy-scraper/envoy-scraper/internal/relabel"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// fakeNow is the time of all golden files.
var fakeNow = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const fakeRules = `
- {source_labels: [__meta_kubernetes_pod_phase], regex: Failed|Succeeded, action: drop}
- {source_labels: [__meta_kubernetes_pod_container_port_name], regex: .*-envoy-prom, action: keep}
- source_labels: [__address__, __meta_kubernetes_pod_annotation_prometheus_io_port]
  regex: ([^:]+)(?::\d+)?;(\d+)
  replacement: $1:15090
  target_label: __address__
- {regex: __meta_kubernetes_pod_label_(.+), action: labeldrop}
- {source_labels: [__meta_kubernetes_namespace], target_label: namespace}
- {source_labels: [__meta_kubernetes_pod_name], target_label: pod_name}
`

// fakeMesh returns the data that the real parts would return. Its fields may be changed before it is served.
type fakeMesh struct {
	rules     map[string][]*promrelabel.Config
	pools     []scrape.PoolStatus
	providers []discovery.ProviderStatus
	endpoints []remotewrite.EndpointStatus
	yaml      string
	yamlErr   error
	reload    func(context.Context) error
	notReady  string
	loaded    Loaded
	lines     []history.Line
	flags     map[string]string
	pods      diagnose.Report
	podFacts  func() ([]show.Fact, error)
	preview   func(ctx context.Context, job, url string) (*scrape.Preview, error)
	costRows  []cost.Row
	costErr   error
	sums      fakeAggregates

	costReport func(cost.Query) *cost.Report // instead of one with costRows
}

func newFakeMesh(t testing.TB) *fakeMesh {
	t.Helper()
	m := &fakeMesh{
		loaded: Loaded{At: fakeNow.Add(-3 * time.Hour)},
		rules:  map[string][]*promrelabel.Config{},
		yaml: "global:\n  scrape_interval: 15s\nremote_write:\n- url: http://prometheus:9090/api/v1/write\n  " +
			"basic_auth:\n    username: scraper\n    password: <secret>\n",
		reload: func(context.Context) error { return nil },
		flags: map[string]string{"web.listen-address": "127.0.0.1:9095",
			"remote-write.url": "https://me:canary-flag@prometheus/write?token=canary-query"},
	}
	m.providers = []discovery.ProviderStatus{
		{Job: "envoy-stats", Kind: "kubernetes", Detail: "pod", Server: "https://10.96.0.1:443",
			State: discovery.StateUnreachable, Since: fakeNow.Add(-time.Minute), Groups: 5, Targets: 5,
			LastUpdate: fakeNow.Add(-2 * time.Minute),
			Err:        "Get \"https://10.96.0.1:443/api\": dial tcp 10.96.0.1:443: i/o timeout"},
		{Job: "self", Kind: "static", State: discovery.StateOK, Reachable: true, Synced: true, Groups: 1, Targets: 1,
			LastUpdate: fakeNow.Add(-time.Hour)},
	}
	m.endpoints = []remotewrite.EndpointStatus{
		{Name: "main", URL: "http://prometheus:9090/api/v1/write", Protocol: "2.0", Lanes: 4,
			LastSuccess: fakeNow.Add(-1200 * time.Millisecond)},
		{Name: "http://backup/write", URL: "http://backup/write", Protocol: "1.0", Lanes: 4, PendingSamples: 1234567,
			PendingBytes: 20 << 20, OldestPending: fakeNow.Add(-5 * time.Minute),
			LastSuccess: fakeNow.Add(-5 * time.Minute), Unreachable: true,
			LastError:     `Post "http://me:canary-endpoint@backup/write": dial tcp: connection refused`,
			LastErrorTime: fakeNow.Add(-3 * time.Second),
			PendingLimit:  1 << 30, FullIn: 5 * time.Hour, Rejected: []remotewrite.Rejection{
				{Series: labels.FromStrings("__name__", "envoy_cluster_upstream_rq_total", "instance", "10.0.0.7:15090",
					"job", "envoy-stats", "site",
					"https://me:canary-series@x"), Samples: 12, Reason: "out_of_order", Error: "out of order " +
					"sample, see http://me:canary-words@x", First: fakeNow.Add(-10 * time.Minute),
					Last: fakeNow.Add(-2 * time.Second)},
				{Series: labels.FromStrings("__name__", "up", "job", "app"), Others: 62, Samples: 63,
					Reason: "isolation_budget", Error: "out of " +
						"bounds", First: fakeNow.Add(-time.Hour), Last: fakeNow.Add(-time.Hour)},
				{Samples: 3, Reason: "limit", Error: "<b>too many</b> series", First: fakeNow.Add(-time.Hour),
					Last: fakeNow.Add(-time.Hour)},
			}},
	}
	m.lines = []history.Line{
		{Quantity: history.Samples, Values: []float64{0, 2148, math.NaN(), 4296.4}},
		{Quantity: history.BytesRead, Values: []float64{0, 1 << 20, 2 << 20, 1 << 20}},
		{Quantity: history.BytesWritten, Values: []float64{0, 100, 200, math.NaN()}},
		{Quantity: history.Backlog, Values: []float64{0, 0, 0, 0}},
		{Quantity: history.Failures, Values: []float64{0, 0, 4, 0.25}},
		{Quantity: history.Duration, Values: []float64{math.NaN(), math.NaN(), math.NaN(), math.NaN()}},
	}
	m.addJob(t, "envoy-stats", fakeRules)
	m.addPods()
	return m
}

func (m *fakeMesh) addJob(t testing.TB, job, rules string) *scrape.PoolStatus {
	t.Helper()
	var parsed []*promrelabel.Config
	if err := yaml.Unmarshal([]byte(rules), &parsed); err != nil {
		t.Fatal(err)
	}
	for _, rule := range parsed {
		if err := rule.Validate(model.UTF8Validation); err != nil {
			t.Fatal(err)
		}
	}
	m.rules[job] = parsed
	m.pools = append(m.pools, scrape.PoolStatus{Job: job})
	return &m.pools[len(m.pools)-1]
}

// discover runs a job's rules on a discovered target, and adds it to the job's targets or dropped targets.
func (m *fakeMesh) discover(job string, health scrape.Health, found labels.Labels) *scrape.TargetStatus {
	var pool *scrape.PoolStatus
	for i := range m.pools {
		if m.pools[i].Job == job {
			pool = &m.pools[i]
		}
	}
	b := labels.NewBuilder(found)
	if !promrelabel.ProcessBuilder(b, m.rules[job]...) {
		pool.Dropped = append(pool.Dropped, scrape.DroppedTarget{Job: job, Pod: podIn(found),
			Discovered: func() labels.Labels { return found }})
		pool.DroppedCount++
		return nil
	}
	address := b.Get("__address__")
	b.Set("instance", address)
	b.Range(func(l labels.Label) {
		if len(l.Name) > 2 && l.Name[:2] == "__" {
			b.Del(l.Name)
		}
	})
	t := scrape.TargetStatus{
		Job: job, URL: "http://" + address + found.Get("__metrics_path__"), Labels: b.Labels(),
		Discovered: func() labels.Labels { return found }, Pod: podIn(found),
		Health: health, Interval: 15 * time.Second, Timeout: 10 * time.Second,
	}
	if health != scrape.HealthUnknown {
		t.LastScrape, t.Duration, t.Samples, t.Kept = fakeNow.Add(-4321*time.Millisecond), 12*time.Millisecond, 2148,
			2011
	}
	if health == scrape.HealthDown {
		t.Err, t.Samples, t.Kept = fmt.Sprintf("Get %q: dial tcp %s: connect: connection refused", t.URL, address), 0, 0
	}
	pool.Targets = append(pool.Targets, t)
	return &pool.Targets[len(pool.Targets)-1]
}

func podIn(found labels.Labels) scrape.Pod {
	return scrape.Pod{Namespace: found.Get("__meta_kubernetes_namespace"),
		Name: found.Get("__meta_kubernetes_pod_name")}
}

// pod returns the labels that Kubernetes discovery gives a container port.
func pod(job, namespace, name, address, port string, more ...string) labels.Labels {
	b := labels.NewBuilder(labels.FromStrings(
		"__address__", address, "__metrics_path__", "/stats/prometheus", "__scheme__", "http",
		"__scrape_interval__", "15s", "__scrape_timeout__", "10s", "job", job,
		"__meta_kubernetes_namespace", namespace, "__meta_kubernetes_pod_name", name, "__meta_kubernetes_pod_phase",
		"Running",
		"__meta_kubernetes_pod_container_name", "istio-proxy", "__meta_kubernetes_pod_container_port_name", port,
		"__meta_kubernetes_pod_label_app", name, "__meta_kubernetes_pod_node_name", "node-1",
	))
	for i := 0; i+1 < len(more); i += 2 {
		b.Set(more[i], more[i+1])
	}
	return b.Labels()
}

// shop adds a few pods of every kind.
func (m *fakeMesh) shop() *fakeMesh {
	const job, port = "envoy-stats", "http-envoy-prom"
	m.discover(job, scrape.HealthUp, pod(job, "shop", "cart-0", "10.0.0.1:15090", port))
	m.discover(job, scrape.HealthDown, pod(job, "shop", "cart-1", "10.0.0.2:8080", port,
		"__meta_kubernetes_pod_annotation_prometheus_io_port", "9090"))
	m.discover(job, scrape.HealthUnknown, pod(job, "shop", "pay-0", "[fd00::3]:15090", port))
	m.discover(job, "", pod(job, "shop", "batch-0", "10.0.0.4:15090", port, "__meta_kubernetes_pod_phase", "Succeeded"))
	m.discover(job, "", pod(job, "kube-system", "dns-0", "10.0.0.5:53", "dns", "__meta_kubernetes_pod_container_name",
		"dns", "__meta_kubernetes_pod_container_port_number", "53"))
	return m
}

func (m *fakeMesh) sources() Sources {
	reg := prometheus.NewRegistry()
	promauto.With(reg).NewCounter(prometheus.CounterOpts{Name: "envoy_scraper_fake_total", Help: "Nothing."})
	return Sources{
		Targets:    func() []scrape.PoolStatus { return m.pools },
		Providers:  func() []discovery.ProviderStatus { return m.providers },
		Rules:      func(job string) []*promrelabel.Config { return m.rules[job] },
		Explain:    relabel.Explain,
		ConfigYAML: func() (string, error) { return m.yaml, m.yamlErr },
		Loaded:     func() Loaded { return m.loaded },
		Endpoints:  func() []remotewrite.EndpointStatus { return m.endpoints },
		Cost:       m.cost,
		Aggregates: &m.sums,
		History:    func() []history.Line { return m.lines },
		Pods: PodSources{
			Report:  func() diagnose.Report { return m.pods },
			Targets: func(scrape.Pod) []scrape.PoolStatus { return m.pools },
			Ask: func(context.Context, string, string) (diagnose.Report, []show.Fact, error) {
				facts, err := m.podFacts()
				return m.pods, facts, err
			},
			Preview: func(ctx context.Context, job, url string) (*scrape.Preview, error) {
				return m.preview(ctx, job, url)
			},
		},
		Ready:  func() (bool, string) { return m.notReady == "", m.notReady },
		Reload: func(ctx context.Context) error { return m.reload(ctx) },
		Build: Build{Version: "0.1.0", Revision: "abcdef", Branch: "main", BuildUser: "ci",
			BuildDate: "20260301-11:00:00", GoVersion: "go1.26.8"},
		Flags:    m.flags,
		Started:  fakeNow.Add(-(26*time.Hour + 3*time.Minute)),
		Gatherer: reg,
	}
}

func (m *fakeMesh) server(cfg Config) *Server {
	s := New(cfg, m.sources(), zap.NewNop())
	s.now = func() time.Time { return fakeNow }
	return s
}

// menuPaths returns the paths of the pages of the menu, which all have the frame.
func menuPaths() (paths []string) {
	for _, l := range navigation {
		if l.Path != "metrics" {
			paths = append(paths, "/"+strings.TrimPrefix(l.Path, "./"))
		}
	}
	return paths
}

// ask sends a request through the whole handler.
func ask(s *Server, method, target string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.http.Handler.ServeHTTP(w, r)
	return w
}

// askForm sends a form through the whole handler.
func askForm(s *Server, target string, form url.Values) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, target, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	s.http.Handler.ServeHTTP(w, r)
	return w
}

// golden compares got with testdata/name. GOLDEN=1 rewrites the file.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("GOLDEN") != "" {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (GOLDEN=1 go test writes it)", err)
	}
	if string(got) != string(want) {
		t.Errorf("%s differs; GOLDEN=1 go test rewrites it. got\n%s", path, got)
	}
}

var errFake = fmt.Errorf("config.yml: scrape_configs[0]: unknown key %q", "jobname")

func wantStatus(t *testing.T, w *httptest.ResponseRecorder, want int) {
	t.Helper()
	if w.Code != want {
		t.Errorf("got status %d %s, want %d: %s", w.Code, http.StatusText(w.Code), want, w.Body)
	}
}
