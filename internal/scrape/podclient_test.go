package scrape

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/via"
)

// podGroup is a pod as discovery finds it.
func podGroup(name, ip, port string) *targetgroup.Group {
	return &targetgroup.Group{
		Source: "pod/shop/" + name,
		Labels: model.LabelSet{namespaceLabel: "shop", podNameLabel: model.LabelValue(name),
			podIPLabel: model.LabelValue(ip)},
		Targets: []model.LabelSet{{model.AddressLabel: model.LabelValue(ip + ":" + port)}},
	}
}

// apiServer stands in for an API server, and returns a job that discovers pods there.
func apiServer(t *testing.T, yaml string, answer http.HandlerFunc) *promconfig.ScrapeConfig {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	return job(t, fmt.Sprintf("  kubernetes_sd_configs: [{role: pod, api_server: %q}]\n%s", s.URL, yaml))
}

func throughAPIServer(limits via.Limits) *via.Proxies {
	return via.New(via.Options{Way: via.APIServer, Limits: limits}, nil)
}

func TestPodIsReadThroughTheAPIServer(t *testing.T) {
	var asked *http.Request
	cfg := apiServer(t, "  metrics_path: /stats/prometheus\n  params: {filter: ['istio.*']}\n",
		func(w http.ResponseWriter, r *http.Request) {
			asked = r
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
			fmt.Fprint(w, "x 1\n")
		})
	state, err := newJobState(cfg, Options{Via: throughAPIServer(via.DefaultLimits())})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(state.close)
	r := &relabeler{cfg: cfg, builder: labels.NewBuilder(labels.EmptyLabels()), scratch: model.LabelSet{},
		viaPods: true}
	_, targets := r.relabel(groupKey{}, podGroup("cart-0", "10.0.0.7", "15090"))
	if len(targets) != 1 || *targets[0].pod != (via.Pod{Namespace: "shop", Name: "cart-0"}) {
		t.Fatalf("targets = %+v", targets)
	}
	// The labels are those of direct scraping.
	if got := targets[0].labels.String(); got != `{instance="10.0.0.7:15090", job="envoy"}` {
		t.Errorf("labels = %s", got)
	}
	if p := getPage(t.Context(), state.fetcher, targets[0]); p.err != "" || p.body != "x 1\n" {
		t.Errorf("page = %+v", p)
	}
	want := "/api/v1/namespaces/shop/pods/cart-0:15090/proxy/stats/prometheus?filter=istio.%2A"
	if asked.RequestURI != want || asked.Header.Get("Accept") != state.fetcher.accept ||
		asked.Header.Get("Accept-Encoding") != "gzip" ||
		asked.Header.Get("X-Prometheus-Scrape-Timeout-Seconds") != "5" ||
		!strings.HasPrefix(asked.Header.Get("User-Agent"), "envoy-scraper/") {
		t.Errorf("asked for %s with %v, want %s", asked.RequestURI, asked.Header, want)
	}

	// A pod of the same address is another target, or a loop would ask for a pod that is gone.
	_, again := r.relabel(groupKey{}, podGroup("cart-1", "10.0.0.7", "15090"))
	if again[0].hash == targets[0].hash {
		t.Error("two pods with one address are one target")
	}
}

func TestS15OnlyThePodItself(t *testing.T) {
	static := &targetgroup.Group{Source: "0", Targets: []model.LabelSet{at("10.0.0.9:80")}}
	for name, tc := range map[string]struct {
		yaml  string
		group *targetgroup.Group
		err   string // part of the error; empty: the target is read directly
	}{
		"not of a pod": {"  static_configs: [{targets: ['10.0.0.9:80']}]\n", static, ""},
		"another address": {"  relabel_configs: [{target_label: __address__, replacement: '10.0.0.8:80'}]\n",
			podGroup("cart-0", "10.0.0.7", "15090"), "address 10.0.0.8 is not that of the pod, 10.0.0.7"},
		"a name": {"  relabel_configs: [{target_label: __address__, replacement: 'secrets.example:80'}]\n",
			podGroup("cart-0", "10.0.0.7", "15090"), "address secrets.example is not that of the pod"},
		"strict TLS": {"  scheme: https\n", podGroup("cart-0", "10.0.0.7", "15090"),
			"does not verify the certificate of a pod"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := apiServer(t, tc.yaml, func(http.ResponseWriter, *http.Request) {})
			r := &relabeler{cfg: cfg, builder: labels.NewBuilder(labels.EmptyLabels()), scratch: model.LabelSet{},
				viaPods: true}
			made, targets := r.relabel(groupKey{}, tc.group)
			switch {
			case tc.err == "" && (len(targets) != 1 || targets[0].pod != nil):
				t.Errorf("targets = %+v, invalid %+v", targets, made.invalid)
			case tc.err != "" && (len(made.invalid) != 1 || !strings.Contains(made.invalid[0].reason, tc.err)):
				t.Errorf("invalid = %+v, want %q", made.invalid, tc.err)
			}
		})
	}
}

