package why

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
	"github.com/envoy-scraper/envoy-scraper/e2e/process"
)

// appPort is a port of an application, which a sidecar captures.
const appPort = 9080

// envoy starts a real Envoy that serves its statistics on the addresses, as Istio's do on port 15090, and returns when
// it does. On strict, if it is not empty, it listens on appPort and takes only mutual TLS, as with a PeerAuthentication
// STRICT.
func (w *world) envoy(path, strict string, stats ...string) {
	w.Helper()
	dir := w.TempDir()
	ports, err := process.FreePorts(1)
	w.must(err)
	var listeners strings.Builder
	for i, address := range stats {
		fmt.Fprintf(&listeners, listenerText, fmt.Sprint("stats-", i), address, port, "", "")
	}
	if strict != "" {
		ca := w.cluster.CAFile()
		fmt.Fprintf(&listeners, listenerText, "strict", strict, appPort, strictListener,
			fmt.Sprintf(strictChain, ca, strings.TrimSuffix(ca, ".crt")+".key", ca))
	}
	file := filepath.Join(dir, "envoy.yaml")
	w.must(os.WriteFile(file, fmt.Appendf(nil, envoyText, ports[0], listeners.String(), ports[0]), 0o600))
	p := parts.Run(w.T, process.Spec{Name: "envoy", Path: path, LogFile: filepath.Join(dir, "envoy.log"),
		Args: []string{"--config-path", file, "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"}})
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	w.must(p.WaitReady(ctx, func(ctx context.Context) error {
		for _, address := range stats {
			if _, err := get(ctx, fmt.Sprintf("http://%s:%d/stats/prometheus", address, port), ""); err != nil {
				return err
			}
		}
		return nil
	}))
}

const envoyText = `node: {id: sidecar~why, cluster: why}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}
static_resources:
  listeners:
%s  clusters:
  - name: prometheus_stats
    type: STATIC
    connect_timeout: 1s
    load_assignment:
      cluster_name: prometheus_stats
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}}]}]
`

const listenerText = `  - name: %s
    address: {socket_address: {address: %s, port_value: %d}}
%s    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: stats
          route_config: {virtual_hosts: [{name: stats, domains: ["*"], routes: [
            {match: {prefix: /stats/prometheus}, route: {cluster: prometheus_stats}}]}]}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
%s`

const strictListener = `    listener_filters:
    - name: envoy.filters.listener.tls_inspector
      typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}
`

const strictChain = `      filter_chain_match: {transport_protocol: tls}
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
          common_tls_context:
            tls_certificates: [{certificate_chain: {filename: %q}, private_key: {filename: %q}}]
            validation_context: {trusted_ca: {filename: %q}}
`

// declares makes the sidecar declare a port by the name of Envoy's metrics.
func declares(number int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[1].Ports = []corev1.ContainerPort{{Name: "http-envoy-prom", ContainerPort: number}}
	}
}

