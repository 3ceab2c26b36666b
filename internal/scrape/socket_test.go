package scrape

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
)

// serveSocket starts a target at a Unix socket. Its page has one series, named name.
func serveSocket(t *testing.T, name string) (path string, requests func() []string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	srv := &httptest.Server{Listener: l, Config: &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			got = append(got, req.Host+req.URL.String())
			if req.URL.Path == "/elsewhere" {
				http.Redirect(w, req, "http://127.0.0.1:1/metrics", http.StatusFound)
				return
			}
			answer200(textType, name+" 1\n")(w, req)
		})}}
	srv.Start()
	t.Cleanup(srv.Close)
	return path, func() []string { return got }
}

// behind returns a target with a Unix socket and more labels.
func behind(socket string, more ...string) model.LabelSet {
	ls := model.LabelSet{model.AddressLabel: "sidecar", "__unix_socket__": model.LabelValue(socket)}
	for i := 0; i < len(more); i += 2 {
		ls[model.LabelName(more[i])] = model.LabelValue(more[i+1])
	}
	return ls
}

const staticList = "  static_configs: [{targets: [x]}]\n"

// TestTargetsWithUnixSockets: both clients scrape each target through its socket, even if the targets have the same
// address.
func TestTargetsWithUnixSockets(t *testing.T) {
	for client, yaml := range bothClients() {
		t.Run(client, func(t *testing.T) {
			one, requests := serveSocket(t, "one")
			two, _ := serveSocket(t, "two")
			r := newRig()
			r.opts.transport = nil
			r.apply(t, job(t, yaml+"  params: {a: [b]}\n"+staticList))
			r.Update(map[string][]*targetgroup.Group{
				"envoy": {{Source: "0", Targets: []model.LabelSet{behind(one, "n", "1"), behind(two, "n", "2")}}}})
			for range 2 {
				for _, l := range r.jobs["envoy"].loops {
					l.scrape(t.Context(), nil)
				}
			}
			for i := range 4 {
				var shown string
				for series := range r.values(t, i) {
					shown += series
				}
				first := strings.Contains(shown, `n="1"`)
				if strings.Contains(shown, `"one"`) != first || strings.Contains(shown, `"two"`) == first ||
					!strings.Contains(shown, `instance="sidecar"`) {
					t.Errorf("scrape %d shows %s", i, shown)
				}
			}
			if got, want := fmt.Sprint(requests()), "[sidecar/metrics?a=b sidecar/metrics?a=b]"; got != want {
				t.Errorf("requests %s, want %s", got, want)
			}
		})
	}
}

// TestDiscoveredTargetsMayNotUseUnixSockets: a pod must not choose the socket that is opened.
func TestDiscoveredTargetsMayNotUseUnixSockets(t *testing.T) {
	group := func(source string, ls model.LabelSet) *targetgroup.Group {
		return &targetgroup.Group{Source: source, Targets: []model.LabelSet{behind("/run/x.sock")}, Labels: ls}
	}
	for name, c := range map[string]struct {
		yaml  string
		group *targetgroup.Group
		ok    bool
	}{
		"static list": {staticList, group("0", nil), true},
		"file": {"  file_sd_configs: [{files: [a.json]}]\n",
			group("a.json:0", model.LabelSet{"__meta_filepath": "a.json"}), true},
		"Kubernetes": {"  http_sd_configs: [{url: 'http://x'}]\n", group("pod/default/p", nil), false},
		"Kubernetes with a rule": {"  http_sd_configs: [{url: 'http://x'}]\n  relabel_configs: [{target_label: " +
			"__unix_socket__, replacement: /run/y.sock}]\n", group("pod/default/p", nil), false},
		"Kubernetes and a list": {"  http_sd_configs: [{url: 'http://x'}]\n" + staticList, group("pod/default/p", nil),
			false},
		"Kubernetes and files": {"  http_sd_configs: [{url: 'http://x'}]\n  file_sd_configs: [{files: [a.json]}]\n",
			group("pod/default/p", nil), false},
		"HTTP": {"  http_sd_configs: [{url: 'http://x'}]\n",
			group("http://x:0", model.LabelSet{"__meta_url": "http://x"}), false},
	} {
		t.Run(name, func(t *testing.T) {
			m := makeTargets(job(t, c.yaml), []*targetgroup.Group{c.group}, false)
			if (len(m.targets) == 1) != c.ok || (len(m.errors) == 1) == c.ok {
				t.Fatalf("%d targets, errors %q", len(m.targets), m.errors)
			}
			if !c.ok && !strings.Contains(m.errors[0], "__unix_socket__: /run/") {
				t.Errorf("error %q does not name the socket", m.errors[0])
			}
		})
	}
}

func TestUnusualUnixSockets(t *testing.T) {
	one, requests := serveSocket(t, "one")
	for name, c := range map[string]struct {
		target  model.LabelSet
		wantErr string
	}{
		"missing":           {behind(filepath.Join(t.TempDir(), "none")), "no such file"},
		"forbidden address": {behind(one, string(model.AddressLabel), "169.254.169.254:80"), ""},
		// through the socket, as in Prometheus
		"redirect": {behind(one, string(model.MetricsPathLabel), "/elsewhere"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig()
			r.opts.transport = nil
			if err := r.Apply([]*promconfig.ScrapeConfig{job(t, staticList)}); err != nil {
				t.Fatal(err)
			}
			r.Update(map[string][]*targetgroup.Group{"envoy": {{Source: "0", Targets: []model.LabelSet{c.target}}}})
			before := len(requests())
			err := (&served{rig: r}).scrape(t)
			if (err == "") != (c.wantErr == "") || !strings.Contains(err, c.wantErr) {
				t.Errorf("error %q, want one with %q", err, c.wantErr)
			}
			if c.wantErr == "" && len(requests()) == before {
				t.Error("no request came through the socket")
			}
			if err := r.Apply(nil); err != nil {
				t.Fatal(err)
			}
		})
	}
}
