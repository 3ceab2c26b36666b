package diagnose

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/util/strutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
	"github.com/envoy-scraper/envoy-scraper/internal/shard"
)

// world is a cluster in one test: pods as the API server has them, servers on their addresses, and jobs. Its report is
// made from real relabeling and real scrapes.
type world struct {
	t      testing.TB
	jobs   []*promconfig.ScrapeConfig
	pods   []*corev1.Pod
	asked  []*corev1.Pod
	scopes []discovery.PodScope
	shards shard.Map
	self   scrape.Pod
	ask    string
	now    time.Time

	outside bool
}

// builtin is the job that runs without a file.
func newWorld(t testing.TB) *world {
	t.Helper()
	text, err := os.ReadFile("../config/builtin.yml")
	if err != nil {
		t.Fatal(err)
	}
	return newWorldOf(t, string(text))
}

// newWorldOf returns a world with the jobs of a configuration.
func newWorldOf(t testing.TB, config string) *world {
	t.Helper()
	cfg, err := promconfig.Load(config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := cfg.GetScrapeConfigs()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, jobs: jobs, now: time.Now()}
	for _, job := range jobs {
		w.scopes = append(w.scopes, discovery.PodScope{Job: job.JobName, Role: "pod", Records: true})
	}
	return w
}

// job returns a configuration with one job that has these rules.
func jobWith(settings, rules string) string {
	return "scrape_configs:\n- job_name: envoy-stats\n  metrics_path: /stats/prometheus\n  scrape_timeout: 10s\n" +
		settings + "  kubernetes_sd_configs: [{role: pod}]\n  relabel_configs:\n" + rules
}

const keepEnvoys = "  - {source_labels: [__meta_kubernetes_pod_container_port_name], action: keep, regex: " +
	".*-envoy-prom}\n"

// pod adds a running pod with an application and Istio's native sidecar, as the injector makes it. Its address is
// one of this machine.
func (w *world) pod(namespace, name string, edits ...func(*corev1.Pod)) *corev1.Pod {
	always, yes := corev1.ContainerRestartPolicyAlways, true
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name,
			Labels: map[string]string{"app": name, "security.istio.io/tlsMode": "istio"},
			Annotations: map[string]string{
				"sidecar.istio.io/status": `{"initContainers":["istio-init","istio-proxy"]}`,
				"prometheus.io/scrape":    "true", "prometheus.io/port": "15020",
				"prometheus.io/path": "/stats/prometheus",
			},
			OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: name + "-7f9c", Controller: &yes}},
		},
		Spec: corev1.PodSpec{
			NodeName: "node-1",
			InitContainers: []corev1.Container{{Name: "istio-init"}, {
				Name: "istio-proxy", RestartPolicy: &always,
				Ports: []corev1.ContainerPort{{Name: "http-envoy-prom", ContainerPort: 15090, Protocol: "TCP"}},
			}},
			Containers: []corev1.Container{{
				Name: "app", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080, Protocol: "TCP"}},
			}},
		},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: fmt.Sprintf("127.41.%d.%d", len(w.pods)/250, 1+len(w.pods)%250),
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		},
	}
	for _, edit := range edits {
		edit(p)
	}
	w.pods = append(w.pods, p)
	return p
}

// serve answers on a port of a pod.
func (w *world) serve(p *corev1.Pod, port int, handler http.HandlerFunc) {
	w.t.Helper()
	l := w.listen(p, port)
	s := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	w.t.Cleanup(func() { _ = s.Close() })
	go func() { _ = s.Serve(l) }()
}

func (w *world) listen(p *corev1.Pod, port int) net.Listener {
	w.t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(p.Status.PodIP, strconv.Itoa(port)))
	if err != nil {
		w.t.Skipf("SKIPPED: this machine has no addresses in 127.0.0.0/8 beside 127.0.0.1: %v", err)
	}
	w.t.Cleanup(func() { _ = l.Close() })
	return l
}

// page serves a page of metrics.
func page(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = w.Write([]byte(text))
	}
}

// answer answers with a status, as Envoy does: with a text.
func answer(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, http.StatusText(status), status) }
}

const goodPage = `# TYPE istio_requests_total counter
istio_requests_total{reporter="destination",source_workload="a",destination_workload="b"} 12
# TYPE envoy_server_live gauge
envoy_server_live{} 1
`

// status discovers, relabels and scrapes each target once.
func (w *world) status() []scrape.PoolStatus {
	w.t.Helper()
	updates := map[string]discovery.Update{}
	for _, job := range w.jobs {
		u := discovery.Update{Whole: true}
		for _, p := range w.pods {
			u.Groups = append(u.Groups, discovery.Group{Group: podGroup(p)})
		}
		updates[job.JobName] = u
	}
	status, err := scrape.Look(w.t.Context(), w.jobs, updates, scrape.Options{AllowLoopback: true}, w.shards,
		func(scrape.TargetStatus) bool { return true })
	if err != nil {
		w.t.Fatal(err)
	}
	return status
}