// TestEnvoys has the situations that a real Envoy makes. A page of Envoy that is not valid UTF-8 is not among them:
// only Istio's filter puts bytes of a request into a label, and this Envoy has no such filter. TestOtherSituations has
// a server with such a page instead.
func TestEnvoys(t *testing.T) {
	path := parts.Envoy(t)
	if path == "" {
		t.Skip("SKIPPED: needs a real Envoy")
	}
	w := newWorld(t)
	all := []string{"get", "list", "watch"}
	const captured = "captured"
	w.grant(map[string][]string{shop: all, captured: all})

	t.Run("one page that every target answers with", func(t *testing.T) {
		// A sidecar that captures the scraper's traffic answers requests to any pod itself. Here one Envoy has the
		// addresses of all pods.
		in := *w
		in.T = t
		addresses := []string{in.unused(), in.unused(), in.unused()}
		in.envoy(path, "", addresses...)
		wants := map[string]want{}
		for i, address := range addresses {
			name, yes := fmt.Sprint("cart-", i), true
			in.pod(captured, name, address, func(p *corev1.Pod) {
				p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: name,
					UID: types.UID(name), Controller: &yes}}
			})
			wants[captured+"/"+name] = want{"SCRAPED", "scraped:own-page", "Job envoy-stats scrapes it every 2s",
				"envoy-scraper itself has a sidecar that captures its traffic"}
		}
		a := in.startWith([]string{"KUBERNETES_SERVICE_HOST=10.96.0.1"}, "captured",
			quick+in.job("envoy-stats", "", captured)+receiver)
		parts.Eventually(t, patience, "the process sees that all pages are one", func() error {
			got, err := in.ask(a, "")
			if err == nil {
				err = checkAll(wants, got)
			}
			return err
		})
		outside := in.startWith([]string{"KUBERNETES_SERVICE_HOST="}, "outside",
			quick+in.job("envoy-stats", "", captured)+receiver)
		parts.Eventually(t, patience, "a process that runs in no pod has no sidecar", func() error {
			got, err := in.ask(outside, "?verdict=SCRAPED")
			if err == nil && (len(got.Pods) != len(wants) || got.Pods[0].Reason.Cause == "scraped:own-page") {
				err = fmt.Errorf("rows %+v", got.Pods)
			}
			return err
		})
	})

	t.Run("TLS only and localhost only", func(t *testing.T) {
		in := *w
		in.T = t
		strict, localhost := in.unused(), in.unused()
		in.envoy(path, strict, localhost)
		in.pod(shop, "strict", strict, declares(appPort))
		// Envoy listens on the pod's localhost, for which another address stands in here. 15020 is pilot-agent's.
		local, l := in.listen(15020)
		in.serveOn(l, status(http.StatusForbidden, "Only requests from localhost are allowed"))
		in.pod(shop, "localhost-only", local, nil)
		in.pod(shop, "localhost-only-15090", in.unused(), nil)
		merged := in.job("merged", "", shop) + "  - {source_labels: [__meta_kubernetes_pod_ip, " +
			"__meta_kubernetes_pod_name], action: replace, regex: '(.+);localhost-only', replacement: '$1:15020', " +
			"target_label: __address__}\n  - {source_labels: [__meta_kubernetes_pod_name], action: keep, regex: " +
			"localhost-only}\n"
		a := in.start("envoys", quick+in.job("envoy-stats", "", shop)+merged+receiver)
		wants := map[string]want{
			"shop/strict": {"DOWN", "down:reset", "port 9080 ends the connection (reset)",
				"wants mutual TLS there (PeerAuthentication STRICT)"},
			"shop/localhost-only": {"DOWN", "down:refused:localhost-only", "nothing listens on port 15090",
				"Its port 15020 answers 403. If METRICS_LOCALHOST_ACCESS_ONLY"},
			"shop/localhost-only-15090": {"DOWN", "down:refused", "nothing listens on port 15090",
				"The pod is ready, so its Envoy runs. If METRICS_LOCALHOST_ACCESS_ONLY"},
		}
		parts.Eventually(t, patience, "the process says why no page comes", func() error {
			got, err := in.ask(a, "")
			if err == nil {
				err = checkAll(wants, got)
			}
			return err
		})
		// The Envoy does answer where it listens.
		body, err := get(t.Context(), fmt.Sprintf("http://%s:%d/stats/prometheus", localhost, port), "")
		if err != nil || !strings.Contains(body, "envoy_server_live") {
			t.Errorf("localhost: %v, %.100s", err, body)
		}
	})
}

// merging serves what pilot-agent does on port 15020: its own metrics, the page of the Envoy and that of the
// application, one after the other.
func merging(envoy, app string) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		text := "# TYPE istio_agent_scrapes_total counter\nistio_agent_scrapes_total 7\n"
		for _, url := range []string{envoy, app} {
			part, err := get(r.Context(), url, "")
			if err != nil {
				http.Error(rw, err.Error(), http.StatusServiceUnavailable)
				return
			}
			text += part
		}
		page(text)(rw, r)
	}
}

