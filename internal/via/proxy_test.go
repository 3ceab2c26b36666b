package via

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	config_util "github.com/prometheus/common/config"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"k8s.io/client-go/rest"
)

var cart = Pod{"shop", "cart-0"}

// through returns a proxy for a server that stands in for an API server.
func through(t *testing.T, limits Limits, server http.HandlerFunc) *Proxy {
	t.Helper()
	s := httptest.NewServer(server)
	t.Cleanup(s.Close)
	p, err := New(Options{Way: APIServer, Limits: limits}, prometheus.NewRegistry()).
		Through(&rest.Config{Host: s.URL, BearerToken: "ours"}, &promconfig.ScrapeConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// get asks for a page of a pod as scrape does.
func get(ctx context.Context, p *Proxy, pod Pod, page string) (*http.Response, string, error) {
	req, err := http.NewRequestWithContext(WithPod(ctx, pod), http.MethodGet, page, http.NoBody)
	if err != nil {
		return nil, "", err
	}
	req.Header.Set("Accept", "text/plain")
	req.Header.Set("Accept-Encoding", "gzip")
	resp, err := (&http.Client{Transport: p}).Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close() //nolint:errcheck // the body was read
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

func TestRequestBecomesOneToTheAPIServer(t *testing.T) {
	for page, want := range map[string]string{
		"http://10.0.0.7:15090/stats/prometheus?filter=a%2Bb&usedonly": "/api/v1/namespaces/shop/pods/" +
			"cart-0:15090/proxy/stats/prometheus?filter=a%2Bb&usedonly",
		"https://10.0.0.7:8443/metrics": "/api/v1/namespaces/shop/pods/https:cart-0:8443/proxy/metrics",
		"http://10.0.0.7/metrics":       "/api/v1/namespaces/shop/pods/cart-0:80/proxy/metrics",
		"https://[fd00::7]/metrics":     "/api/v1/namespaces/shop/pods/https:cart-0:443/proxy/metrics",
		"http://10.0.0.7:15090":         "/api/v1/namespaces/shop/pods/cart-0:15090/proxy/",
		"http://10.0.0.7:15090/a%2Fb/":  "/api/v1/namespaces/shop/pods/cart-0:15090/proxy/a%2Fb/",
	} {
		var asked *http.Request
		p := through(t, DefaultLimits(), func(w http.ResponseWriter, r *http.Request) {
			asked = r
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
			fmt.Fprint(w, "a 1\n")
		})
		resp, body, err := get(t.Context(), p, cart, page)
		if err != nil {
			t.Errorf("%s: %v", page, err)
			continue
		}
		if asked.RequestURI != want || asked.Header.Get("Authorization") != "Bearer ours" ||
			asked.Header.Get("Accept") != "text/plain" || asked.Header.Get("Accept-Encoding") != "gzip" {
			t.Errorf("%s: asked for %s with %v, want %s", page, asked.RequestURI, asked.Header, want)
		}
		if body != "a 1\n" || resp.Request.URL.String() != page {
			t.Errorf("%s: answer %q of %s", page, body, resp.Request.URL)
		}
	}
}

// TestS15PodsChooseNoPathOfTheAPIServer holds that neither a pod's annotations, which may choose the path of its page,
// nor a discovery that lies about names, reach another path of the API server.
func TestS15PodsChooseNoPathOfTheAPIServer(t *testing.T) {
	p := through(t, DefaultLimits(), func(_ http.ResponseWriter, r *http.Request) { t.Errorf("asked for %s", r.URL) })
	for _, page := range []string{
		"http://10.0.0.7:15090/../../../secrets", "http://10.0.0.7:15090/a/%2e%2e/b",
		"http://10.0.0.7:15090/a%2f..%2fb",
		"http://10.0.0.7:15090/./a",
	} {
		_, _, err := get(t.Context(), p, cart, page)
		if err == nil || !strings.Contains(err.Error(), "a path with . or ..") {
			t.Errorf("%s: error = %v", page, err)
		}
	}
	for _, pod := range []Pod{{"shop", "x/../../secrets"}, {"shop/pods", "x"}, {"", "x"}, {"shop", "x%2fy"},
		{"..", "x"}} {
		if _, _, err := get(t.Context(), p, pod, "http://10.0.0.7/"); err == nil ||
			!strings.Contains(err.Error(), "is not the name of a pod or namespace") {
			t.Errorf("%s: error = %v", pod, err)
		}
	}
	if _, _, err := get(t.Context(), p, cart, "http://u:p@10.0.0.7/"); err == nil ||
		!strings.Contains(err.Error(), "does not pass on credentials") || strings.Contains(err.Error(), "u:p@") {
		t.Errorf("error = %v", err)
	}
}

func TestRefusalsInWords(t *testing.T) {
	status := func(message string) string {
		text, err := json.Marshal(message)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","message":%s}`, text)
	}
	for name, tc := range map[string]struct {
		code         int
		body         string
		reason, want string // want: part of the text
	}{
		"401": {401, status("Unauthorized"), reasonUnauthorized, "log in again"},
		"403": {403, status(`pods "cart-0:15090" is forbidden: User "eve" cannot get resource "pods/proxy"`),
			reasonForbidden, "kubectl auth can-i get pods/proxy -n shop"},
		"404": {404, status(`pods "cart-0" not found`), reasonGone, "has no pod shop/cart-0: the name is wrong"},
		"400": {400, status("address not allowed"), reasonAddress, "loopback or link-local"},
		"429": {429, status("slow down"), reasonBusy, "overloaded"},
		"refused": {503, status("error trying to reach service: dial tcp 10.0.0.7:15090: connect: connection refused"),
			ReasonUnreachable, "nothing listens on port 15090 of pod shop/cart-0"},
		"timeout": {503, status("error trying to reach service: dial tcp 10.0.0.7:15090: i/o timeout"),
			ReasonUnreachable, "kubectl port-forward -n shop pod/cart-0 15090 may still work"},
		"broken": {503, status("error trying to reach service: EOF"), ReasonUnreachable,
			"got no answer from port 15090"},
		"a command": {503, status("error trying to reach service: \u001b[2J\n"), ReasonUnreachable,
			"shop/cart-0 (503: \ufffd[2J\ufffd)"},
		"down":  {503, status("etcd is away"), reasonOther, "not available"},
		"other": {500, status(strings.Repeat("x", 1000)), reasonOther, "answers 500: xxx"},
	} {
		t.Run(name, func(t *testing.T) {
			p := through(t, DefaultLimits(), func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(tc.code)
				fmt.Fprint(w, tc.body)
			})
			_, _, err := get(t.Context(), p, cart, "http://10.0.0.7:15090/stats/prometheus")
			var refusal *Refusal
			if !errors.As(err, &refusal) || refusal.Code != tc.code || refusal.Reason != tc.reason ||
				!strings.Contains(refusal.Error(), tc.want) || len(refusal.Error()) > 500 {
				t.Errorf("error = %v (%+v), want %s: %s", err, refusal, tc.reason, tc.want)
			}
		})
	}
}

// TestAnswersOfThePod holds that the pod's own errors stay its own.
func TestAnswersOfThePod(t *testing.T) {
	for _, tc := range []struct {
		code              int
		contentType, body string
	}{
		{404, "text/plain", "no such page"},
		{503, "text/plain", `{"kind":"Status","apiVersion":"v1"}`},
		{503, "application/json", `{"error":"overloaded"}`},
		{500, "application/json", `{"kind":"Status"` + strings.Repeat(" ", 2*maxStatusBytes)},
		{200, "application/json", `{"kind":"Status","apiVersion":"v1"}`},
	} {
		p := through(t, DefaultLimits(), func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Audit-Id", "1")
			w.Header().Set("Content-Type", tc.contentType)
			w.WriteHeader(tc.code)
			fmt.Fprint(w, tc.body)
		})
		resp, body, err := get(t.Context(), p, cart, "http://10.0.0.7:15090/stats/prometheus")
		if err != nil || resp.StatusCode != tc.code || body != tc.body {
			t.Errorf("%d %s %.40s: %v, body %.40q", tc.code, tc.contentType, tc.body, err, body)
		}
	}
}

// TestAnswersBeforeTheAPIServer holds that an error of a load balancer is not taken for one of the pod.
func TestAnswersBeforeTheAPIServer(t *testing.T) {
	p := through(t, DefaultLimits(), func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "<html>no healthy upstream</html>", http.StatusBadGateway)
	})
	var refusal *Refusal
	_, _, err := get(t.Context(), p, cart, "http://10.0.0.7:15090/stats/prometheus")
	if !errors.As(err, &refusal) || refusal.Code != 502 || refusal.Reason != reasonOther ||
		!strings.Contains(err.Error(), "something in front of the API server answers 502") {
		t.Errorf("error = %v", err)
	}
}

