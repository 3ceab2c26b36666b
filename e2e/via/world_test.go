package via

import (
	"compress/gzip"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/agent"
	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/oracle"
	"github.com/envoy-scraper/envoy-scraper/e2e/cluster"
	"github.com/envoy-scraper/envoy-scraper/e2e/clustertest"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

const (
	namespace = "shop"
	patience  = 90 * time.Second // limit for events that take seconds on an idle machine
)

// The pods. Each has a sidecar that answers in its own way.
const (
	details = iota // shows Istio's metrics
	reviews        // shows Istio's metrics, and has two series more
	ratings        // shows metrics of Envoy, but none of Istio
	lost           // answers 404
	busy           // answers 503
	distant        // answers only requests of the API server, as if this machine had no route to it
	dead           // nothing listens on its port
	secure         // has a page with TLS on another port, too
	podCount
)

var podNames = [podCount]string{"details-v1-a", "reviews-v1-a", "ratings-v1-a", "lost-v1-a", "busy-v1-a",
	"distant-v1-a", "dead-v1-a", "secure-v1-a"}

const tlsPort = 15443

const istioPage = `# TYPE istio_requests_total counter
istio_requests_total{reporter="destination",response_code="200"} 12
# TYPE envoy_cluster_upstream_cx_total counter
envoy_cluster_upstream_cx_total{cluster_name="xds-grpc"} 3
`

var pages = [podCount]string{
	details: istioPage,
	reviews: istioPage + "istio_requests_total{reporter=\"source\",response_code=\"503\"} 1\nenvoy_server_live{} 1\n",
	ratings: "# TYPE envoy_server_live gauge\nenvoy_server_live{} 1\n",
	distant: istioPage, secure: istioPage,
}

// world is the API server, the pods with their sidecars, and the program.
type world struct {
	*testing.T
	cluster *cluster.Cluster
	binary  string
	dir     string
	ips     []string
	admin   string // path of a kubeconfig with all rights
}

func newWorld(t *testing.T) *world {
	t.Helper()
	if testing.Short() {
		t.Skip("skipped with -short: needs the real parts")
	}
	w := &world{T: t, dir: t.TempDir()}
	var err error
	if w.ips, err = addAddresses(t, podCount); err != nil {
		if os.Getenv("E2E_NO_SKIP") == "1" {
			t.Fatalf("no addresses for pods: %v", err)
		}
		t.Skipf("SKIPPED: reading pods through the API server needs addresses that are not loopback: %v", err)
	}
	w.cluster = clustertest.Start(t)
	w.binary = parts.Scraper(t)
	w.admin = w.kubeconfig("admin", w.cluster.AdminToken())
	if err := w.cluster.CreateNamespace(t.Context(), namespace, nil); err != nil {
		t.Fatal(err)
	}
	for i, name := range podNames {
		app, _, _ := strings.Cut(name, "-")
		if err := w.cluster.CreatePod(t.Context(), cluster.Pod{Namespace: namespace, Name: name, IP: w.ips[i],
			Labels: map[string]string{"app": app}, Sidecar: cluster.NativeSidecar}); err != nil {
			t.Fatal(err)
		}
		if i != dead {
			w.serve(i, 15090, false)
		}
	}
	w.serve(secure, tlsPort, true)
	return w
}

// serve runs the page of a sidecar until the test ends.
func (w *world) serve(pod, port int, withTLS bool) {
	w.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", w.ips[pod], port))
	if err != nil {
		w.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.answer(pod, rw, r)
	}))
	_ = server.Listener.Close()
	server.Listener = l
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	if withTLS {
		server.StartTLS()
	} else {
		server.Start()
	}
	w.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
}

// answer is what a sidecar does with a request.
func (w *world) answer(pod int, rw http.ResponseWriter, r *http.Request) {
	throughAPIServer := r.Header.Get("X-Forwarded-Uri") != ""
	switch {
	case pod == distant && !throughAPIServer:
		<-r.Context().Done()
		return
	case pod == lost || r.URL.Path != "/stats/prometheus":
		http.Error(rw, "no such page", http.StatusNotFound)
		return
	case pod == busy:
		http.Error(rw, "upstream connect error", http.StatusServiceUnavailable)
		return
	}
	rw.Header().Set("Content-Type", "text/plain; version=0.0.4")
	if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		fmt.Fprint(rw, pages[pod])
		return
	}
	rw.Header().Set("Content-Encoding", "gzip")
	zipped := gzip.NewWriter(rw)
	fmt.Fprint(zipped, pages[pod])
	_ = zipped.Close()
}

