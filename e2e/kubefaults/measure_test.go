package kubefaults

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/agent"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

// podsPerNode is the number of pods on each node.
const podsPerNode = 100

// TestMeasurePods measures the cost of a cluster of KUBE_PODS (default 150) injected pods of 21 KB each: the time until
// every sidecar is a target, the heap, the peak memory and the changes per second. It measures the whole cluster, the
// whole cluster after a restart of the API server, and one node. Writing 10,000 pods takes minutes, and 3 GB in the API
// server.
func TestMeasurePods(t *testing.T) {
	pods := 150
	if text := os.Getenv("KUBE_PODS"); text != "" {
		var err error
		if pods, err = strconv.Atoi(text); err != nil || pods < 1 {
			t.Fatalf("KUBE_PODS=%s: not a number of pods", text)
		}
	}
	s := newSuite(t)
	if err := s.cluster.CreateNamespace(t.Context(), "many", nil); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	eachPod(t, pods, func(n int) error { return s.createInjected(t, n) })
	t.Logf("%d pods written in %v", pods, time.Since(began).Round(100*time.Millisecond))

	whole := s.measured(t, "whole", "")
	whole.awaitTargets(pods)
	whole.report("whole cluster, listed")
	changed := min(pods, 1000)
	began = time.Now()
	events := whole.events()
	eachPod(t, changed, func(n int) error { return s.relabel(t, n) })
	whole.await("all changes are seen", func() (bool, string) {
		seen := whole.events() - events
		return seen >= float64(changed), fmt.Sprint(seen)
	})
	t.Logf("%d changes written and seen in %v: %.0f per second", changed, time.Since(began).Round(time.Millisecond),
		float64(changed)/time.Since(began).Seconds())
	whole.report("whole cluster, changed")
	s.cluster.KillServer()
	if err := s.cluster.StartServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.createInjected(t, pods); err != nil {
		t.Fatal(err)
	}
	whole.awaitTargets(pods + 1)
	whole.report("whole cluster, after a restart of the API server")
	whole.agent.Process.Kill()

	node := s.measured(t, "node", "    selectors: [{role: pod, field: spec.nodeName=node-7}]\n")
	node.awaitTargets(min(podsPerNode, pods))
	node.report("one node")
}

// eachPod calls do for each pod, with eight concurrent calls.
func eachPod(t *testing.T, pods int, do func(n int) error) {
	t.Helper()
	var next atomic.Int64
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for n := int(next.Add(1)) - 1; n < pods; n = int(next.Add(1)) - 1 {
				if err := do(n); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	workers.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

func podName(n int) string { return fmt.Sprintf("reviews-v1-7f99cc4496-%05d", n) }

// createInjected creates a pod with five ports, one of them the sidecar's, and with the other fields that injection
// adds.
func (s *suite) createInjected(t *testing.T, n int) error {
	fill := strings.Repeat("x", 5000)
	port := func(name string, number int32) corev1.ContainerPort {
		return corev1.ContainerPort{Name: name, ContainerPort: number, Protocol: corev1.ProtocolTCP}
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "many", Name: podName(n),
			Labels: map[string]string{"app": "reviews", "version": "v1", "pod-template-hash": "7f99cc4496",
				"security.istio.io/tlsMode": "istio"},
			Annotations: map[string]string{"prometheus.io/port": "15020", "prometheus.io/scrape": "true",
				"sidecar.istio.io/status": fill},
		},
		Spec: corev1.PodSpec{NodeName: "node-" + strconv.Itoa(n/podsPerNode+7), Containers: []corev1.Container{
			{Name: "reviews", Image: "docker.io/istio/examples-bookinfo-reviews-v1:1.20.3",
				Env:   []corev1.EnvVar{{Name: "A", Value: fill}},
				Ports: []corev1.ContainerPort{port("http", 9080), port("grpc", 9081), port("admin", 9082)}},
			{Name: "istio-proxy", Image: "docker.io/istio/proxyv2:1.30.0", Args: []string{fill, fill},
				Ports: []corev1.ContainerPort{port("http-envoy-prom", 15090), port("status-port", 15021)}},
		}},
	}
	api := s.cluster.Admin().CoreV1().Pods("many")
	made, err := api.Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	// No server listens on this address, so a scrape is refused at once.
	ip := fmt.Sprintf("127.200.%d.%d", n/250, n%250+1)
	made.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}},
		HostIP:     "127.0.0.1",
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	_, err = api.UpdateStatus(t.Context(), made, metav1.UpdateOptions{})
	return err
}

