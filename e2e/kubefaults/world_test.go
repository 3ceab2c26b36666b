package kubefaults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/value"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/agent"
	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/oracle"
	"github.com/envoy-scraper/envoy-scraper/e2e/cluster"
	"github.com/envoy-scraper/envoy-scraper/e2e/clustertest"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

const (
	interval = time.Second
	series   = 3
	patience = 90 * time.Second // limit for events that take seconds on an idle machine
	job      = "envoy-stats"

	logUnreachable  = "Kubernetes API server unreachable"
	logReachable    = "Kubernetes API server reachable again"
	logUnauthorized = "Kubernetes API server does not accept our credentials"
	logForbidden    = "Kubernetes API server refuses rights that discovery needs"
	apiUp           = "envoy_scraper_discovery_api_server_up"
)

// suite is what the scenarios share: the API server and the program.
type suite struct {
	cluster *cluster.Cluster
	binary  string
}

func newSuite(t *testing.T) *suite {
	t.Helper()
	return &suite{cluster: clustertest.Start(t), binary: parts.Scraper(t)}
}

// world is one scenario: a namespace with two pods, their pages, a proxy before the API server, and the program.
type world struct {
	*testing.T
	*suite
	namespace string
	dir       string
	addresses *oracle.AddressRange
	fleet     *oracle.Fleet // the pods a and b, and one static target
	receiver  *oracle.Receiver
	proxy     *proxy
	agent     *agent.Agent
	began     time.Time
}

func (s *suite) world(t *testing.T, namespace string) *world {
	t.Helper()
	w := &world{T: t, suite: s, namespace: namespace, dir: t.TempDir(), addresses: parts.Addresses(t)}
	w.fleet = parts.Fleet(t, w.addresses, 10, 3, series)
	w.receiver = parts.Recorder(t, w.addresses, 2)
	w.proxy = newProxy(t, s.cluster.URL(), s.cluster.CAFile())
	w.write("token", s.cluster.AdminToken())
	w.write("ca.crt", string(w.proxy.certificate()))
	if err := s.cluster.CreateNamespace(t.Context(), namespace, nil); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"a", "b"} {
		w.create(name, w.host(i))
	}
	return w
}

func (w *world) write(name, content string) {
	w.Helper()
	temporary := filepath.Join(w.dir, "."+name)
	if err := os.WriteFile(temporary, []byte(content), 0o600); err != nil {
		w.Fatal(err)
	}
	if err := os.Rename(temporary, filepath.Join(w.dir, name)); err != nil {
		w.Fatal(err)
	}
}

// host returns the address of the i-th page.
func (w *world) host(i int) string {
	host, _, _ := strings.Cut(w.fleet.Targets[i].Address, ":")
	return host
}

// elsewhere returns an address of the scenario on which no server listens.
func (w *world) elsewhere(n int) string {
	host := w.host(0)
	return host[:strings.LastIndexByte(host, '.')+1] + strconv.Itoa(n)
}

func (w *world) pod(name, ip string) cluster.Pod {
	return cluster.Pod{Namespace: w.namespace, Name: name, IP: ip, Sidecar: cluster.PlainSidecar,
		Labels: map[string]string{"app": name}}
}

func (w *world) create(name, ip string) {
	w.Helper()
	if err := w.cluster.CreatePod(w.Context(), w.pod(name, ip)); err != nil {
		w.Fatal(err)
	}
}

func (w *world) remove(name string) {
	w.Helper()
	if err := w.cluster.DeletePod(w.Context(), w.namespace, name, 0); err != nil {
		w.Fatal(err)
	}
}

func (w *world) configuration() string {
	return fmt.Sprintf(`global: {scrape_interval: %v, scrape_timeout: %v}
scrape_configs:
- job_name: %s
  metrics_path: /stats/prometheus
  kubernetes_sd_configs:
  - role: pod
    api_server: %s
    namespaces: {names: [%s]}
    authorization: {credentials_file: %s/token}
    tls_config: {ca_file: %s/ca.crt}
  relabel_configs:
  - {source_labels: [__meta_kubernetes_pod_container_port_name], action: keep, regex: '.*-envoy-prom'}
  - {source_labels: [__meta_kubernetes_namespace], target_label: namespace}
  - {source_labels: [__meta_kubernetes_pod_name], target_label: pod_name}
- job_name: listed
  static_configs: [{targets: [%q]}]
remote_write: [{url: %q, queue_config: {batch_send_deadline: 300ms}}]
`, interval, interval, job, w.proxy.url(), w.namespace, w.dir, w.dir, w.fleet.Targets[2].Address, w.receiver.URL)
}

// launch starts the program and does not wait for it.
func (w *world) launch() {
	w.Helper()
	w.began = time.Now()
	w.agent = agent.Start(w.T, agent.Config{
		Path: w.binary, Dir: w.dir, Name: "agent", YAML: w.configuration(), Args: []string{"--scrape.allow-loopback",
			"--storage.path=" + w.dir + "/storage"},
	})
	w.agent.LogIfFailed(w.T)
}

// start starts the program and waits until both pods are scraped.
func (w *world) start() {
	w.Helper()
	w.launch()
	if _, err := w.agent.WaitReady(w.Context()); err != nil {
		w.Fatal(err)
	}
	w.wait("both pods are scraped", func() error { return w.arrived(1, "a", "b") })
}

// wait polls until check returns nil.
func (w *world) wait(what string, check func() error) {
	w.Helper()
	parts.Eventually(w.T, patience, what, check)
}