func TestRedirectsWithinThePod(t *testing.T) {
	const prefix = "/api/v1/namespaces/shop/pods/cart-0:15090/proxy"
	p := through(t, DefaultLimits(), func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == prefix+"/old" {
			w.Header().Set("Location", prefix+"/new?a=b") // as the API server rewrites it
			w.WriteHeader(http.StatusFound)
			return
		}
		fmt.Fprint(w, r.RequestURI)
	})
	_, body, err := get(t.Context(), p, cart, "http://10.0.0.7:15090/old")
	if err != nil || body != prefix+"/new?a=b" {
		t.Errorf("followed to %q, %v", body, err)
	}
}

func TestTooManyTargets(t *testing.T) {
	limits := DefaultLimits()
	limits.Targets = 1
	p := through(t, limits, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "a 1\n") })
	p.Add()
	if _, _, err := get(t.Context(), p, cart, "http://10.0.0.7/"); err != nil {
		t.Fatal(err)
	}
	p.Add()
	var tooMany *TooManyTargetsError
	_, _, err := get(t.Context(), p, cart, "http://10.0.0.7/")
	if !errors.As(err, &tooMany) || !strings.Contains(err.Error(), "2 targets would be read through the API server") {
		t.Errorf("error = %v", err)
	}
	p.Remove()
	if _, _, err := get(t.Context(), p, cart, "http://10.0.0.7/"); err != nil {
		t.Error(err)
	}
}

