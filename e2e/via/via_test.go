package via

import (
	"encoding/pem"
	"fmt"
	"html"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/oracle"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

func TestReadingPodsThroughTheAPIServer(t *testing.T) {
	w := newWorld(t)
	for _, scenario := range []struct {
		name string
		run  func(*world)
	}{
		{"the series are those of direct scraping", sameSeries},
		{"auto", auto},
		{"an exec plugin", execPlugin},
		{"a token that rotates", rotatingToken},
		{"a right is missing", missingRight},
		{"who has answered", whoAnswers},
		{"TLS", strictTLS},
		{"a limit", beyondTheLimit},
		{"a context", chooseContext},
		{"a workload", workload},
	} {
		t.Run(scenario.name, func(t *testing.T) {
			in := *w
			in.T = t
			scenario.run(&in)
		})
	}
}

// check fails the test unless the output has every text, and the exit code is that.
func (w *world) check(out string, code, wantCode int, want ...string) {
	w.Helper()
	for _, text := range want {
		if !strings.Contains(out, text) {
			w.Errorf("the output lacks %q:\n%s", text, out)
		}
	}
	if code != wantCode {
		w.Errorf("exit code %d, want %d:\n%s", code, wantCode, out)
	}
}

// sameSeries runs the program in both ways, and compares everything that arrives.
func sameSeries(w *world) {
	began := time.Now()
	direct := w.run("direct", w.admin, "app in (details,reviews)")
	through := w.run("through", w.kubeconfig("viewer", w.account("viewer", "pods", "pods/proxy")),
		"app in (details,reviews)", "--via=apiserver")
	for _, pod := range []string{podNames[details], podNames[reviews]} {
		w.waitUp(direct, pod, 1, began)
		w.waitUp(through, pod, 1, began)
	}
	all := func(oracle.Labels) bool { return true }
	series := func(r *running) []string {
		return slices.Sorted(maps.Keys(r.receiver.Ledger.Samples(all)))
	}
	instance := fmt.Sprintf("%q", w.ips[reviews]+":15090")
	parts.Eventually(w.T, 30*time.Second, "the same series of both ways", func() error {
		want, got := series(direct), series(through)
		if len(want) < 10 || !slices.ContainsFunc(want, func(s string) bool { return strings.Contains(s, instance) }) {
			return fmt.Errorf("series of direct scraping: %s", strings.Join(want, "\n"))
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("through the API server:\n%s\ndirectly:\n%s", strings.Join(got, "\n"),
				strings.Join(want, "\n"))
		}
		return nil
	})
	if n := w.metric(through, "envoy_scraper_via_targets", "", ""); n != 2 {
		w.Errorf("%v targets are read through the API server, want 2", n)
	}
	if n := w.metric(through, "envoy_scraper_via_api_server", "", ""); n != 1 {
		w.Errorf("envoy_scraper_via_api_server = %v", n)
	}
	if n := w.metric(direct, "envoy_scraper_via_requests_total", "", ""); n != 0 {
		w.Errorf("%v requests of direct scraping went through the API server", n)
	}
	for _, place := range []string{through.Process.Log(), w.page(through, "/")} {
		for _, part := range []string{"through the API server", "not for production",
			`as user "token" of context "e2e"`} {
			if !strings.Contains(html.UnescapeString(place), part) {
				w.Errorf("the way is not told, %s:\n%s", part, place)
			}
		}
	}
}

// page reads a page of the program.
func (w *world) page(r *running, path string) string {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), http.MethodGet, r.URL+path, nil)
	if err != nil {
		w.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatal(err)
	}
	return string(body)
}

