package discovery

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"go.uber.org/zap"
	"go.yaml.in/yaml/v2"
)

// targets lists the addresses of a job with one of their labels: "a:1 x, b:1 y".
func (h *harness) targets(job string, label model.LabelName) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for _, g := range h.groups[job] {
		for _, t := range g.Targets {
			value := t[label]
			if value == "" {
				value = g.Labels[label]
			}
			out = append(out, fmt.Sprintf("%s %s", t[model.AddressLabel], value))
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// TestListsOfTargets covers static_configs, file_sd_configs and http_sd_configs.
func TestListsOfTargets(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a.yml", "- {targets: ['f:1'], labels: {zone: y}}\n")
	write("b.json", `[{"targets": ["f:2"], "labels": {"zone": "j"}}]`)
	var mu sync.Mutex
	served := []map[string]any{{"targets": []string{"h:1"}, "labels": map[string]string{"zone": "w"}}}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path != "/list" || r.Header.Get("Authorization") != "Bearer tok" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(served)
	}))
	defer web.Close()

	h := newHarness(t, zap.NewNop())
	apply(t, h.Manager,
		parseJob(t, "static", "static_configs: [{targets: ['s:1', 's:2'], labels: {zone: s}}, {targets: ['s:3']}]"),
		parseJob(t, "file", "file_sd_configs: [{files: ['"+dir+"/*.yml', '"+dir+"/b.json'], refresh_interval: 100ms}]"),
		parseJob(t, "http", "http_sd_configs: [{url: '"+web.URL+
			"/list', authorization: {credentials: tok}, refresh_interval: 100ms}]"),
	)
	h.start(t)
	shows := func(job, want string) {
		t.Helper()
		eventually(t, job+" shows "+want, func() bool { return h.targets(job, "zone") == want })
	}
	shows("static", "s:1 s, s:2 s, s:3 ")
	shows("file", "f:1 y, f:2 j")
	shows("http", "h:1 w")

	write("a.yml", "- {targets: ['f:3']}\n")
	write("c.yml", "- {targets: ['f:4']}\n")
	shows("file", "f:2 j, f:3 , f:4 ")
	mu.Lock()
	served[0]["targets"] = []string{"h:2"}
	mu.Unlock()
	shows("http", "h:2 w")
}

// emptyAPI is an API server without objects. It remembers the requests.
type emptyAPI struct {
	*httptest.Server
	mu       sync.Mutex
	requests []string
}

func newEmptyAPI(t *testing.T) *emptyAPI {
	a := &emptyAPI{}
	closing := make(chan struct{})
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		a.mu.Lock()
		if q.Get("limit") != "1" { // not those that only check a right
			a.requests = append(a.requests, strings.TrimSpace(fmt.Sprintf("%s %s %s", r.URL.Path,
				q.Get("labelSelector"),
				q.Get("fieldSelector"))))
		}
		a.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		if q.Get("watch") != "" {
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
			case <-closing:
			}
			return
		}
		fmt.Fprint(w, `{"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": []}`)
	}))
	t.Cleanup(func() { close(closing); a.CloseClientConnections(); a.Close() })
	return a
}

func (a *emptyAPI) has(want string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Contains(a.requests, want)
}

// TestKubernetesFields covers kubernetes_sd_configs by the requests to the API server.
func TestKubernetesFields(t *testing.T) {
	for name, c := range map[string]struct {
		config string
		want   []string
	}{
		"role": {"role: service", []string{"/api/v1/services"}},
		"namespaces.names": {"role: pod, namespaces: {names: [a, b]}",
			[]string{"/api/v1/namespaces/a/pods", "/api/v1/namespaces/b/pods"}},
		"selectors": {"role: pod, selectors: [{role: pod, label: 'x=y', field: 'spec.nodeName=n'}]",
			[]string{"/api/v1/pods x=y spec.nodeName=n"}},
		"selectors[].role": {"role: endpoints, selectors: [{role: pod, label: 'x=y'}]",
			[]string{"/api/v1/pods x=y", "/api/v1/services"}},
		"attach_metadata.node":      {"role: pod, attach_metadata: {node: true}", []string{"/api/v1/nodes"}},
		"attach_metadata.namespace": {"role: pod, attach_metadata: {namespace: true}", []string{"/api/v1/namespaces"}},
		"attach_metadata.deployment": {"role: pod, attach_metadata: {deployment: true}",
			[]string{"/apis/apps/v1/replicasets"}},
		"attach_metadata.job":     {"role: pod, attach_metadata: {job: true}", []string{"/apis/batch/v1/jobs"}},
		"attach_metadata.cronjob": {"role: pod, attach_metadata: {cronjob: true}", []string{"/apis/batch/v1/jobs"}},
	} {
		t.Run(name, func(t *testing.T) {
			api := newEmptyAPI(t)
			h := newHarness(t, zap.NewNop())
			apply(t, h.Manager, parseJob(t, "j", "kubernetes_sd_configs: [{api_server: '"+api.URL+"', "+c.config+"}]"))
			h.start(t)
			for _, want := range c.want {
				eventually(t, "a request for "+want, func() bool { return api.has(want) })
			}
		})
	}
	t.Run("kubeconfig_file", func(t *testing.T) {
		api := newEmptyAPI(t)
		file := filepath.Join(t.TempDir(), "kubeconfig")
		text := "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: '" + api.URL +
			"'}}]\ncontexts: [{name: x, context: {cluster: c}}]\ncurrent-context: x\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		h := newHarness(t, zap.NewNop())
		apply(t, h.Manager, parseJob(t, "j", "kubernetes_sd_configs: [{role: pod, kubeconfig_file: '"+file+"'}]"))
		h.start(t)
		eventually(t, "a request for pods", func() bool { return api.has("/api/v1/pods") })
	})
	t.Run("own_namespace needs a process in the cluster", func(t *testing.T) {
		var c kubernetes.SDConfig
		if err := yaml.UnmarshalStrict([]byte("{role: pod, namespaces: {own_namespace: true}}"), &c); err != nil ||
			!c.NamespaceDiscovery.IncludeOwnNamespace {
			t.Errorf("%v, %+v", err, c.NamespaceDiscovery)
		}
		for _, other := range []string{"api_server: 'http://a'", "kubeconfig_file: k"} {
			err := yaml.UnmarshalStrict([]byte("{role: pod, namespaces: {own_namespace: true}, "+other+"}"), &c)
			if err == nil || !strings.Contains(err.Error(), "own_namespace") {
				t.Errorf("with %s: %v, want an error", other, err)
			}
		}
	})
}

// TestARemovedBadFileIsNoLongerAnError: a file with bad content is removed. The error goes, although discovery never
// reports the file again.
func TestARemovedBadFileIsNoLongerAnError(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "bad.json")
	if err := os.WriteFile(file, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHarness(t, zap.NewNop())
	apply(t, h.Manager, parseJob(t, "a", "file_sd_configs: [{files: ['"+filepath.ToSlash(dir)+"/*.json']}]"))
	h.start(t)
	eventually(t, "the error", func() bool { return h.Status()[0].State == StateFailing })
	if st := h.Status()[0]; !strings.Contains(st.Err, "bad.json") {
		t.Errorf("%q does not name the file", st.Err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no error", func() bool { return h.Status()[0].State != StateFailing })
}