func TestS15CredentialsDoNotReachTheAPIServer(t *testing.T) {
	cfg := apiServer(t, "  basic_auth: {username: u, password: hunter2}\n", func(http.ResponseWriter, *http.Request) {})
	r := newRig()
	r.opts.Via = throughAPIServer(via.DefaultLimits())
	_, err := r.Plan([]*promconfig.ScrapeConfig{cfg})
	if err == nil || !strings.Contains(err.Error(), "job envoy: basic_auth: a request through the API server cannot") ||
		strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error = %v", err)
	}
}

// TestDepartingPodsDoNotCount holds that pods whose loops only wait for their markers leave room within --via.limit.
func TestDepartingPodsDoNotCount(t *testing.T) {
	cfg := apiServer(t, "", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, "x 1\n")
	})
	limits := via.DefaultLimits()
	limits.Targets = 2
	r := newRig()
	r.opts.Via = throughAPIServer(limits)
	if err := r.Apply([]*promconfig.ScrapeConfig{cfg}); err != nil {
		t.Fatal(err)
	}
	for i, group := range []string{"cart-0", "cart-1", "cart-2"} { // a rollout replaces both pods, twice
		ip := fmt.Sprintf("10.0.%d.", i)
		r.Update(map[string][]*targetgroup.Group{"envoy": {
			podGroup(group+"-a", ip+"7", "15090"), podGroup(group+"-b", ip+"8", "15090")}})
		p := r.jobs["envoy"]
		for _, l := range p.loops {
			l.scraped = true // so that it waits for its markers
			if got := getPage(t.Context(), p.state.fetcher, l.target); got.err != "" || len(p.loops) != 2 {
				t.Errorf("round %d, %s: %+v, %d loops", i, l.target.url, got, len(p.loops))
			}
		}
		if got := len(p.departing); i > 0 && got == 0 {
			t.Errorf("round %d: no loop waits", i)
		}
	}
}

func TestReasonsOfRefusedReads(t *testing.T) {
	refusal := &url.Error{Op: "Get", URL: "http://10.0.0.7:15090/", Err: &via.Refusal{Reason: "forbidden"}}
	tooMany := &url.Error{Op: "Get", URL: "http://10.0.0.7/", Err: &via.TooManyTargetsError{Targets: 3, Limit: 2}}
	noServer := &url.Error{Op: "Get", URL: "http://10.0.0.7/", Err: &via.ServerError{Server: "https://10.0.0.1:6443",
		Err: syscall.ECONNREFUSED}}
	if got := reasonOf(noServer); got != "api_server" {
		t.Errorf("an API server that does not answer has the reason %s", got)
	}
	for want, err := range map[string]error{"api_server": refusal, "via_limit": tooMany, "via_rate": &via.RateError{},
		"timeout": &url.Error{Op: "Get", URL: "http://10.0.0.7/", Err: fmt.Errorf("busy: %w",
			context.DeadlineExceeded)}} {
		if got := reasonOf(err); got != want {
			t.Errorf("reason of %v = %s, want %s", err, got, want)
		}
	}
}