func (w *world) get(path string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(w.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.agent.URL+path, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

// active returns the scrape URLs of the job's targets by pod. It fails the test if an address has two targets.
func (w *world) active() (map[string]string, error) {
	_, body, err := w.get("/api/v1/targets?state=active&scrapePool=" + job)
	if err != nil {
		return nil, err
	}
	var list struct {
		Data struct {
			ActiveTargets []struct {
				ScrapeURL string            `json:"scrapeUrl"`
				Labels    map[string]string `json:"labels"`
			} `json:"activeTargets"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, err
	}
	pods, urls := map[string]string{}, map[string]string{}
	for _, target := range list.Data.ActiveTargets {
		pod := target.Labels["pod_name"]
		if other, twice := urls[target.ScrapeURL]; twice {
			w.Errorf("%s is a target of both pod %s and pod %s", target.ScrapeURL, other, pod)
		}
		urls[target.ScrapeURL], pods[pod] = pod, target.ScrapeURL
	}
	return pods, nil
}

// targets returns nil if the job's targets are exactly the given pods.
func (w *world) targets(pods ...string) error {
	got, err := w.active()
	if err != nil {
		return err
	}
	if len(got) != len(pods) || slices.ContainsFunc(pods, func(pod string) bool { return got[pod] == "" }) {
		return fmt.Errorf("targets are %v, want pods %v", got, pods)
	}
	return nil
}

// seen is one sample of a pod's first series.
type seen struct {
	at    int64
	value float64
}

// samples returns the samples of a pod in order. The empty name means the static target.
func (w *world) samples(pod string) []seen {
	var all []seen
	for _, taken := range w.receiver.Ledger.Samples(func(l oracle.Labels) bool {
		return l.Get("__name__") == oracle.Metric && l.Get("series") == "000" && l.Get("pod_name") == pod
	}) {
		for at, v := range taken {
			all = append(all, seen{at, v})
		}
	}
	slices.SortFunc(all, func(a, b seen) int { return int(a.at - b.at) })
	return all
}

// arrived returns nil if at least n scrapes of each pod have arrived.
func (w *world) arrived(n int, pods ...string) error {
	for _, pod := range pods {
		if got := len(w.samples(pod)); got < n {
			return fmt.Errorf("%d scrapes of pod %q, want %d", got, pod, n)
		}
	}
	return nil
}

// waitForScrapes waits until n more scrapes of each pod have arrived.
func (w *world) waitForScrapes(n int, pods ...string) {
	w.Helper()
	for _, pod := range pods {
		want := len(w.samples(pod)) + n
		w.wait(fmt.Sprintf("pod %q was scraped %d more times", pod, n), func() error { return w.arrived(want, pod) })
	}
}

// checkNoGap checks that each scrape of the pods arrived once and in order, that there was no staleness marker, and
// that there was at most one scrape per interval.
func (w *world) checkNoGap(pods ...string) {
	w.Helper()
	for _, pod := range pods {
		all := w.samples(pod)
		for i, s := range all {
			switch {
			case value.IsStaleNaN(s.value):
				w.Errorf("pod %q was marked stale at %v", pod, time.UnixMilli(s.at))
			case math.Trunc(s.value) != s.value:
				w.Errorf("pod %q: value %v", pod, s.value)
			case i > 0 && s.value != all[i-1].value+1:
				w.Errorf("pod %q: scrape %v after %v", pod, s.value, all[i-1].value)
			}
		}
		if most := int(time.Since(w.began)/interval) + 2; len(all) > most {
			w.Errorf("pod %q was scraped %d times, want at most %d: one per %v", pod, len(all), most, interval)
		}
	}
}

// gauge returns the value of one of the job's metrics.
func (w *world) gauge(name string) (float64, error) {
	m, err := w.agent.Metrics(w.Context())
	if err != nil {
		return 0, err
	}
	v, ok := m.By(name, "job")[job]
	if !ok {
		return 0, errors.New("no such metric: " + name)
	}
	return v, nil
}

// waitForServer waits until the gauge reports whether the API server is reachable.
func (w *world) waitForServer(up float64) {
	w.Helper()
	w.wait(fmt.Sprintf("the gauge of the API server is %v", up), func() error {
		v, err := w.gauge(apiUp)
		if err == nil && v != up {
			err = fmt.Errorf("it is %v", v)
		}
		return err
	})
}

// checkPage checks whether the page /service-discovery contains a word.
func (w *world) checkPage(word string, want bool) {
	w.Helper()
	_, page, err := w.get("/service-discovery?pool=" + url.QueryEscape(job))
	if err != nil {
		w.Fatal(err)
	}
	if got := strings.Contains(string(page), word); got != want {
		w.Errorf("the page contains %q: %v, want %v", word, got, want)
	}
}

// checkLogged checks how often the log contains a text.
func (w *world) checkLogged(text string, want int) {
	w.Helper()
	if got := strings.Count(w.agent.Process.Log(), text); got != want {
		w.Errorf("the log has %q %d times, want %d", text, got, want)
	}
}

// checkReady checks the status of /-/ready.
func (w *world) checkReady(want int) {
	w.Helper()
	if got, body, err := w.get("/-/ready"); err != nil || got != want {
		w.Errorf("/-/ready: %d %s %v, want %d", got, body, err, want)
	}
}

// checkChangeIsSeen checks that a change is seen now, and that the other pods were scraped without a gap.
func (w *world) checkChangeIsSeen(others ...string) {
	w.Helper()
	w.create("late", w.elsewhere(99))
	w.wait("the new pod is a target", func() error { return w.targets(append(others, "late", "a", "b")...) })
	w.remove("late")
	w.wait("the pod that went is none", func() error { return w.targets(append(others, "a", "b")...) })
	w.waitForScrapes(2, "a", "b")
	w.checkNoGap("a", "b")
}
