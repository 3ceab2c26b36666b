package pages

import (
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/browser"
	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/agent"
	"github.com/envoy-scraper/envoy-scraper/e2e/mesh"
	"github.com/envoy-scraper/envoy-scraper/e2e/meshtest"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

const (
	absent = 150 // targets at which nothing listens: more than a page shows

	canary = "canary-secret" // is in every secret of the configuration, and must be on no page
	evil   = `"><script>alert(1)</script><img src=https://evil.example/x onerror=alert(1)>`
)

// world is an envoy-scraper that scrapes a simulated mesh, and a browser.
type world struct {
	base     string // URL of the pages, with / at its end
	sidecars int    // of the mesh
	pod      string // namespace/name of one of them
	steps    string // address of the page that shows what the rules did to it
	group    string // address of the page of a group of aggregates
	sum      string // address of the page of one of them
	browser  *browser.Browser
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{browser: browser.Start(t)}
	sidecars := meshtest.Start(t, mesh.DefaultConfig())
	w.sidecars, w.pod = len(sidecars), sidecars[0].Namespace+"/"+sidecars[0].Pod
	a := agent.Start(t, agent.Config{
		Path: parts.Scraper(t), Dir: t.TempDir(), Name: "envoy-scraper",
		YAML: configuration(sidecars, startReceiver(t)), Args: []string{"--storage.path=" + t.TempDir()},
	})
	a.LogIfFailed(t)
	if _, err := a.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.base = a.URL + "/"
	parts.Eventually(t, time.Minute, "every target was scraped", func() error {
		_, text := w.get(t, "targets?format=text&state=unknown")
		if !strings.HasPrefix(text, "# Showing 0 of ") {
			return fmt.Errorf("%s", text)
		}
		return nil
	})
	_, text := w.get(t, "targets?search=pod_name="+sidecars[0].Pod)
	link := regexp.MustCompile(`href="(service-discovery\?[^"#]*explain=[^"#]*)`).FindStringSubmatch(text)
	if link == nil {
		t.Fatalf("no link to the steps of %s in %s", w.pod, text)
	}
	w.steps = html.UnescapeString(link[1])
	w.findSums(t)
	return w
}

// findSums finds a group of aggregates, and one of them.
func (w *world) findSums(t *testing.T) {
	t.Helper()
	parts.Eventually(t, time.Minute, "something is summed", func() error {
		var answer struct {
			Data struct{ Groups, Series []struct{ ID string } }
		}
		_, text := w.get(t, "api/v1/aggregates")
		if err := json.Unmarshal([]byte(text), &answer); err != nil || len(answer.Data.Groups) == 0 {
			return fmt.Errorf("%w in %s", err, text)
		}
		w.group = "aggregates?group=" + answer.Data.Groups[0].ID
		_, text = w.get(t, "api/v1/"+w.group)
		if err := json.Unmarshal([]byte(text), &answer); err != nil || len(answer.Data.Series) == 0 {
			return fmt.Errorf("%w in %s", err, text)
		}
		w.sum = w.group + "&series=" + answer.Data.Series[0].ID
		return nil
	})
}

// startReceiver runs a receiver that accepts everything, and returns its URL with a password.
func startReceiver(t *testing.T) string {
	t.Helper()
	r := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(r.Close)
	return strings.Replace(r.URL, "://", "://me:"+canary+"@", 1) + "/write?token=" + canary
}

// configuration has a job with the mesh, whose rules drop some targets, and a job whose targets are absent. JSON is
// YAML, too.
func configuration(sidecars []mesh.Sidecar, receiver string) string {
	const meta = "__meta_kubernetes_"
	group := func(address, namespace, pod, port string, more map[string]string) map[string]any {
		labels := map[string]string{meta + "namespace": namespace, meta + "pod_name": pod,
			meta + "pod_phase": "Running", meta + "pod_container_name": "istio-proxy",
			meta + "pod_container_port_name": port}
		for name, value := range more {
			labels[name] = value
		}
		return map[string]any{"targets": []string{address}, "labels": labels}
	}
	var found, missing []any
	for _, s := range sidecars {
		found = append(found, group(s.Addr.String(), s.Namespace, s.Pod, "http-envoy-prom", nil))
		if s.App != "" {
			found = append(found, group(s.Addr.Addr().String()+":9080", s.Namespace, s.Pod, "http", nil))
		}
	}
	for i := range absent {
		missing = append(missing, group(fmt.Sprintf("127.99.0.%d:1", i+1), fmt.Sprintf("team-%d", i%7),
			fmt.Sprintf("worker-%03d", i), "http-envoy-prom", map[string]string{"note": evil}))
	}
	rules := []any{
		map[string]any{"source_labels": []string{meta + "pod_container_port_name"}, "regex": ".*-envoy-prom",
			"action": "keep"},
		map[string]any{"source_labels": []string{meta + "namespace"}, "target_label": "namespace"},
		map[string]any{"source_labels": []string{meta + "pod_name"}, "target_label": "pod_name"},
	}
	job := func(name string, groups []any) map[string]any {
		return map[string]any{"job_name": name, "metrics_path": "/stats/prometheus", "static_configs": groups,
			"relabel_configs": rules, "params": map[string]any{"token": []string{canary}}}
	}
	text, err := json.Marshal(map[string]any{
		"global":         map[string]any{"scrape_interval": "2s", "scrape_timeout": "1s"},
		"scrape_configs": []any{job("envoy-stats", found), job("absent", missing)},
		"envoy_scraper": map[string]any{"aggregate": []any{map[string]any{"jobs": []string{"envoy-stats"},
			"match": "istio_.*", "without": []string{"instance"}, "as": map[string]string{"instance": "x"}}}},
		"remote_write": []any{map[string]any{"name": "main", "url": receiver,
			"protobuf_message": "prometheus.WriteRequest"}},
	})
	if err != nil {
		panic(err) // maps of strings can be encoded
	}
	return string(text)
}

// get asks for a page without a browser. headers are names and values.
func (w *world) get(t *testing.T, path string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", w.base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// open opens a page.
func (w *world) open(t *testing.T, path string) *browser.Page {
	t.Helper()
	p := w.browser.Open(t)
	p.Go(w.base + path)
	return p
}

// behind serves the pages below a prefix, as kubectl proxy and many ingresses do. It returns the new base. A request
// outside the prefix fails the test.
func (w *world) behind(t *testing.T, prefix string) string {
	t.Helper()
	to, err := url.Parse(w.base)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(prefix, http.StripPrefix(strings.TrimSuffix(prefix, "/"), httputil.NewSingleHostReverseProxy(to)))
	mux.HandleFunc("/", func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("a request outside of %s: %s", prefix, r.URL)
	})
	proxy := httptest.NewServer(mux)
	t.Cleanup(proxy.Close)
	return proxy.URL + prefix
}