func TestRequestsInFlightAreLimited(t *testing.T) {
	limits := DefaultLimits()
	limits.InFlight = 2
	reached, answer := make(chan struct{}, 10), make(chan struct{})
	p := through(t, limits, func(w http.ResponseWriter, _ *http.Request) {
		reached <- struct{}{}
		<-answer
		fmt.Fprint(w, "a 1\n")
	})
	done := make(chan error, 2)
	for range 2 {
		go func() {
			_, _, err := get(t.Context(), p, cart, "http://10.0.0.7/")
			done <- err
		}()
	}
	<-reached
	<-reached
	ended, end := context.WithCancel(t.Context())
	end()
	_, err := p.limiter.acquire(ended)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "all 2 requests") {
		t.Errorf("error = %v", err)
	}
	close(answer)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	release, err := p.limiter.acquire(t.Context()) // both have given back their slot
	if err != nil {
		t.Fatal(err)
	}
	release()
	release() // once is enough, twice does no harm
	if n := len(p.limiter.slots); n != 0 {
		t.Errorf("%d slots are taken", n)
	}
}

// TestSilentPodsDoNotBlockOthers holds that pods to which the API server cannot connect do not keep the slots.
func TestSilentPodsDoNotBlockOthers(t *testing.T) {
	limits := DefaultLimits()
	limits.InFlight = 2
	reached := make(chan struct{}, 2)
	p := through(t, limits, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/silent:") {
			reached <- struct{}{}
			<-r.Context().Done() // as the API server, which tries for 30 s to connect
			return
		}
		fmt.Fprint(w, "a 1\n")
	})
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	done := make(chan error, 2)
	for range 2 {
		go func() {
			_, _, err := get(ctx, p, Pod{"shop", "silent"}, "http://10.0.0.8:15090/")
			done <- err
		}()
	}
	<-reached
	<-reached
	if _, body, err := get(ctx, p, cart, "http://10.0.0.7:15090/"); err != nil || body != "a 1\n" {
		t.Errorf("the good pod: %q, %v", body, err)
	}
	for range 2 {
		var refusal *Refusal
		err := <-done
		if !errors.As(err, &refusal) || refusal.Reason != ReasonUnreachable ||
			!strings.Contains(err.Error(), "no route: the API server got no answer of pod shop/silent within ") {
			t.Errorf("a silent pod: %v", err)
		}
	}
}