// auto takes the direct way if a pod answers, and the API server otherwise, and says so.
func auto(w *world) {
	out, code := w.scrape(w.admin, "-l", "app=details")
	w.check(out, code, 0, "http://"+w.ips[details]+":15090/stats/prometheus", "shop/details-v1-a",
		"directly: "+w.ips[details]+":15090 answers", "yes: istio_requests_total (1 series)")
	out, code = w.scrape(w.admin, podNames[distant])
	w.check(out, code, 0, "http://"+w.ips[distant]+":15090/stats/prometheus",
		"through the API server (user \"token\" of context \"e2e\"): "+w.ips[distant]+":15090 showed no page directly "+
			"within 2s",
		"yes: istio_requests_total (1 series)")

	began := time.Now()
	r := w.run("auto", w.admin, "app=distant", "--via=auto")
	w.waitUp(r, podNames[distant], 1, began)
	if log := r.Process.Log(); !strings.Contains(log, "--via=auto: pages of pods are read through the API server") {
		w.Errorf("the way is not logged:\n%s", log)
	}
	r = w.run("auto-direct", w.admin, "app=details", "--via=auto")
	w.waitUp(r, podNames[details], 1, began)
	if log := r.Process.Log(); !strings.Contains(log, "--via=auto: pages of pods are read directly") {
		w.Errorf("the way is not logged:\n%s", log)
	}
	out, code = parts.Output(w.T, []string{"KUBERNETES_SERVICE_HOST="}, w.binary, "targets", "--kubeconfig="+w.admin)
	w.check(out, code, 0, "Pages of pods are read from here directly: ")
	for command, want := range map[string]string{"why": "SCRAPED", "cost": "istio_requests_total"} {
		args := []string{command, "--kubeconfig=" + w.admin, "--via=apiserver"}
		if command == "why" {
			args = append(args, namespace+"/"+podNames[distant])
		}
		out, code = parts.Output(w.T, nil, w.binary, args...)
		w.check(out, code, 0, "Pages of pods are read through the API server (user \"token\" of context "+
			"\"e2e\"): as --via=apiserver says", want)
	}
}

// execPlugin has a program print the token, as managed clusters do.
func execPlugin(w *world) {
	plugin := w.write("plugin.sh", "#!/bin/sh\necho '{\"apiVersion\":\"client.authentication.k8s.io/v1\","+
		"\"kind\":\"ExecCredential\",\"status\":{\"token\":\""+w.account("exec", "pods", "pods/proxy")+"\"}}'\n")
	config := w.kubeconfigWith("exec", fmt.Sprintf("{exec: {apiVersion: client.authentication.k8s.io/v1, command: %q, "+
		"interactiveMode: Never}}", plugin), w.cluster.CAFile())
	out, code := w.scrape(config, "--via=apiserver", podNames[details])
	w.check(out, code, 0, "through the API server", "yes: istio_requests_total (1 series)")

	config = w.kubeconfigWith("no-exec", "{exec: {apiVersion: client.authentication.k8s.io/v1, "+
		"command: no-such-plugin, interactiveMode: Never}}", w.cluster.CAFile())
	out, code = w.scrape(config, "--via=apiserver", podNames[details])
	w.check(out, code, 1, "no-such-plugin")
}

// rotatingToken replaces the token in a file, and has the first one become invalid.
func rotatingToken(w *world) {
	file := w.write("token", w.account("first", "pods", "pods/proxy"))
	config := w.kubeconfigWith("rotating", fmt.Sprintf("{tokenFile: %q}", file), w.cluster.CAFile())
	began := time.Now()
	r := w.run("rotating", config, "app=details", "--via=apiserver")
	w.waitUp(r, podNames[details], 1, began)
	w.write("token", w.account("second", "pods", "pods/proxy"))
	if err := w.cluster.Admin().CoreV1().ServiceAccounts(namespace).Delete(w.Context(), "first",
		metav1.DeleteOptions{}); err != nil {
		w.Fatal(err)
	}
	// The API server remembers a token for some seconds, client-go for up to a minute.
	w.waitUp(r, podNames[details], 1, time.Now().Add(20*time.Second))
}

