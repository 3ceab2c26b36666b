package discovery

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	commonconfig "github.com/prometheus/common/config"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"go.uber.org/zap"
	"go.uber.org/zap/exp/zapslog"
	"go.uber.org/zap/zaptest/observer"
)

// respondFunc is an API server without a network.
type respondFunc func(r *http.Request) (status int, body string, err error)

// RoundTrip implements http.RoundTripper.
func (f respondFunc) RoundTrip(r *http.Request) (*http.Response, error) {
	status, body, err := f(r)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: status, Status: http.StatusText(status),
		Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func fakeClient(f respondFunc) *apiClient {
	return &apiClient{host: "https://kube.example", base: &url.URL{Scheme: "https", Host: "kube.example"},
		http: &http.Client{Transport: f}}
}

func podProvider() *provider {
	return &provider{
		kind: "kubernetes", jobs: []string{"envoy-stats"}, groups: map[string]*targetgroup.Group{},
		warnings: map[string]string{},
		needs:    kubernetesNeeds(&kubernetes.SDConfig{Role: kubernetes.RolePod}),
	}
}

func TestServerLogsAnOutageOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // with a fake clock
		var down atomic.Bool
		var requests, versions atomic.Int64
		client := fakeClient(func(r *http.Request) (int, string, error) {
			requests.Add(1)
			if down.Load() {
				return 0, "", errors.New("connection refused")
			}
			if r.URL.Path == "/version" {
				versions.Add(1)
			}
			return http.StatusOK, `{"kind":"PodList","items":[{}]}`, nil
		})
		log, logs := observedLog()
		s := newServer(serverKey{}, client, log, defaultPace())
		p := podProvider()
		p.note([]*targetgroup.Group{{Source: "pod/shop/reviews"}}, time.Now())
		s.setProviders([]*provider{p})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go s.run(ctx)

		<-time.After(time.Hour)
		if n := requests.Load(); n < 200 || n > 360 || versions.Load() < n*8/10 {
			t.Errorf("requests in a healthy hour = %d, of which for /version = %d", n, versions.Load())
		}
		down.Store(true)
		<-time.After(time.Hour)
		down.Store(false)
		<-time.After(20 * time.Second)
		if logs.Len() != 2 {
			t.Fatalf("log = %v, want two lines: unreachable, reachable again", logs.All())
		}
		again := logs.All()[1]
		if after := again.ContextMap()["after"].(time.Duration); again.Message != "Kubernetes API server "+
			"reachable again" ||
			after < 59*time.Minute || after > 61*time.Minute {
			t.Errorf("second line = %s %v", again.Message, again.ContextMap())
		}
	})
}

func TestWhatResponsesSayOfTheServer(t *testing.T) {
	list := `{"kind":"PodList","items":[]}`
	for name, c := range map[string]struct {
		status int
		body   string
		err    error
		want   State
		denied string
		text   string

		unknown bool // the response does not say whether objects exist
	}{
		"empty":      {status: 200, body: list, want: StateOK},
		"null items": {status: 200, body: `{"items":null}`, want: StateOK},
		"html": {status: 200, body: "<html>login</html>", want: StateUnreachable,
			text: "not that of a Kubernetes API server"},
		"not started": {status: 503, body: "starting", want: StateUnreachable, text: "Service Unavailable"},
		"too many":    {status: 429, want: StateOK, unknown: true},
		"no network":  {err: errors.New("no route to host"), want: StateUnreachable, text: "no route to host"},
		"slow":        {err: context.DeadlineExceeded, want: StateUnreachable, text: "no answer in time"},
		"unknown": {status: 401, body: `{"kind":"Status","message":"Unauthorized"}`, want: StateDenied,
			text: "Unauthorized: Unauthorized"},
		"forbidden": {status: 403, body: `{"kind":"Status","message":"pods is forbidden"}`, want: StateOK,
			denied: "may not list pods in all namespaces (Forbidden: pods is forbidden)"},
		"no such kind": {status: 404, want: StateOK, denied: "has no pods in all namespaces (Not Found)"},
	} {
		t.Run(name, func(t *testing.T) {
			log, _ := observedLog()
			s := newServer(serverKey{}, fakeClient(func(*http.Request) (int, string, error) {
				return c.status, c.body, c.err
			}), log, testPace())
			p := podProvider()
			s.setProviders([]*provider{p})
			s.probe(t.Context())
			if s.state != c.want || !strings.Contains(s.err, c.text) {
				t.Errorf("state = %s (%s), want %s (%s)", s.state, s.err, c.want, c.text)
			}
			if p.rights.denied != c.denied {
				t.Errorf("denied = %q, want %q", p.rights.denied, c.denied)
			}
			if empty := c.want == StateOK && c.denied == "" && !c.unknown; p.rights.empty != empty {
				t.Errorf("empty = %v, want %v", p.rights.empty, empty)
			}
		})
	}
}

func TestABusyServerIsReachable(t *testing.T) {
	log, _ := observedLog()
	s := newServer(serverKey{}, fakeClient(func(r *http.Request) (int, string, error) {
		if r.URL.Query().Has("limit") {
			return http.StatusOK, `{"items":[{}]}`, nil
		}
		return http.StatusTooManyRequests, "", nil
	}), log, testPace())
	p := podProvider()
	s.setProviders([]*provider{p})
	s.probe(t.Context()) // the watch cache is not full yet
	p.note(nil, time.Now())
	s.probe(t.Context()) // a request for /version
	if s.state != StateOK || s.cheap != 1 || p.rights.denied != "" {
		t.Errorf("state = %s, requests for /version %d, denied %q", s.state, s.cheap, p.rights.denied)
	}
}