func TestOnceThroughTheAPIServer(t *testing.T) {
	cfg := apiServer(t, "", func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/pods/cart-0:15090/proxy/metrics") {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","message":"pods \"cart-1:15090\" is forbidden"}`)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, "x 1\ny 2\n")
	})
	proxy, err := throughAPIServer(via.DefaultLimits()).Of(cfg)
	if err != nil {
		t.Fatal(err)
	}
	pages := PagesOfPods(cfg, []*targetgroup.Group{
		podGroup("cart-0", "10.0.0.7", "15090"),
		podGroup("cart-1", "10.0.0.8", "15090"),
		{Source: "0", Targets: []model.LabelSet{at("10.0.0.9:80")}}}, Options{})
	if len(pages) != 2 {
		t.Fatalf("pages = %v", pages)
	}
	pages[0].Via, pages[1].Via = proxy, proxy
	if err := pages[0].Run(t.Context()); err != nil || pages[0].Counts.Scraped != 2 || pages[0].WireBytes != 8 {
		t.Errorf("%v, counts %+v, %d bytes", err, pages[0].Counts, pages[0].WireBytes)
	}
	var refusal *via.Refusal
	if err := pages[1].Run(t.Context()); !errors.As(err, &refusal) || pages[1].Response != nil {
		t.Errorf("error = %v, response %v", err, pages[1].Response)
	}
}

// TestAPageBeyondTheRate: a page that cannot end in time is refused as soon as that is known, with a reason of its own.
func TestAPageBeyondTheRate(t *testing.T) {
	cfg := apiServer(t, "  enable_compression: false\n", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, strings.Repeat("x_1234567 1\n", 200_000))
	})
	limits := via.DefaultLimits()
	limits.BytesPerSecond = via.MinBytesPerSecond // the page would take 37 s
	proxy, err := throughAPIServer(limits).Of(cfg)
	if err != nil {
		t.Fatal(err)
	}
	page := PagesOfPods(cfg, []*targetgroup.Group{podGroup("cart-0", "10.0.0.7", "15090")}, Options{})[0]
	page.Via, page.Timeout = proxy, 2*time.Second
	if err := page.Run(t.Context()); err == nil || reasonOf(err) != "via_rate" ||
		!strings.Contains(err.Error(), "raise --via.max-rate") {
		t.Errorf("error = %v, reason %s", err, reasonOf(err))
	}
}

func TestAnswersDirectly(t *testing.T) {
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		switch r.URL.Path {
		case "/metrics":
			w.Header().Set("Content-Type", "text/plain")
		case "/login":
			w.Header().Set("Content-Type", "text/html")
		case "/text":
			http.NotFound(w, r)
		case "/envoy":
			w.Header().Set("Server", "istio-envoy")
			w.WriteHeader(http.StatusNotFound)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(s.Close)
	up, err := url.Parse(s.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	down := &url.URL{Scheme: "http", Host: "127.0.0.1:1"}
	cfg := job(t, "")
	page := func(u *url.URL) *Once { return &Once{Job: cfg, URL: u} }
	good := page(up)
	all := []*Once{page(down), page(down), page(down), page(down), good}
	if got := AnswersDirectly(t.Context(), all, IsPage); got != good {
		t.Errorf("answered: %v", got)
	}
	// What a proxy answers in the place of a pod does not count.
	for _, path := range []string{"/text", "/gone", "/login"} {
		if got := AnswersDirectly(t.Context(), []*Once{page(up.JoinPath("..", path))}, IsPage); got != nil {
			t.Errorf("%s answered", got.URL)
		}
	}
	// An error that the pod itself gives is an answer of a pod that somebody names.
	for path, want := range map[string]bool{"/text": true, "/envoy": true, "/gone": false, "/login": false} {
		if got := AnswersDirectly(t.Context(), []*Once{page(up.JoinPath("..", path))}, IsAnswer); (got != nil) != want {
			t.Errorf("%s answers: %v, want %v", path, got != nil, want)
		}
	}
	asked.Store(0)
	if got := AnswersDirectly(t.Context(), []*Once{page(down)}, IsPage); got != nil {
		t.Errorf("answered: %v", got)
	}
	refusing := page(up)
	refusing.RefuseLoopback = true
	if got := AnswersDirectly(t.Context(), []*Once{refusing}, IsPage); got != nil || asked.Load() != 0 {
		t.Errorf("a loopback address that is refused: %v after %d requests", got, asked.Load())
	}
	if got := AnswersDirectly(t.Context(), nil, IsPage); got != nil {
		t.Errorf("of no pages: %v", got)
	}
}