// missingRight has accounts that lack one of the two rights.
func missingRight(w *world) {
	onlyPods := w.kubeconfig("only-pods", w.account("only-pods", "pods"))
	out, code := w.scrape(onlyPods, "--via=apiserver", podNames[details])
	w.check(out, code, 1, "pod shop/details-v1-a was not asked", "kubectl auth can-i get pods/proxy -n shop")

	onlyProxy := w.kubeconfig("only-proxy", w.account("only-proxy", "pods/proxy"))
	out, code = w.scrape(onlyProxy, podNames[details])
	w.check(out, code, 0, "you may not get pods", "yes: istio_requests_total (1 series)")
	out, code = w.scrape(onlyProxy, "gone-v1-a")
	w.check(out, code, 1, "the API server has no pod shop/gone-v1-a: the name is wrong, or the pod was deleted (404)")
	out, code = w.scrape(onlyProxy, "-l", "app=details")
	w.check(out, code, 1, "kubectl auth can-i list pods -n shop")

	out, code = w.scrape(w.kubeconfig("nobody", "no-token-of-this-cluster"), "--via=apiserver", podNames[details])
	w.check(out, code, 1, "does not accept your credentials (401)")
}

// whoAnswers tells answers of a sidecar from those of the API server.
func whoAnswers(w *world) {
	for pod, want := range map[int][]string{
		lost: {"pod shop/lost-v1-a answers, but", "404 Not Found: there is no such page"},
		busy: {"pod shop/busy-v1-a answers, but", "503 Service Unavailable"},
		dead: {"pod shop/dead-v1-a does not answer on port 15090", "nothing listens on port 15090",
			"connection refused"},
	} {
		out, code := w.scrape(w.admin, "--via=apiserver", podNames[pod])
		w.check(out, code, 1, want...)
	}
	out, code := w.scrape(w.admin, "--via=apiserver", podNames[ratings])
	w.check(out, code, 0, "no: this is an Envoy, but it shows none of Istio's metrics")
	out, code = w.scrape(w.admin, "details-v1")
	w.check(out, code, 1, "namespace shop has no pod details-v1; the nearest names are details-v1-a")
	out, code = w.scrape(w.admin, "--port=9080", "--via=direct", podNames[dead])
	w.check(out, code, 1, "does not answer on port 9080", "nothing listens there")
}

// strictTLS holds that neither the API server's certificate nor that of a pod is taken on trust.
func strictTLS(w *world) {
	stranger := httptest.NewTLSServer(http.NotFoundHandler())
	w.Cleanup(stranger.Close)
	other := w.write("other.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE",
		Bytes: stranger.Certificate().Raw})))
	config := w.kubeconfigWith("other-ca", "{token: "+w.cluster.AdminToken()+"}", other)
	out, code := w.scrape(config, "--via=apiserver", podNames[details])
	w.check(out, code, 1, "certificate")

	const job = "- job_name: secure\n  scheme: https\n  metrics_path: /stats/prometheus\n" +
		"  static_configs: [{targets: ['127.0.0.1:1']}]\n"
	verified := w.write("verified.yml", job)
	out, code = w.scrape(w.admin, "--via=apiserver", fmt.Sprintf("--port=%d", tlsPort), "--config.file="+verified,
		podNames[secure])
	w.check(out, code, 1, "the API server does not verify the certificate of a pod")
	trusting := w.write("trusting.yml", job+"  tls_config: {insecure_skip_verify: true}\n")
	out, code = w.scrape(w.admin, "--via=apiserver", fmt.Sprintf("--port=%d", tlsPort), "--config.file="+trusting,
		podNames[secure])
	w.check(out, code, 0, fmt.Sprintf("https://%s:%d/stats/prometheus", w.ips[secure], tlsPort),
		"yes: istio_requests_total")
	withPassword := w.write("password.yml", strings.Replace(job, "https", "http", 1)+
		"  basic_auth: {username: u, password: hunter2}\n")
	out, code = w.scrape(w.admin, "--via=apiserver", "--config.file="+withPassword, podNames[details])
	w.check(out, code, 1, "basic_auth: a request through the API server cannot have it")
}