func TestStoppingAServerLogsNothing(t *testing.T) {
	log, logs := observedLog()
	s := newServer(serverKey{}, fakeClient(func(r *http.Request) (int, string, error) {
		return 0, "", r.Context().Err()
	}), log, testPace())
	s.setProviders([]*provider{podProvider()})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.run(ctx)
	if logs.Len() != 0 || s.state != StateWaiting {
		t.Errorf("state = %s, log = %v", s.state, logs.All())
	}
}

func TestKubernetesNeeds(t *testing.T) {
	for name, c := range map[string]struct {
		config kubernetes.SDConfig
		want   []string // URL and query of each list
	}{
		"pods": {kubernetes.SDConfig{Role: kubernetes.RolePod}, []string{"/api/v1/pods?limit=1"}},
		"pods of a node": {
			kubernetes.SDConfig{Role: kubernetes.RolePod,
				Selectors: []kubernetes.SelectorConfig{{Role: kubernetes.RolePod, Field: "spec.nodeName=n1",
					Label: "a=b"}}},
			[]string{"/api/v1/pods?fieldSelector=spec.nodeName%3Dn1&labelSelector=a%3Db&limit=1"},
		},
		"pods of namespaces, with nodes": {
			kubernetes.SDConfig{
				Role: kubernetes.RolePod, NamespaceDiscovery: kubernetes.NamespaceDiscovery{Names: []string{"a", "b"}},
				AttachMetadata: kubernetes.AttachMetadataConfig{Node: true},
			},
			[]string{"/api/v1/namespaces/a/pods?limit=1", "/api/v1/namespaces/b/pods?limit=1", "/api/v1/nodes?limit=1"},
		},
		"nodes": {
			kubernetes.SDConfig{Role: kubernetes.RoleNode,
				NamespaceDiscovery: kubernetes.NamespaceDiscovery{Names: []string{"a"}}},
			[]string{"/api/v1/nodes?limit=1"},
		},
		"endpoint slices": {
			kubernetes.SDConfig{Role: kubernetes.RoleEndpointSlice},
			[]string{"/apis/discovery.k8s.io/v1/endpointslices?limit=1", "/api/v1/services?limit=1",
				"/api/v1/pods?limit=1"},
		},
		"deployments": {
			kubernetes.SDConfig{Role: kubernetes.RolePod,
				AttachMetadata: kubernetes.AttachMetadataConfig{
					PodMetadataConfig: kubernetes.PodMetadataConfig{Deployment: true}}},
			[]string{"/api/v1/pods?limit=1", "/apis/apps/v1/replicasets?limit=1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.config.HTTPClientConfig = commonconfig.DefaultHTTPClientConfig
			var got []string
			for _, n := range kubernetesNeeds(&c.config) {
				got = append(got, n.url()+"?"+n.listQuery().Encode())
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestClientGoLogsAtDebugLevel(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	log := slog.New(debugHandler{zapslog.NewHandler(core)}).With("logger", "client-go").WithGroup("g")
	log.Error("Failed to watch", "err", "refused")
	if logs.Len() != 1 || logs.All()[0].Level != zap.DebugLevel {
		t.Errorf("log = %v", logs.All())
	}
	core, logs = observer.New(zap.InfoLevel)
	slog.New(debugHandler{zapslog.NewHandler(core)}).Error("Failed to watch")
	if logs.Len() != 0 {
		t.Errorf("log = %v, want nothing", logs.All())
	}
}

func TestRepeatedWarningsAreLoggedOnce(t *testing.T) {
	var out bytes.Buffer
	p := podProvider()
	log := slog.New(onceHandler{slog.NewTextHandler(&out, nil), p.noteWarning}).With("discovery", "http")
	for range 3 {
		log.Error("Unable to refresh", "err", "refused")
	}
	log.Error("Error reading file", "path", "/a.json", "err", "bad")
	log.Error("Unable to refresh", "err", "refused")
	log.Info("refreshed")
	log.Info("refreshed")
	p.note(nil, time.Now())
	log.Error("Unable to refresh", "err", "refused")
	if got := strings.Count(out.String(), "Unable to refresh"); got != 2 {
		t.Errorf("logged %d times, want 2:\n%s", got, &out)
	}
	if got := strings.Count(out.String(), "msg=refreshed"); got != 2 {
		t.Errorf("an info message was dropped:\n%s", &out)
	}
	if st := p.status(time.Now(), testPace()); st.State != StateFailing ||
		st.Err != "Error reading file /a.json: bad; Unable to refresh: refused" {
		t.Errorf("status = %+v", st)
	}
	p.note([]*targetgroup.Group{{Source: "/a.json:0"}}, time.Now())
	if st := p.status(time.Now(), testPace()); st.Err != "" {
		t.Errorf("still failing: %+v", st)
	}
}

// TestLocalPortsDoNotMakeAWarningNew: errors that differ only in the local port of the connection are logged once.
func TestLocalPortsDoNotMakeAWarningNew(t *testing.T) {
	for _, address := range []string{"10.0.0.1", "[fd00::1]"} {
		var out bytes.Buffer
		log := slog.New(onceHandler{slog.NewTextHandler(&out, nil), podProvider().noteWarning})
		for _, port := range []string{"41001", "41002", "41003"} {
			log.Error("Unable to refresh", "err", "read tcp "+address+":"+port+"->10.0.0.2:443: i/o timeout")
		}
		log.Error("Unable to refresh", "err", "read tcp "+address+":41004->10.0.0.2:444: i/o timeout")
		if got := strings.Count(out.String(), "Unable to refresh"); got != 2 {
			t.Errorf("logged %d times, want 2:\n%s", got, &out)
		}
	}
}