// TestServerThatDoesNotAnswer holds that an API server that cannot be reached is not taken for a pod.
func TestServerThatDoesNotAnswer(t *testing.T) {
	p, err := New(Options{Way: APIServer, Limits: DefaultLimits()}, nil).
		Through(&rest.Config{Host: "http://127.0.0.1:1"}, &promconfig.ScrapeConfig{})
	if err != nil {
		t.Fatal(err)
	}
	var server *ServerError
	if _, _, err := get(t.Context(), p, cart, "http://10.0.0.7:15090/"); !errors.As(err, &server) ||
		server.Server != "http://127.0.0.1:1" {
		t.Errorf("error = %v", err)
	}
}

func jobWith(http config_util.HTTPClientConfig, kubeconfigs ...string) *promconfig.ScrapeConfig {
	job := &promconfig.ScrapeConfig{JobName: "envoy-stats", HTTPClientConfig: http}
	for _, k := range kubeconfigs {
		job.ServiceDiscoveryConfigs = append(job.ServiceDiscoveryConfigs,
			&kubernetes.SDConfig{Role: kubernetes.RolePod, KubeConfig: k})
	}
	return job
}

func TestJobsThatCannotBeReadSo(t *testing.T) {
	proxies := New(Options{Way: APIServer, Limits: DefaultLimits()}, nil)
	plain := config_util.HTTPClientConfig{}
	basic := config_util.HTTPClientConfig{BasicAuth: &config_util.BasicAuth{Username: "u"}}
	certificate := config_util.HTTPClientConfig{TLSConfig: config_util.TLSConfig{CertFile: "c"}}
	headers := config_util.HTTPClientConfig{HTTPHeaders: &config_util.Headers{}}
	proxied := config_util.HTTPClientConfig{ProxyConfig: config_util.ProxyConfig{
		ProxyURL: config_util.URL{URL: &url.URL{Host: "proxy"}}}}
	server := &kubernetes.SDConfig{Role: kubernetes.RolePod, APIServer: config_util.URL{URL: &url.URL{Scheme: "http",
		Host: "127.0.0.1:1"}}}
	for want, job := range map[string]*promconfig.ScrapeConfig{
		"basic_auth: a request through the API server cannot have it":           jobWith(basic),
		"tls_config.cert_file: a request through the API server cannot have it": jobWith(certificate),
		"http_headers: a request through the API server cannot have it":         jobWith(headers),
		"proxy_url: a request through the API server cannot have it":            jobWith(proxied),
		"one API server, and this job has kubernetes_sd_configs of two":         jobWith(plain, "a", "b"),
		"kubeconfig a does not exist":                                           jobWith(plain, "a"),
	} {
		if len(job.ServiceDiscoveryConfigs) == 0 {
			job.ServiceDiscoveryConfigs = append(job.ServiceDiscoveryConfigs, server)
		}
		if p, err := proxies.Of(job); p != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("proxy %v, error %v; want an error with %q", p, err, want)
		}
	}
	if p, err := proxies.Of(jobWith(basic)); p != nil || err != nil { // no pods: nothing to read through a server
		t.Errorf("a job without pods: %v, %v", p, err)
	}
	direct := New(Options{Way: Direct, Limits: DefaultLimits()}, nil)
	if p, err := direct.Of(jobWith(basic, "a", "b")); p != nil || err != nil {
		t.Errorf("directly: %v, %v", p, err)
	}
	var none *Proxies
	if p, err := none.Of(jobWith(basic, "a")); p != nil || err != nil {
		t.Errorf("without proxies: %v, %v", p, err)
	}
}

func TestNotice(t *testing.T) {
	got := DefaultLimits().Notice(`user "alice" of context "prod"`)
	if !strings.Contains(got, `as user "alice" of context "prod", which`) ||
		!strings.Contains(got, "4 requests at the same time, 5.0 MiB per second, at most 200 targets") {
		t.Errorf("notice = %q", got)
	}
}