// beyondTheLimit scrapes more targets than --via.limit allows.
func beyondTheLimit(w *world) {
	began := time.Now()
	r := w.run("limited", w.admin, "app in (details,reviews)", "--via=apiserver", "--via.limit=1")
	w.waitUp(r, podNames[details], 0, began)
	w.waitUp(r, podNames[reviews], 0, began)
	if n := w.metric(r, "envoy_scraper_scrape_failures_total", "reason", "via_limit"); n < 2 {
		w.Errorf("%v scrapes failed because of the limit", n)
	}
	if n := w.metric(r, "envoy_scraper_via_requests_total", "", ""); n != 0 {
		w.Errorf("%v requests were sent beyond the limit", n)
	}
	if page := w.page(r, "/targets"); !strings.Contains(page, "more than --via.limit=1") {
		w.Errorf("the page does not say why:\n%s", page)
	}
	// With --via=auto the targets are known before the run begins.
	file := w.write("limited.yml", configuration("app in (distant,dead)")+
		"remote_write: [{url: 'http://127.0.0.1:1/w'}]\n")
	out, code := parts.Output(w.T, []string{"KUBERNETES_SERVICE_HOST="}, w.binary, "--config.file="+file,
		"--kubeconfig="+w.admin, "--storage.path=", "--web.listen-address=127.0.0.1:0", "--via=auto", "--via.limit=1")
	w.check(out, code, 1, "2 targets would be read through the API server, more than --via.limit=1")
}

// chooseContext has a kubeconfig whose current context does not exist. The context is chosen by a flag, through a copy
// that is gone when the program ends.
func chooseContext(w *world) {
	content, err := os.ReadFile(w.admin)
	if err != nil {
		w.Fatal(err)
	}
	config := w.write("two.kubeconfig", strings.Replace(string(content), "current-context: e2e",
		"current-context: none", 1))
	file := w.write("shop.yml", configuration("app=details"))
	folder := w.TempDir()
	w.Setenv("TMPDIR", folder) // where the copies are
	copies := func() []os.DirEntry {
		left, err := os.ReadDir(folder)
		if err != nil {
			w.Fatal(err)
		}
		return left
	}
	for _, command := range [][]string{{"targets"}, {"why", "shop/details-v1-a"}, {"cost"},
		{"scrape", "-n", namespace, podNames[details]}} {
		args := append(slices.Clone(command), "--kubeconfig="+config)
		if command[0] != "scrape" {
			args = append(args, "--config.file="+file)
		}
		out, code := parts.Output(w.T, nil, w.binary, append(args, "--context=e2e")...)
		w.check(out, code, 0, map[string]string{"why": "SCRAPED", "targets": "Targets: 1."}[command[0]])
		out, code = parts.Output(w.T, nil, w.binary, append(args, "--context=prod")...)
		w.check(out, code, 1, `the kubeconfig has no context "prod": choose one with --context: e2e`)
		out, code = parts.Output(w.T, nil, w.binary, args...)
		w.check(out, code, 1, "none", "--context")
	}
	began := time.Now()
	r := w.run("context", config, "app=details", "--via=apiserver", "--context=e2e")
	w.waitUp(r, podNames[details], 1, began)
	if left := copies(); len(left) != 1 {
		w.Errorf("a running process has %d copies of its kubeconfig: %v", len(left), left)
	}
	if code := r.Process.Stop(time.Minute); code != 0 {
		w.Errorf("exit code %d", code)
	}
	if left := copies(); len(left) != 0 {
		w.Errorf("copies of a kubeconfig are left behind: %v", left)
	}
}

// workload reads a pod of a Deployment.
func workload(w *world) {
	_, err := w.cluster.Admin().AppsV1().Deployments(namespace).Create(w.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "details"}, Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "details"}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "details"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app:1"}}}},
		}}, metav1.CreateOptions{})
	if err != nil {
		w.Fatal(err)
	}
	for _, way := range []string{"--via=direct", "--via=apiserver"} {
		out, code := w.scrape(w.admin, way, "deploy/details")
		w.check(out, code, 0, "shop/details-v1-a", "yes: istio_requests_total (1 series)")
	}
	out, code := w.scrape(w.admin, "deploy/reviews")
	w.check(out, code, 1, "namespace shop has no deploy/reviews")
}