// kubeconfig writes a kubeconfig with a token, and returns its path.
func (w *world) kubeconfig(name, token string) string {
	w.Helper()
	path, err := w.cluster.WriteKubeconfig(name+".kubeconfig", token)
	if err != nil {
		w.Fatal(err)
	}
	return path
}

// kubeconfigWith writes a kubeconfig whose user has the given YAML, and returns its path.
func (w *world) kubeconfigWith(name, user, ca string) string {
	w.Helper()
	content, err := os.ReadFile(ca)
	if err != nil {
		w.Fatal(err)
	}
	return w.write(name+".kubeconfig", fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: e2e
clusters: [{name: e2e, cluster: {server: %q, certificate-authority-data: %s}}]
contexts: [{name: e2e, context: {cluster: e2e, user: e2e, namespace: %s}}]
users: [{name: e2e, user: %s}]
`, w.cluster.URL(), base64.StdEncoding.EncodeToString(content), namespace, user))
}

// write replaces a file of the test at once, and returns its path.
func (w *world) write(name, content string) string {
	w.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path+".new", []byte(content), 0o700); err != nil { //nolint:gosec // one file is a program
		w.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		w.Fatal(err)
	}
	return path
}

// account makes a service account that may read the resources in the namespace. It returns a token of the account.
func (w *world) account(name string, resources ...string) string {
	w.Helper()
	token, err := w.cluster.CreateAccount(w.Context(), namespace, name, cluster.Reading(namespace, resources...))
	if err != nil {
		w.Fatal(err)
	}
	return token
}

// scrape runs the command scrape and returns its output.
func (w *world) scrape(kubeconfig string, args ...string) (string, int) {
	w.Helper()
	args = append([]string{"scrape", "--kubeconfig=" + kubeconfig, "-n", namespace}, args...)
	return parts.Output(w.T, []string{"KUBERNETES_SERVICE_HOST="}, w.binary, args...)
}

// configuration has one job, for the pods with the labels of selector.
func configuration(selector string) string {
	return fmt.Sprintf(`global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
- job_name: envoy-stats
  metrics_path: /stats/prometheus
  kubernetes_sd_configs:
  - {role: pod, namespaces: {names: [%s]}, selectors: [{role: pod, label: %q}]}
  relabel_configs:
  - {source_labels: [__meta_kubernetes_pod_container_port_name], action: keep, regex: '.*-envoy-prom'}
  - {source_labels: [__meta_kubernetes_namespace], target_label: namespace}
  - {source_labels: [__meta_kubernetes_pod_name], target_label: pod_name}
`, namespace, selector)
}

// running is a process of the program, and what it sends.
type running struct {
	*agent.Agent
	receiver *oracle.Receiver
}

// run starts the program for the pods with the labels of selector.
func (w *world) run(name, kubeconfig, selector string, args ...string) *running {
	w.Helper()
	receiver := parts.Recorder(w.T, parts.Addresses(w.T), 2)
	yaml := configuration(selector) + fmt.Sprintf("remote_write: [{url: %q, queue_config: {batch_send_deadline: "+
		"300ms}}]\n", receiver.URL)
	a := agent.Start(w.T, agent.Config{Path: w.binary, Dir: w.dir, Name: name, YAML: yaml,
		Args: append([]string{"--kubeconfig=" + kubeconfig, "--storage.path=" + filepath.Join(w.dir, name)}, args...),
		Env:  []string{"KUBERNETES_SERVICE_HOST="}})
	a.LogIfFailed(w.T)
	return &running{a, receiver}
}

// up returns the newest value of up of a pod, and its time.
func (r *running) up(pod string) (value float64, at int64) {
	value = -1
	for _, samples := range r.receiver.Ledger.Samples(func(l oracle.Labels) bool {
		return l.Get("__name__") == "up" && l.Get("pod_name") == pod
	}) {
		for t, v := range samples {
			if t > at {
				at, value = t, v
			}
		}
	}
	return value, at
}

// waitUp waits until up of a pod has the value in a sample after the given time.
func (w *world) waitUp(r *running, pod string, want float64, after time.Time) {
	w.Helper()
	parts.Eventually(w.T, patience, fmt.Sprintf("up of %s is %v", pod, want), func() error {
		if v, at := r.up(pod); v != want || at <= after.UnixMilli() {
			return fmt.Errorf("up is %v at %v", v, time.UnixMilli(at))
		}
		return nil
	})
}

// metric returns a metric of the program, summed over its labels but one.
func (w *world) metric(r *running, name, label, value string) float64 {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), 10*time.Second)
	defer cancel()
	m, err := r.Metrics(ctx)
	if err != nil {
		w.Fatal(err)
	}
	return m.By(name, label)[value]
}