func (s *suite) relabel(t *testing.T, n int) error {
	pod, err := s.cluster.Admin().CoreV1().Pods("many").Get(t.Context(), podName(n), metav1.GetOptions{})
	if err != nil {
		return err
	}
	pod.Labels["version"] = "v2"
	_, err = s.cluster.Admin().CoreV1().Pods("many").Update(t.Context(), pod, metav1.UpdateOptions{})
	return err
}

// measured is a program that only discovers: its scrape interval is an hour.
type measured struct {
	*testing.T
	agent *agent.Agent
	began time.Time
	took  time.Duration
}

func (s *suite) measured(t *testing.T, name, selectors string) *measured {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte(s.cluster.AdminToken()), 0o600); err != nil {
		t.Fatal(err)
	}
	receiver := parts.Recorder(t, parts.Addresses(t), 2)
	yaml := fmt.Sprintf(`global: {scrape_interval: 1h, scrape_timeout: 10s}
scrape_configs:
- job_name: %s
  metrics_path: /stats/prometheus
  kubernetes_sd_configs:
  - role: pod
    api_server: %s
    authorization: {credentials_file: %s/token}
    tls_config: {ca_file: %s}
%s  relabel_configs:
  - {source_labels: [__meta_kubernetes_pod_container_port_name], action: keep, regex: '.*-envoy-prom'}
  - {source_labels: [__address__, __meta_kubernetes_pod_annotation_prometheus_io_port],
     regex: '([^:]+)(?::\d+)?;(\d+)', replacement: '$1:15090', target_label: __address__}
  - {action: labeldrop, regex: '__meta_kubernetes_pod_label_(.+)'}
  - {source_labels: [__meta_kubernetes_namespace], target_label: namespace}
  - {source_labels: [__meta_kubernetes_pod_name], target_label: pod_name}
remote_write: [{url: %q}]
`, job, s.cluster.URL(), dir, s.cluster.CAFile(), selectors, receiver.URL)
	m := &measured{T: t, began: time.Now()}
	m.agent = agent.Start(t, agent.Config{Path: s.binary, Dir: dir, Name: name, YAML: yaml,
		Args: []string{"--web.enable-pprof", "--storage.path=" + dir + "/storage"}})
	return m
}

func (m *measured) await(what string, ok func() (bool, string)) {
	m.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(3 * time.Minute)
	for {
		done, state := ok()
		if done {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			m.Fatalf("not in time: %s: %s\n%s", what, state, m.agent.Process.Log())
		}
	}
}

func (m *measured) awaitTargets(pods int) {
	m.Helper()
	m.await("every sidecar is a target", func() (bool, string) {
		n := m.metric("envoy_scraper_scrape_targets")
		return int(n) == pods, fmt.Sprint(n)
	})
	if m.took == 0 {
		m.took = time.Since(m.began)
	}
}

// metric returns the value of a metric, or 0 if there is none yet.
func (m *measured) metric(name string) float64 {
	got, err := m.agent.Metrics(m.Context())
	if err != nil {
		return 0
	}
	return got.Sum(name)
}

func (m *measured) events() float64 { return m.metric("prometheus_sd_kubernetes_events_total") }

// report logs the memory and the watches of the process. Requesting a heap profile makes the process collect garbage
// first.
func (m *measured) report(when string) {
	m.Helper()
	w := &world{T: m.T, agent: m.agent}
	if code, _, err := w.get("/debug/pprof/heap?gc=1"); err != nil || code != 200 {
		m.Fatalf("heap profile: %d, %v", code, err)
	}
	targets, heap := m.metric("envoy_scraper_scrape_targets"), m.metric("go_memstats_heap_alloc_bytes")
	m.Logf("%s: %.0f targets (all %v after the start), heap %.2f MiB, peak RSS %s, %v watches begun",
		when, targets, m.took.Round(100*time.Millisecond), heap/(1<<20), peak(m.agent), m.metric(
			"envoy_scraper_discovery_watches_total"))
}

// peak returns the highest resident memory of the process so far.
func peak(a *agent.Agent) string {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.Process.Pid()))
	if err != nil {
		return "unknown: " + err.Error()
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
