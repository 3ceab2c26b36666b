package discovery

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	promconfig "github.com/prometheus/prometheus/config"
	promdiscovery "github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"go.uber.org/zap"
	"go.yaml.in/yaml/v2"
	corev1 "k8s.io/api/core/v1"
)

// requestLog is an API server without objects. It remembers the requests.
type requestLog struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (l *requestLog) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	q.Del("timeoutSeconds") // both timeouts are random
	q.Del("timeout")
	l.mu.Lock()
	l.seen[fmt.Sprintf("%s %s %v %s", r.URL.Path, q.Encode(), r.Header["Accept"], r.Header.Get("Authorization"))] = true
	l.mu.Unlock()
	switch {
	case q.Get("sendInitialEvents") != "":
		w.WriteHeader(http.StatusUnprocessableEntity)
	case q.Get("watch") != "":
		w.Header().Set("Content-Type", "application/json")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	default:
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[]}`))
	}
}

// watches returns the number of namespaces that were listed and are watched.
func (l *requestLog) watches() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for request := range l.seen {
		if strings.Contains(request, "resourceVersion=7") {
			n++
		}
	}
	return n
}

// requests returns the requests of a discovery until every namespace is watched.
func requests(t *testing.T, text string, namespaces int,
	make func(*kubernetes.SDConfig, *prometheus.Registry) (promdiscovery.Discoverer, error)) []string {
	t.Helper()
	l := &requestLog{seen: map[string]bool{}}
	server := httptest.NewServer(l)
	defer server.Close()
	var c kubernetes.SDConfig
	if err := yaml.UnmarshalStrict([]byte("role: pod\napi_server: "+server.URL+"\n"+text), &c); err != nil {
		t.Fatal(err)
	}
	d, err := make(&c, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { d.Run(ctx, nil) })
	defer running.Wait()
	defer cancel()
	eventually(t, "all namespaces are watched", func() bool { return l.watches() == namespaces })
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.seen))
}

func TestPodRequestsEqualThoseOfPrometheus(t *testing.T) {
	ofPrometheus := func(c *kubernetes.SDConfig, reg *prometheus.Registry) (promdiscovery.Discoverer, error) {
		sd, err := promdiscovery.CreateAndRegisterSDMetrics(reg)
		if err != nil {
			return nil, err
		}
		return c.NewDiscoverer(promdiscovery.DiscovererOptions{Metrics: sd.MechanismMetrics["kubernetes"]})
	}
	ours := func(c *kubernetes.SDConfig, reg *prometheus.Registry) (promdiscovery.Discoverer, error) {
		m, err := newKubeMetrics(reg)
		if err != nil {
			return nil, err
		}
		return (&Manager{kube: m}).newPodDiscovery(promslog.NewNopLogger(), c, newReads(), new(provider))
	}
	for name, c := range map[string]struct {
		text       string
		namespaces int
	}{
		"everything": {"", 1},
		"namespaces": {"namespaces: {names: [shop, mesh]}", 2},
		"selectors": {"selectors: [{role: pod, label: 'app in (a,b)', field: " +
			"'spec.nodeName=node-a,status.phase!=Failed'}]", 1},
		"nodes'": {"selectors: [{role: node, label: 'x=y'}]", 1},
		"credentials": {"authorization: {credentials: secret}\nnamespaces: {names: [shop]}\nselectors: [{role: pod, " +
			"label: x}]", 1},
	} {
		t.Run(name, func(t *testing.T) {
			want, got := requests(t, c.text, c.namespaces, ofPrometheus), requests(t, c.text, c.namespaces, ours)
			if !slices.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// withRules adds rules to a job.
func withRules(t *testing.T, job *promconfig.ScrapeConfig, rules ...string) *promconfig.ScrapeConfig {
	t.Helper()
	for _, text := range rules {
		job.RelabelConfigs = append(job.RelabelConfigs, parseRule(t, text))
	}
	return job
}

// labelNames lists the labels of the groups that a job got last.
func (h *harness) labelNames(job string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return namesOf(slices.Collect(maps.Values(h.groups[job])))
}

// namesOf lists the label names of the only group and of its first target.
func namesOf(groups []*targetgroup.Group) string {
	if len(groups) != 1 {
		return fmt.Sprintf("%d groups", len(groups))
	}
	var names []string
	for _, l := range []model.LabelSet{groups[0].Labels, groups[0].Targets[0]} {
		for name := range l {
			names = append(names, strings.TrimPrefix(string(name), kubePrefix))
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// watchUpdates records the label names in each update of job a, until the returned function is called.
func (h *harness) watchUpdates() func() []string {
	var names []string
	h.mu.Lock()
	defer h.mu.Unlock()
	before := maps.Clone(h.groups["a"])
	h.seen = func(updates map[string]Update) {
		if u, ok := updates["a"]; ok {
			before = u.addTo(before)
			names = append(names, namesOf(slices.Collect(maps.Values(before))))
		}
	}
	return func() []string {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.seen = nil
		return names
	}
}

const (
	readApp   = `{source_labels: [__meta_kubernetes_pod_label_app], target_label: app}`
	readPhase = `{source_labels: [__meta_kubernetes_pod_phase], target_label: phase}`
	bare      = "__address__ namespace pod_container_name pod_container_port_name pod_ip pod_name"
)

func appPod(name, ip string) corev1.Pod {
	pod := sidecarPod(name, ip)
	pod.Labels = map[string]string{"app": "shop", "secret": "x"}
	return pod
}

func TestLabelsThatNoRuleReadsAreDropped(t *testing.T) {
	api := newFakeAPI(t)
	api.pods = append(api.pods, appPod("reviews", "10.0.0.1"))
	h := newHarness(t, zap.NewNop())
	apply(t, h.Manager, withRules(t, api.podJob(t, "a"), readApp), withRules(t, api.podJob(t, "b"), readPhase))
	h.start(t)
	eventually(t, "groups", func() bool { return h.found("a") == 1 && h.found("b") == 1 })
	// One discovery serves both jobs, so both get the labels that either reads.
	want := strings.Replace(bare, "pod_name", "pod_label_app pod_name pod_phase", 1)
	for _, job := range []string{"a", "b"} {
		if got := h.labelNames(job); got != want {
			t.Errorf("job %s: %s, want %s", job, got, want)
		}
	}
	if n := api.count("list pods"); n > 4 {
		t.Errorf("%d lists", n)
	}
	if err := testutil.GatherAndCompare(h.reg, strings.NewReader(
		`# HELP prometheus_sd_kubernetes_failures_total The number of failed WATCH/LIST requests.