func (w *world) report() Report { return w.reportOf(w.status()) }

func (w *world) reportOf(pools []scrape.PoolStatus) Report {
	in := Input{At: w.now, Jobs: w.jobs, Pools: pools, Scopes: w.scopes, Asked: w.asked, Shard: w.shards.Index,
		Self: w.self, Ask: w.ask, Outside: w.outside}
	for _, p := range w.pods {
		if r := discovery.RecordOf(p); r.Proxy != "" || r.Asks || r.Injected {
			in.Pods = append(in.Pods, r)
		}
	}
	return New(in)
}

// row returns the row of a pod.
func (r Report) row(t *testing.T, name string) Row {
	t.Helper()
	i := slices.IndexFunc(r.Rows, func(row Row) bool { return row.Pod == name })
	if i < 0 {
		t.Fatalf("no row for %s among %d", name, len(r.Rows))
	}
	return r.Rows[i]
}

// want fails unless the row has this verdict and cause, and its sentence and hint have these words.
func (row Row) want(t *testing.T, v Verdict, cause, sentence, hint string) {
	t.Helper()
	if row.Verdict != v || row.Reason.Cause != cause || !strings.Contains(row.Reason.Sentence, sentence) ||
		!strings.Contains(row.Reason.Hint, hint) {
		t.Errorf("%s/%s: %s, %s\n%s\n%s\nwant %s, %s\n%s\n%s", row.Namespace, row.Pod, row.Verdict, row.Reason.Cause,
			row.Reason.Sentence, row.Reason.Hint, v, cause, sentence, hint)
	}
	if _, known := kindOf(row.Verdict, row.Reason.Cause); !known {
		t.Errorf("%s, %s is not among allKinds", row.Verdict, row.Reason.Cause)
	}
	for _, text := range []string{row.Reason.Sentence, row.Reason.Hint} {
		if text != "" && !strings.HasSuffix(text, ".") || strings.Contains(text, "%!") {
			t.Errorf("not a sentence: %q", text)
		}
	}
}

// podGroup makes the target group of a pod as Prometheus' discovery does.
func podGroup(p *corev1.Pod) *targetgroup.Group {
	g := &targetgroup.Group{Source: "pod/" + p.Namespace + "/" + p.Name}
	if p.Status.PodIP == "" {
		return g
	}
	set := func(l model.LabelSet, name, value string) { l[model.LabelName(name)] = model.LabelValue(value) }
	g.Labels = model.LabelSet{}
	r := discovery.RecordOf(p)
	kind, owner, _ := strings.Cut(r.Controller, "/")
	for name, value := range map[string]string{
		kubePrefix + "namespace": p.Namespace, podPrefix + "name": p.Name, podPrefix + "ip": p.Status.PodIP,
		podPrefix + "phase": string(p.Status.Phase), podPrefix + "ready": fmt.Sprint(r.Ready),
		podPrefix + "node_name": p.Spec.NodeName, podPrefix + "controller_kind": kind,
		podPrefix + "controller_name": owner,
	} {
		set(g.Labels, name, value)
	}
	for key, value := range p.Labels {
		set(g.Labels, podPrefix+"label_"+strutil.SanitizeLabelName(key), value)
	}
	for key, value := range p.Annotations {
		set(g.Labels, podPrefix+"annotation_"+strutil.SanitizeLabelName(key), value)
	}
	for i, c := range slices.Concat(p.Spec.Containers, p.Spec.InitContainers) {
		l := model.LabelSet{}
		set(l, podPrefix+"container_name", c.Name)
		set(l, podPrefix+"container_init", fmt.Sprint(i >= len(p.Spec.Containers)))
		if len(c.Ports) == 0 {
			set(l, model.AddressLabel, p.Status.PodIP)
			g.Targets = append(g.Targets, l)
		}
		for _, port := range c.Ports {
			own := l.Clone()
			number := strconv.Itoa(int(port.ContainerPort))
			set(own, podPrefix+"container_port_name", port.Name)
			set(own, podPrefix+"container_port_number", number)
			set(own, podPrefix+"container_port_protocol", string(port.Protocol))
			set(own, model.AddressLabel, net.JoinHostPort(p.Status.PodIP, number))
			g.Targets = append(g.Targets, own)
		}
	}
	return g
}

// proxyPorts replaces the ports of the sidecar.
func proxyPorts(ports ...corev1.ContainerPort) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.InitContainers[1].Ports = ports }
}
