package discovery

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	commonconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	promdiscovery "github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"go.uber.org/zap"
	"go.yaml.in/yaml/v2"
)

// harness is a running manager with the groups that it has handed over.
type harness struct {
	*Manager
	reg *prometheus.Registry

	mu     sync.Mutex
	groups map[string]map[string]*targetgroup.Group // by job, then by discovery and source
	// called with each update before it is stored in groups; may be nil
	seen func(map[string]Update)
}

func newHarness(t *testing.T, log *zap.Logger) *harness {
	t.Helper()
	h := &harness{reg: prometheus.NewPedanticRegistry(), groups: map[string]map[string]*targetgroup.Group{}}
	var err error
	if h.Manager, err = New(Options{}, log, h.reg); err != nil {
		t.Fatal(err)
	}
	h.pace = testPace()
	return h
}

func (h *harness) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- h.Run(ctx, func(updates map[string]Update) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.seen != nil {
				h.seen(updates)
			}
			for job, u := range updates {
				h.groups[job] = u.addTo(h.groups[job])
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// addTo applies an update to the groups of a job.
func (u Update) addTo(groups map[string]*targetgroup.Group) map[string]*targetgroup.Group {
	if u.Whole || groups == nil {
		groups = map[string]*targetgroup.Group{}
	}
	for _, g := range u.Groups {
		key := fmt.Sprint(g.Discovery, " ", g.Source)
		if groups[key] = g.Group; len(g.Targets) == 0 {
			delete(groups, key)
		}
	}
	return groups
}

// found returns the number of groups of a job. It returns -1 if there is no such job or it got no update yet.
func (h *harness) found(job string) int {
	h.Manager.mu.Lock()
	_, wanted := h.job(job)
	h.Manager.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	if g, ok := h.groups[job]; ok && wanted {
		return len(g)
	}
	return -1
}

func (h *harness) isSynced() bool {
	select {
	case <-h.Synced():
		return true
	default:
		return false
	}
}

func apply(t *testing.T, m *Manager, jobs ...*promconfig.ScrapeConfig) {
	t.Helper()
	if err := m.Apply(jobs); err != nil {
		t.Fatal(err)
	}
}

// parseJob returns a job with the service discoveries of a configuration.
func parseJob(t *testing.T, name, text string) *promconfig.ScrapeConfig {
	t.Helper()
	job := &promconfig.ScrapeConfig{JobName: name}
	if err := yaml.UnmarshalStrict([]byte(text), &job.ServiceDiscoveryConfigs); err != nil {
		t.Fatal(err)
	}
	return job
}

func TestPodsAreFound(t *testing.T) {
	api := newFakeAPI(t)
	api.pods = append(api.pods, sidecarPod("reviews", "10.0.0.1"), sidecarPod("details", "10.0.0.2"),
		sidecarPod("starting", ""))
	log, logs := observedLog()
	h := newHarness(t, log)
	apply(t, h.Manager, api.podJob(t, "envoy-stats"))
	if st := h.Status(); len(st) != 1 || st[0].State != StateWaiting || st[0].Synced {
		t.Errorf("status before Run = %+v", st)
	}
	h.start(t)
	eventually(t, "synced", h.isSynced)
	eventually(t, "two pods", func() bool { return h.found("envoy-stats") == 2 })
	st := h.Status()[0]
	if st.Job != "envoy-stats" || st.Kind != "kubernetes" || st.Detail != "pod" || st.Server != api.URL ||
		st.State != StateOK ||
		!st.Reachable || !st.Synced || st.Groups != 2 || st.Targets != 2 || st.LastUpdate.IsZero() || st.Err != "" {
		t.Errorf("status = %+v", st)
	}
	want := `
# HELP envoy_scraper_discovery_api_server_up Whether every Kubernetes API server of the job ` +
		`answers and grants the rights that discovery needs (1) or not (0).
# TYPE envoy_scraper_discovery_api_server_up gauge
envoy_scraper_discovery_api_server_up{job="envoy-stats"} 1
# HELP envoy_scraper_discovery_groups Number of discovered groups that have targets. A pod is one group.
# TYPE envoy_scraper_discovery_groups gauge
envoy_scraper_discovery_groups{job="envoy-stats"} 2
# HELP envoy_scraper_discovery_synced Whether every discovery of the job ` +
		`has delivered its first complete set of groups (1) or not (0).
# TYPE envoy_scraper_discovery_synced gauge
envoy_scraper_discovery_synced{job="envoy-stats"} 1
`
	if err := testutil.GatherAndCompare(h.reg, strings.NewReader(want), "envoy_scraper_discovery_api_server_up",
		"envoy_scraper_discovery_groups", "envoy_scraper_discovery_synced"); err != nil {
		t.Error(err)
	}
	if n := logs.FilterLevelExact(zap.WarnLevel).Len() + logs.FilterLevelExact(zap.ErrorLevel).Len(); n != 0 {
		t.Errorf("warnings or errors in the log: %v", logs.All())
	}
}

func TestAnEmptyClusterIsSynced(t *testing.T) {
	api := newFakeAPI(t)
	h := newHarness(t, zap.NewNop())
	apply(t, h.Manager, api.podJob(t, "envoy-stats"))
	h.start(t)
	eventually(t, "synced", h.isSynced)
	if n := h.found("envoy-stats"); n != 0 {
		t.Errorf("groups = %d, want 0", n)
	}
	if st := h.Status()[0]; st.State != StateOK || !st.Synced {
		t.Errorf("status = %+v", st)
	}
}

func TestAnUnreachableServerIsLoggedOnce(t *testing.T) {
	api := newFakeAPI(t)
	api.down = true
	api.pods = append(api.pods, sidecarPod("reviews", "10.0.0.1"))
	log, logs := observedLog()
	h := newHarness(t, log)
	apply(t, h.Manager, api.podJob(t, "envoy-stats"))
	h.start(t)
	eventually(t, "several requests", func() bool { return api.count("list pods") > 4 })
	if h.isSynced() {
		t.Error("synced without an API server")
	}
	if st := h.Status()[0]; st.State != StateUnreachable || st.Reachable || st.Err == "" {
		t.Errorf("status = %+v", st)
	}
	api.set(func(f *fakeAPI) { f.down = false })
	eventually(t, "one pod", func() bool { return h.found("envoy-stats") == 1 })
	eventually(t, "synced", h.isSynced)
	api.set(func(f *fakeAPI) { f.down = true })
	eventually(t, "unreachable", func() bool { return !h.Status()[0].Reachable })
	eventually(t, "a second line", func() bool { return logs.FilterMessageSnippet("unreachable").Len() > 1 })
	if n := h.found("envoy-stats"); n != 1 {
		t.Errorf("pods during an outage = %d, want 1: groups stay", n)
	}
	if unreachable := logs.FilterMessageSnippet("unreachable").All(); len(unreachable) != 2 ||
		unreachable[0].ContextMap()["server"] != api.URL {
		t.Errorf("logged %d times, want once for each outage: %v", len(unreachable), unreachable)
	}
	if again := logs.FilterMessageSnippet("reachable again").Len(); again != 1 {
		t.Errorf("logged as reachable %d times, want once", again)
	}
}

func TestMissingRightsAreNamed(t *testing.T) {
	for _, refused := range []string{"list pods", "watch pods"} {
		t.Run(refused, func(t *testing.T) {
			api := newFakeAPI(t)
			api.refuse[refused] = http.StatusForbidden
			log, logs := observedLog()
			h := newHarness(t, log)
			apply(t, h.Manager, api.podJob(t, "envoy-stats"))
			h.start(t)
			eventually(t, "denied", func() bool { return h.Status()[0].State == StateDenied })
			if st := h.Status()[0]; !st.Reachable ||
				!strings.Contains(st.Err, "may not "+refused+" in all namespaces") {
				t.Errorf("status = %+v", st)
			}
			before := api.count(refused)
			eventually(t, "more requests", func() bool { return api.count(refused) > before+3 })
			if n := logs.FilterMessageSnippet("refuses rights that discovery needs").Len(); n != 1 {
				t.Errorf("logged %d times, want once", n)
			}
			api.set(func(f *fakeAPI) { f.refuse = nil })
			eventually(t, "allowed", func() bool { return h.Status()[0].State != StateDenied })
		})
	}
}

func TestEqualDiscoveriesRunOnceAndSurviveAReload(t *testing.T) {
	api := newFakeAPI(t)
	api.pods = append(api.pods, sidecarPod("reviews", "10.0.0.1"))
	h := newHarness(t, zap.NewNop())
	static := parseJob(t, "fixed", "static_configs: [{targets: ['10.0.0.9:15090']}]")
	apply(t, h.Manager, api.podJob(t, "one"), api.podJob(t, "two"), static)
	h.start(t)
	eventually(t, "synced", h.isSynced)
	eventually(t, "all jobs", func() bool {
		return h.found("one") == 1 && h.found("two") == 1 && h.found("fixed") == 1
	})
	running := h.providers[0]
	apply(t, h.Manager, api.podJob(t, "two"), api.podJob(t, "three"))
	eventually(t, "the new jobs", func() bool {
		return h.found("one") == -1 && h.found("two") == 1 && h.found("three") == 1
	})
	if len(h.providers) != 1 || h.providers[0] != running || len(h.servers) != 1 {
		t.Error("the discovery did not keep running")
	}
	apply(t, h.Manager, static)
	eventually(t, "only the static job", func() bool { return h.found("two") == -1 && h.found("fixed") == 1 })
	if len(h.servers) != 0 {
		t.Error("the API server is still probed")
	}
}

func TestAConfigurationThatCannotWorkIsRefused(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	h := newHarness(t, zap.NewNop())
	missing := filepath.Join(t.TempDir(), "kubeconfig")
	jobs := []*promconfig.ScrapeConfig{
		{JobName: "file", ServiceDiscoveryConfigs: promdiscovery.Configs{&kubernetes.SDConfig{KubeConfig: missing,
			Role: kubernetes.RolePod, HTTPClientConfig: commonconfig.DefaultHTTPClientConfig}}},
		{JobName: "pod", ServiceDiscoveryConfigs: promdiscovery.Configs{&kubernetes.SDConfig{Role: kubernetes.RolePod,
			HTTPClientConfig: commonconfig.DefaultHTTPClientConfig}}},
	}
	err := h.Apply(jobs)
	if err == nil {
		t.Fatal("Apply accepted it")
	}
	for _, want := range []string{`job "file": kubernetes discovery: kubeconfig ` + missing + " does not exist",
		`job "pod"`, "--kubeconfig"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q lacks %q", err, want)
		}
	}
	if len(h.Status()) != 0 {
		t.Error("a refused configuration changed something")
	}
}

func TestOnce(t *testing.T) {
	api := newFakeAPI(t)
	api.pods = append(api.pods, sidecarPod("reviews", "10.0.0.1"))
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		respond(w, http.StatusOK, []map[string]any{{"targets": []string{"10.0.0.3:1"}}})
	}))
	defer web.Close()
	file := filepath.Join(t.TempDir(), "targets.json")
	if err := os.WriteFile(file, []byte(`[{"targets": ["10.0.0.4:1"], "labels": {"zone": "a"}}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	m := newHarness(t, zap.NewNop()).Manager
	groups, err := m.once(t.Context(), []*promconfig.ScrapeConfig{
		api.podJob(t, "pods"),
		parseJob(t, "static", "static_configs: [{targets: [a:1, b:1]}]"),
		parseJob(t, "files", "file_sd_configs: [{files: ['"+file+"']}]"),
		parseJob(t, "nofiles", "file_sd_configs: [{files: ['"+file+".none.json']}]"),
		parseJob(t, "web", "http_sd_configs: [{url: '"+web.URL+"'}]"),
		{JobName: "nothing"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for job, want := range map[string]model.LabelValue{"pods": "10.0.0.1:15090", "static": "a:1", "files": "10.0.0.4:1",
		"web": "10.0.0.3:1"} {
		if g := groups[job]; len(g) != 1 || g[0].Targets[0][model.AddressLabel] != want {
			t.Errorf("job %s: %v, want %s", job, g, want)
		}
	}
	if len(groups["nofiles"])+len(groups["nothing"]) != 0 {
		t.Errorf("groups of jobs without targets: %v", groups)
	}
}

func TestOnceReportsWhyItFailed(t *testing.T) {
	failing := httptest.NewServer(http.NotFoundHandler())
	defer failing.Close()
	down, denied, stranger := newFakeAPI(t), newFakeAPI(t), newFakeAPI(t)
	down.down = true
	denied.refuse["list pods"] = http.StatusForbidden
	stranger.accepted["good"] = true
	for name, c := range map[string]struct {
		job     *promconfig.ScrapeConfig
		timeout time.Duration
		want    []string
	}{
		"unreachable": {down.podJob(t, "j"), time.Minute,
			[]string{`job "j": Kubernetes API server ` + down.URL + " is unreachable: "}},
		"denied": {denied.podJob(t, "j"), time.Minute,
			[]string{denied.URL, "may not list pods in all namespaces", "pods is forbidden"}},
		"unknown": {stranger.podJob(t, "j"), time.Minute, []string{stranger.URL, "401 Unauthorized"}},
		"http": {
			parseJob(t, "j", "http_sd_configs: [{url: '"+failing.URL+"'}]"), 2 * time.Second,
			[]string{`job "j": http discovery: `, "404"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), c.timeout)
			defer cancel()
			_, err := newHarness(t, zap.NewNop()).once(ctx, []*promconfig.ScrapeConfig{c.job})
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q lacks %q", err, want)
				}
			}
		})
	}
}
