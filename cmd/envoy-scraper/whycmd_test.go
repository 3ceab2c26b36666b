package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/internal/diagnose"
	"github.com/envoy-scraper/envoy-scraper/internal/diagnose/show"
)

// servePods serves the API of a running process under a prefix, behind a password.
func servePods(t *testing.T) string {
	t.Helper()
	pods := []show.Pod{
		{Namespace: "shop", Name: "cart-1", Workload: "StatefulSet/cart", Verdict: diagnose.Down,
			Reason: show.Reason{Sentence: "nothing listens on 10.0.0.2:15090"}},
		{Namespace: "shop", Name: "batch-0", Workload: "Job/batch", Verdict: diagnose.Finished,
			Reason: show.Reason{Sentence: "its phase is Succeeded"}},
		{Namespace: "shop", Name: "cart-0", Workload: "StatefulSet/cart", Verdict: diagnose.Scraped,
			Reason: show.Reason{Sentence: "scraped every 15s"}},
		{Namespace: "pay", Name: "api-0", Verdict: diagnose.Scraped,
			Reason: show.Reason{Sentence: "scraped every 15s"}},
	}
	s := serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "canary" {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		if r.URL.Path != "/scraper/api/v1/pods" {
			http.NotFound(w, r)
			return
		}
		a := show.Answer{Total: len(pods), Pods: pods, Causes: []show.Cause{{Key: "refused", Verdict: diagnose.Down,
			Words: "nothing listens", Count: 1, Example: "shop/cart-1"}}}
		if name := r.URL.Query().Get("pod"); name != "" {
			found := show.Find(pods, name, "")
			a = show.Answer{Total: 1, Pods: found, Evidence: &show.Evidence{
				Kubectl: []string{"kubectl get --raw /api/v1/namespaces/" + found[0].Namespace}}}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": a})
	})
	return "http://me:canary@" + strings.TrimPrefix(s.URL, "http://") + "/scraper"
}

func TestWhyAsksARunningProcess(t *testing.T) {
	base := servePods(t)
	for _, c := range []struct {
		args []string
		code int
		want []string // parts of the output
		not  string   // that the output must not have
	}{
		{nil, 1, []string{"DOWN", "shop/cart-1", "4 pods: 1 DOWN, 1 FINISHED, 2 SCRAPED.", "1 × DOWN: nothing listens"},
			""},
		{[]string{"cart-0"}, 0, []string{"SCRAPED  shop/cart-0\nscraped every 15s\n", "kubectl get --raw"}, "cart-1"},
		{[]string{"pod/cart-1"}, 1, []string{"DOWN  shop/cart-1\nnothing listens on 10.0.0.2:15090\n"}, "cart-0"},
		{[]string{"cart-1.shop"}, 1, []string{"DOWN  shop/cart-1\n"}, ""},
		{[]string{"batch-0"}, 1, []string{"FINISHED  shop/batch-0"}, ""}, // it is not scraped
		{[]string{"ns/shop"}, 1, []string{"3 pods: 1 DOWN, 1 FINISHED, 1 SCRAPED."}, "×"},
		{[]string{"-n", "pay"}, 0, []string{"1 pod: 1 SCRAPED."}, "cart"},
		{[]string{"sts/cart"}, 1, []string{"2 pods: 1 DOWN, 1 SCRAPED."}, "batch"},
		{[]string{"job/batch"}, 0, []string{"1 pod: 1 FINISHED."}, ""}, // nothing to scrape is missing
		{[]string{"--output=json", "cart-0"}, 0, []string{`"verdict": "SCRAPED"`, `"kubectl": [`}, "VERDICT"},
	} {
		code, out, errs := runCommand(t, append([]string{"why", "--url", base + "/"}, c.args...)...)
		if code != c.code || errs != "" {
			t.Errorf("%v: exit %d, %s, want exit %d", c.args, code, errs, c.code)
		}
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("%v: no %q in\n%s", c.args, want, out)
			}
		}
		if c.not != "" && strings.Contains(out, c.not) {
			t.Errorf("%v: %q in\n%s", c.args, c.not, out)
		}
	}
}

