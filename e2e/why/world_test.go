package why

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/agent"
	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/oracle"
	"github.com/envoy-scraper/envoy-scraper/e2e/cluster"
	"github.com/envoy-scraper/envoy-scraper/e2e/clustertest"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

const (
	patience = 60 * time.Second // limit for events that take seconds on an idle machine
	account  = "scraper"
	port     = 15090 // Istio's

	// The namespaces of the pods.
	shop   = "shop"   // the job looks here
	six    = "six"    // another job makes bad IPv6 addresses here
	dark   = "dark"   // no job looks here
	secret = "secret" // the account may get pods here, and not list them
)

// world is a real API server, and pods whose Envoys are servers of this test on loopback addresses.
type world struct {
	*testing.T
	cluster    *cluster.Cluster
	binary     string
	dir        string
	kubeconfig string // of an account with few rights
	addresses  *oracle.AddressRange
	hosts      int // addresses that are in use
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{T: t, dir: t.TempDir(), hosts: 1, cluster: clustertest.Start(t), binary: parts.Scraper(t),
		addresses: parts.Addresses(t)}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// grant makes the account, which may do the verbs with the pods of each namespace.
func (w *world) grant(rights map[string][]string) {
	w.Helper()
	var all []cluster.Right
	for namespace, verbs := range rights {
		w.must(w.cluster.CreateNamespace(w.Context(), namespace, nil))
		all = append(all, cluster.Right{Namespace: namespace, Resources: []string{"pods"}, Verbs: verbs})
	}
	token, err := w.cluster.CreateAccount(w.Context(), "default", account, all...)
	w.must(err)
	w.kubeconfig, err = w.cluster.WriteKubeconfig("kubeconfig", token)
	w.must(err)
}

// listen opens the port of an address of its own, and returns the address.
func (w *world) listen(port int) (string, net.Listener) {
	w.Helper()
	w.hosts++
	l, err := w.addresses.Listen(w.hosts, port)
	w.must(err)
	w.Cleanup(func() { _ = l.Close() })
	host, _, err := net.SplitHostPort(l.Addr().String())
	w.must(err)
	return host, l
}

// serve serves a page on an address of its own, and returns the address.
func (w *world) serve(page http.HandlerFunc) string {
	w.Helper()
	host, l := w.listen(port)
	w.serveOn(l, page)
	return host
}

// serveOn serves a page on a listener.
func (w *world) serveOn(l net.Listener, page http.HandlerFunc) {
	w.Helper()
	s := &http.Server{Handler: page, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.Serve(l) }()
	w.Cleanup(func() { _ = s.Close() })
}

// unused returns an address on which nothing listens.
func (w *world) unused() string {
	w.Helper()
	host, l := w.listen(port)
	w.must(l.Close())
	return host
}

// silent returns an address whose port takes connections and never answers.
func (w *world) silent() string {
	w.Helper()
	host, _ := w.listen(port)
	return host
}

// pod creates a pod with a sidecar. change, if it is not nil, edits it before.
func (w *world) pod(namespace, name, ip string, change func(*corev1.Pod)) {
	w.Helper()
	p := cluster.Pod{Namespace: namespace, Name: name, IP: ip, Sidecar: cluster.PlainSidecar}.Object()
	if change != nil {
		change(p)
	}
	w.must(w.cluster.Create(w.Context(), p))
}

// proxy returns the container of a sidecar. Its port has the name; without a name it declares none.
func proxy(portName string) corev1.Container {
	c := corev1.Container{Name: "istio-proxy", Image: "proxyv2:1"}
	if portName != "" {
		c.Ports = []corev1.ContainerPort{{Name: portName, ContainerPort: port}}
	}
	return c
}

// job returns a job for the pods of some namespaces. more is added to its discovery. Further rules may follow.
func (w *world) job(name, more string, namespaces ...string) string {
	return fmt.Sprintf("- job_name: %s\n  metrics_path: /stats/prometheus\n  kubernetes_sd_configs: [{role: pod, "+
		"kubeconfig_file: %s, namespaces: {names: [%s]}%s}]\n  relabel_configs:\n"+
		"  - {source_labels: [__meta_kubernetes_pod_container_port_name], action: keep, regex: '.*-envoy-prom'}\n"+
		"  - {source_labels: [__meta_kubernetes_pod_name], target_label: pod_name}\n", name, w.kubeconfig,
		strings.Join(namespaces, ", "), more)
}

const (
	quick    = "global: {scrape_interval: 2s, scrape_timeout: 2s}\nscrape_configs:\n"
	receiver = "remote_write: [{url: 'http://127.0.0.1:1/'}]\n"
)

// start starts the program and waits until it lives. It may never be ready, if rights are missing.
func (w *world) start(name, yaml string, args ...string) *agent.Agent {
	w.Helper()
	return w.startWith(nil, name, yaml, args...)
}

// startWith is start with more variables in the environment.
func (w *world) startWith(env []string, name, yaml string, args ...string) *agent.Agent {
	w.Helper()
	a := agent.Start(w.T, agent.Config{Path: w.binary, Dir: w.dir, Name: name, YAML: yaml, Env: env,
		Args: append([]string{"--scrape.allow-loopback", "--storage.path="}, args...)})
	a.LogIfFailed(w.T)
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	w.must(a.Process.WaitReady(ctx, func(ctx context.Context) error {
		_, err := get(ctx, a.URL+"/-/healthy", "")
		return err
	}))
	return a
}

func get(ctx context.Context, url, accept string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

// row is a pod as the JSON of the API and of the command shows it.
type row struct {
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	Verdict   string `json:"verdict"`
	Reason    struct {
		Sentence string `json:"sentence"`
		Hint     string `json:"hint"`
		Command  string `json:"command"`
		Cause    string `json:"cause"`
	} `json:"reason"`
}

// answer is what the API answers and the command prints.
type answer struct {
	Pods     []row    `json:"pods"`
	Notes    []string `json:"notes"`
	Evidence *struct {
		Relabeling []struct {
			Job   string `json:"job"`
			Kept  bool   `json:"kept"`
			Steps []struct {
				Kept bool `json:"kept"`
			} `json:"steps"`
		} `json:"relabeling"`
		Page *struct {
			Status string `json:"status"`
			Body   string `json:"body"`
			Err    string `json:"error"`
		} `json:"page"`
		Kubectl   []string `json:"kubectl"`
		APIServer []struct {
			Name, Value string
		} `json:"apiServer"`
		Err string `json:"apiServerError"`
	} `json:"evidence"`
}

func (a answer) of(name string) (row, error) {
	for _, r := range a.Pods {
		if r.Namespace+"/"+r.Pod == name {
			return r, nil
		}
	}
	return row{}, fmt.Errorf("no row of %s among %d", name, len(a.Pods))
}

// ask gets the API of a running process.
func (w *world) ask(a *agent.Agent, query string) (answer, error) {
	body, err := get(w.Context(), a.URL+"/api/v1/pods"+query, "")
	if err != nil {
		return answer{}, err
	}
	var got struct {
		Status, Error string
		Data          answer
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		return answer{}, fmt.Errorf("%w in %s", err, body)
	}
	if got.Status != "success" {
		return answer{}, fmt.Errorf("%s", got.Error)
	}
	return got.Data, nil
}

// why runs the command and returns its output and exit code.
func (w *world) why(args ...string) (string, int) {
	w.Helper()
	return parts.Output(w.T, nil, w.binary, append([]string{"why"}, args...)...)
}

// whyJSON runs the command with --output=json.
func (w *world) whyJSON(args ...string) (answer, int) {
	w.Helper()
	text, code := w.why(append([]string{"--output=json"}, args...)...)
	var a answer
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		w.Fatalf("why %v: %v in %s", args, err, text)
	}
	return a, code
}

// file writes a configuration for the command.
func (w *world) file(name, yaml string) string {
	w.Helper()
	path := filepath.Join(w.dir, name)
	w.must(os.WriteFile(path, []byte(yaml), 0o600))
	return path
}

// sidecarPage is a page of an Envoy that has served requests.
func sidecarPage(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	fmt.Fprint(w, "# TYPE istio_requests_total counter\nistio_requests_total{reporter=\"destination\","+
		"response_code=\"200\"} 12\n# TYPE envoy_server_live gauge\nenvoy_server_live{} 1\n")
}

func status(code int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, text, code) }
}

func page(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprint(w, text)
	}
}

// large returns a page with n series.
func large(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "envoy_cluster_upstream_cx_total{envoy_cluster_name=\"c%d\"} 1\n", i)
	}
	return b.String()
}