// mergedPod creates a pod whose port 15020 merges the page of its sidecar and that of its application.
func (w *world) mergedPod(name, app string) {
	w.Helper()
	_, l := w.listen(appPort)
	w.serveOn(l, page(app))
	address, merged := w.listen(15020)
	w.serveOn(merged, merging(fmt.Sprintf("http://%s:%d/stats/prometheus", w.serve(sidecarPage), port),
		"http://"+l.Addr().String()+"/metrics"))
	w.pod(shop, name, address, declares(15020))
}

// TestOtherSituations has a namespace that never answers, a selector that hides a pod, merged pages, and names and
// values in UTF-8 and beyond. Two things stand in for others: a port that never answers for a NetworkPolicy, which
// needs a network plugin that drops packets; and a server that merges pages for pilot-agent, which is not built here.
func TestOtherSituations(t *testing.T) {
	w := newWorld(t)
	all := []string{"get", "list", "watch"}
	const quiet, chosen = "quiet", "chosen"
	w.grant(map[string][]string{shop: all, quiet: all, chosen: all})
	w.mergedPod("merged", "# TYPE app_orders counter\napp_orders 3\n")
	w.mergedPod("merged-broken", "app_orders 1 2 3 four\n")
	w.pod(shop, "utf-8-names", w.serve(page("# TYPE istio_requests_total counter\nistio_requests_total{"+
		"\"request.host\"=\"caf\u00e9\"} 1\n# TYPE \"envoy.server.live\" gauge\n{\"envoy.server.live\"} 1\n")), nil)
	w.pod(shop, "not-utf-8", w.serve(page("istio_requests_total{request_host=\"a\xff\"} 1\n")), nil)
	for _, name := range []string{"pay-a", "pay-b"} {
		w.pod(quiet, name, w.silent(), nil)
	}
	w.pod(chosen, "wanted", w.serve(sidecarPage), func(p *corev1.Pod) {
		p.Labels = map[string]string{"team": "blue"}
	})
	w.pod(chosen, "unwanted", w.serve(sidecarPage), nil)
	yaml := quick + w.job("envoy-stats", "", shop, quiet) +
		w.job("of-blue", ", selectors: [{role: pod, label: team=blue}]", chosen) + receiver
	a := w.start("others", yaml)
	silent := want{"DOWN", "down:timeout:namespace:quiet", "there is no answer from port 15090 within 2s",
		"None of the 2 pods of namespace quiet answers, and those of other namespaces do: a NetworkPolicy"}
	wants := map[string]want{
		"shop/merged": {"SCRAPED", "scraped:merged", "Job envoy-stats scrapes it every 2s",
			"the merged one of port 15020"},
		"shop/merged-broken": {"DOWN", "down:merged-page", "its page is not in a format of Prometheus",
			"Port 15020 merges the pages"},
		"shop/utf-8-names": {"SCRAPED", "scraped", "Job envoy-stats scrapes it every 2s", ""},
		"shop/not-utf-8":   {"DOWN", "down:utf-8", "a label on its page is not valid UTF-8", "Remove that dimension"},
		"quiet/pay-a":      silent, "quiet/pay-b": silent,
		"chosen/wanted": {"SCRAPED", "scraped", "Job of-blue scrapes it every 2s", ""},
	}
	parts.Eventually(t, patience, "the process says of all pods what it should", func() error {
		got, err := w.ask(a, "")
		if err == nil {
			err = checkAll(wants, got)
		}
		return err
	})
	hidden := want{"NOT SEEN", "not-seen:selector", "job of-blue asks for pods with labels team=blue only",
		"Change selectors"}
	for _, from := range [][]string{{"--url", a.URL}, {"--config.file=" + w.file("others-once.yml", yaml),
		"--scrape.allow-loopback"}} {
		got, code := w.whyJSON(append(from, "chosen/unwanted")...)
		r, err := got.of("chosen/unwanted")
		if err == nil {
			err = hidden.check(r)
		}
		if err != nil || code != 1 {
			t.Errorf("%s: exit %d, %v", from[0], code, err)
		}
	}
}