func TestWhySaysWhatIsWrong(t *testing.T) {
	base := servePods(t)
	prometheus := serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"status":"success","data":{"resultType":"vector"}}`)
	})
	none := serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"status":"success","data":{"pods":[],"evidence":{}}}`)
	})
	page := serveFunc(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>hello") })
	endless := serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		for block := make([]byte, 1<<20); ; {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	rude := serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"status":"error","error":"\u001b[2Jno %s","data":{"pods":[]}}`, strings.Repeat("x", 1<<20))
	})
	silent := serveFunc(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	gone := serveFunc(t, nil)
	gone.Close()
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"unknown pod": {[]string{"--url", base, "crt-0"}, 1,
			"no pod crt-0 has an Envoy or should have one; the nearest names: shop/cart-0"},
		"unknown workload": {[]string{"--url", base, "deploy/zzzzzzz"}, 1,
			"no pod of deploy/zzzzzzz has an Envoy or should have one; envoy-scraper why lists the 4 pods"},
		"unknown namespace": {[]string{"--url", base, "-n", "ship"}, 1,
			"no pod in namespace ship has an Envoy or should have one; namespaces with such pods: pay, shop"},
		"no password": {[]string{"--url", strings.Replace(base, "me:canary@", "", 1)}, 1,
			"asks for a user name and a password"},
		"wrong password": {[]string{"--url", strings.Replace(base, "me:", "you:", 1)}, 1,
			"asks for a user name and a password"},
		"wrong path": {[]string{"--url", base + "/deeper"}, 1,
			"is not an envoy-scraper that knows pods: it answers 404 Not Found"},
		"another program": {[]string{"--url", prometheus.URL}, 1,
			"is not an envoy-scraper that knows pods: it answers 200 OK"},
		"no pod": {[]string{"--url", none.URL, "shop/cart-0"}, 1,
			"is not an envoy-scraper that knows pods: it answers with 0 pods when asked for one"},
		"a rude error": {[]string{"--url", rude.URL, "shop/cart-0"}, 1, `: \x1b[2Jno xxx`},
		"a web page":   {[]string{"--url", page.URL}, 1, "is not an envoy-scraper that knows pods"},
		"gigabytes": {[]string{"--url", endless.URL}, 1,
			"the answer is longer than 64.0 MiB; this is not an envoy-scraper"},
		"no answer": {[]string{"--url", silent.URL, "--timeout=100ms"}, 1,
			"did not answer in time (--timeout)"},
		"nothing listens": {[]string{"--url", gone.URL}, 1, "nothing listens there"},
		"not a URL": {[]string{"--url", "ftp://x"}, 1,
			"--url: not an http URL (give the URL of the pages, such as http://127.0.0.1:9095)"},
		"two sources": {[]string{"--url", base, "--config.file=x.yml"}, 2, "leave out --config.file"},
		"no time":     {[]string{"--url", base, "--timeout=0s"}, 2, "--timeout: 0s: give more than 0s"},
		"two pods":    {[]string{"--url", base, "a", "b"}, 2, "unexpected b"},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := runCommand(t, append([]string{"why"}, c.args...)...)
			if code != c.code || out != "" || !strings.Contains(errs, c.want) || strings.Contains(errs, "canary") ||
				len(errs) > 2000 {
				t.Errorf("exit %d, %q %q, want exit %d, %q", code, out, errs, c.code, c.want)
			}
		})
	}
}

// TestWhyScrapesAPodWithoutARecord: a gateway whose container and port have names of their own is known to be an Envoy
// by its page only.
func TestWhyScrapesAPodWithoutARecord(t *testing.T) {
	envoy := serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, "istio_requests_total{} 1\nenvoy_server_live{} 1\n")
	})
	_, port, _ := strings.Cut(strings.TrimPrefix(envoy.URL, "http://"), ":")
	pod := fmt.Sprintf(`{"kind":"Pod","apiVersion":"v1","metadata":{"name":"eg-0","namespace":"edge","uid":"1",
"resourceVersion":"1"},"spec":{"nodeName":"node-1","containers":[{"name":"envoy","ports":[{"name":"metrics",
"containerPort":%s,"protocol":"TCP"}]}]},"status":{"phase":"Running","podIP":"127.0.0.1"}}`, port)
	api := serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		answerAPI(w, r, func() {
			if strings.HasSuffix(r.URL.Path, "/pods/eg-0") {
				fmt.Fprint(w, pod)
				return
			}
			fmt.Fprintf(w, `{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[%s]}`, pod)
		})
	})
	file := writeFile(t, fmt.Sprintf(`
scrape_configs:
- job_name: gateways
  metrics_path: /stats/prometheus
  kubernetes_sd_configs: [{role: pod, api_server: %q}]
  relabel_configs:
  - {source_labels: [__meta_kubernetes_pod_container_port_name], action: keep, regex: metrics}
`, api.URL))
	for _, name := range []string{"edge/eg-0", "eg-0", "pod/eg-0"} {
		code, out, errs := runCommand(t, "why", "--config.file="+file, "--scrape.allow-loopback", "--via=direct", name)
		if code != 0 || !strings.HasPrefix(out, "SCRAPED  edge/eg-0\n") {
			t.Errorf("why %s: exit %d, %s%s", name, code, out, errs)
		}
	}
}