# TYPE prometheus_sd_kubernetes_failures_total counter
prometheus_sd_kubernetes_failures_total 0
`), "prometheus_sd_kubernetes_failures_total"); err != nil {
		t.Error(err)
	}
}

func TestOnceKeepsAllLabels(t *testing.T) {
	api := newFakeAPI(t)
	api.pods = append(api.pods, appPod("reviews", "10.0.0.1"))
	groups, err := Once(t.Context(), []*promconfig.ScrapeConfig{api.podJob(t, "a")})
	if err != nil {
		t.Fatal(err)
	}
	if g := groups["a"]; len(g) != 1 || g[0].Labels[podPrefix+"label_secret"] != "x" {
		t.Errorf("found %v", g)
	}
}

// TestNewRulesWaitForTheLabelsThatTheyRead: the job gets no update until the pods have been listed again, because
// labels would be missing.
func TestNewRulesWaitForTheLabelsThatTheyRead(t *testing.T) {
	api := newFakeAPI(t)
	api.pods = append(api.pods, appPod("reviews", "10.0.0.1"))
	log, logs := observedLog()
	h := newHarness(t, log)
	other := &promconfig.ScrapeConfig{JobName: "other",
		ServiceDiscoveryConfigs: promdiscovery.Configs{promdiscovery.StaticConfig{{
			Source: "0", Targets: []model.LabelSet{{model.AddressLabel: "a:1"}},
		}}}}
	apply(t, h.Manager, api.podJob(t, "a"), other)
	if held := h.Hold([]*promconfig.ScrapeConfig{withRules(t, api.podJob(t, "a"), readApp)}); held != nil {
		t.Errorf("held %v before Run", held)
	}
	h.start(t)
	eventually(t, "groups", func() bool { return h.labelNames("a") == bare })

	more := []*promconfig.ScrapeConfig{withRules(t, api.podJob(t, "a"), readApp), other}
	if held := h.Hold(more); !slices.Equal(held, []string{"a"}) {
		t.Fatalf("held %v", held)
	}
	updates := h.watchUpdates()
	apply(t, h.Manager, more...)
	want := strings.Replace(bare, "pod_name", "pod_label_app pod_name", 1)
	eventually(t, "the new label", func() bool { return h.labelNames("a") == want })
	for _, names := range updates() {
		if names != want {
			t.Errorf("the job got an update with %s", names)
		}
	}
	if n := logs.FilterMessageSnippet("listing all pods again").Len(); n != 1 {
		t.Errorf("logged %d times, want once", n)
	}

	// Rules that read fewer labels, or other labels that were kept, cause no new list.
	for _, fewer := range [][]string{nil, {readApp}} {
		jobs := []*promconfig.ScrapeConfig{withRules(t, api.podJob(t, "a"), fewer...), other}
		if held := h.Hold(jobs); held != nil {
			t.Errorf("held %v for fewer labels", held)
		}
		before := api.count("watch pods")
		apply(t, h.Manager, jobs...)
		if after := api.count("watch pods"); after != before {
			t.Errorf("%d more watches", after-before)
		}
	}
}

// TestHoldWaitsForARunningUpdate: an update that began before Hold must end before Hold returns. After Hold the
// receiver would take it for the update with the new labels.
func TestHoldWaitsForARunningUpdate(t *testing.T) {
	api := newFakeAPI(t)
	api.pods = append(api.pods, appPod("reviews", "10.0.0.1"))
	h := newHarness(t, zap.NewNop())
	apply(t, h.Manager, api.podJob(t, "a"))
	arrived, proceed := make(chan struct{}), make(chan struct{})
	once := sync.OnceFunc(func() { close(arrived); <-proceed })
	var done atomic.Bool
	h.seen = func(map[string]Update) { once(); done.Store(true) }
	h.start(t)
	<-arrived
	held := make(chan bool)
	go func() {
		h.Hold([]*promconfig.ScrapeConfig{withRules(t, api.podJob(t, "a"), readApp)})
		held <- done.Load()
	}()
	if h.handing.TryLock() {
		t.Error("the lock is free while an update is handed over")
		h.handing.Unlock()
	}
	close(proceed)
	if !<-held {
		t.Error("Hold returned during an update")
	}
}

// TestASecondReloadWaitsForItsOwnLabels: a second reload reads still more labels. The groups that the first reload
// waits for do not end the hold.
func TestASecondReloadWaitsForItsOwnLabels(t *testing.T) {
	api := newFakeAPI(t)
	api.pods = append(api.pods, appPod("reviews", "10.0.0.1"))
	h := newHarness(t, zap.NewNop())
	apply(t, h.Manager, api.podJob(t, "a"))
	h.start(t)
	eventually(t, "groups", func() bool { return h.labelNames("a") == bare })
	more := []*promconfig.ScrapeConfig{withRules(t, api.podJob(t, "a"), readApp)}
	h.Hold(more)
	apply(t, h.Manager, more...)
	most := []*promconfig.ScrapeConfig{withRules(t, api.podJob(t, "a"), readApp, readPhase)}
	if held := h.Hold(most); !slices.Equal(held, []string{"a"}) {
		t.Fatalf("held %v", held)
	}
	if h.Manager.mu.Lock(); h.held["a"] {
		t.Error("the hold would end with the groups of the first reload")
	}
	h.Manager.mu.Unlock()
	updates := h.watchUpdates()
	apply(t, h.Manager, most...)
	want := strings.Replace(bare, "pod_name", "pod_label_app pod_name pod_phase", 1)
	eventually(t, "the new labels", func() bool { return h.labelNames("a") == want })
	for _, names := range updates() {
		if names != want {
			t.Errorf("the job got an update with %s", names)
		}
	}
}

// TestNothingIsHandedOverBetweenHoldAndAdopt: an earlier reload holds a job. Its groups become complete during the next
// reload. They must wait for Adopt, because the scrape pools do not have the new rules yet, and groups are handed over
// only once.
func TestNothingIsHandedOverBetweenHoldAndAdopt(t *testing.T) {
	m, err := New(Options{}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	m.running = true
	m.held["a"] = true // the job has no discovery, so that due would end the hold
	m.Hold(nil)
	m.due(time.Now())
	if applied, held := m.held["a"]; !held || applied {
		t.Errorf("held %v, to be handed over %v; want held until Adopt", held, applied)
	}
	m.release()
	if !m.held["a"] {
		t.Error("not to be handed over after Adopt")
	}
}
