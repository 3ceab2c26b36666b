package deliver

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	promhttp "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// clientFor is the client that a configuration with this url gives.
func clientFor(t *testing.T, address string, change func(*Settings)) Client {
	t.Helper()
	ec := testSettings()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	ec.URL = &promhttp.URL{URL: u}
	if change != nil {
		change(&ec)
	}
	c, err := NewClient(ec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestHeaders(t *testing.T) {
	var got http.Header
	var body []byte
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		body, _ = io.ReadAll(r.Body)
		w.WriteHeader(204)
	}))
	defer srv.Close()
	c := clientFor(t, srv.URL+"/write", func(ec *Settings) {
		ec.Headers = map[string]string{"X-Scope-OrgID": "tenant", "content-type": "text/plain",
			"CONTENT-ENCODING": "gzip", "x-prometheus-remote-write-version": "9", "User-Agent": "me"}
		ec.HTTPClientConfig.BasicAuth = &promhttp.BasicAuth{Username: "u", Password: "p"}
	})
	for p, want := range map[wire.Protocol]map[string]string{
		wire.V1: {"Content-Type": "application/x-protobuf", "X-Prometheus-Remote-Write-Version": "0.1.0"},
		wire.V2: {"Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
			"X-Prometheus-Remote-Write-Version": "2.0.0"},
	} {
		want["Content-Encoding"] = "snappy"
		want["X-Scope-OrgID"] = "tenant"
		want["Authorization"] = "Basic dTpw"
		want["Retry-Attempt"] = "3"
		if a := c.Post(t.Context(), []byte("x"), p, 3); a.Err != nil || a.Status != 204 {
			t.Fatalf("answer = %+v", a)
		}
		for name, value := range want {
			if v := got.Values(name); len(v) != 1 || v[0] != value {
				t.Errorf("%s: %s = %q, want %q", p, name, v, value)
			}
		}
		if ua := got.Get("User-Agent"); !strings.HasPrefix(ua, "envoy-scraper/") {
			t.Errorf("User-Agent = %q", ua)
		}
		if string(body) != "x" {
			t.Errorf("body = %q", body)
		}
	}
}

// elsewhere starts two servers: the first redirects to the second, under another host name.
func elsewhere(t *testing.T, code int) (address string, second *http.Request, requests *int) {
	t.Helper()
	second, requests = &http.Request{}, new(int)
	to := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*second = *r
		*requests++
		w.WriteHeader(204)
	}))
	t.Cleanup(to.Close)
	_, port, _ := net.SplitHostPort(to.Listener.Addr().String())
	from := httptest.NewServer(http.RedirectHandler("http://localhost:"+port+"/", code))
	t.Cleanup(from.Close)
	return from.URL, second, requests
}

func TestCredentialsStayWithTheirHost(t *testing.T) {
	for name, change := range map[string]func(*Settings){
		"basic auth": func(ec *Settings) {
			ec.HTTPClientConfig.BasicAuth = &promhttp.BasicAuth{Username: "u", Password: "secret"}
		},
		"bearer": func(ec *Settings) {
			ec.HTTPClientConfig.Authorization = &promhttp.Authorization{Type: "Bearer", Credentials: "secret"}
		},
		"header": func(ec *Settings) { ec.Headers = map[string]string{"X-Api-Key": "secret"} },
		"http header": func(ec *Settings) {
			headers := map[string]promhttp.Header{"X-Api-Key": {Secrets: []promhttp.Secret{"secret"}}}
			ec.HTTPClientConfig.HTTPHeaders = &promhttp.Headers{Headers: headers}
		},
	} {
		t.Run(name, func(t *testing.T) {
			address, second, requests := elsewhere(t, http.StatusPermanentRedirect)
			a := clientFor(t, address, change).Post(t.Context(), []byte("x"), wire.V1, 0)
			if a.Err != nil {
				t.Fatal(a.Err)
			}
			for header, values := range second.Header {
				if v := strings.Join(values, ","); strings.Contains(v, "secret") || header == "Authorization" ||
					header == "X-Api-Key" {
					t.Errorf("the other host got %s: %s", header, v)
				}
			}
			if *requests > 0 && second.Method != http.MethodPost {
				t.Errorf("method = %s", second.Method)
			}
		})
	}
}

// TestRedirectOutOfTLS: what goes over TLS by the configuration never goes without it, to the same host neither.
func TestRedirectOutOfTLS(t *testing.T) {
	got := 0
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		got++
		w.WriteHeader(204)
	}))
	defer plain.Close()
	srv := httptest.NewTLSServer(http.RedirectHandler(plain.URL, http.StatusPermanentRedirect))
	defer srv.Close()
	a := clientFor(t, srv.URL, func(ec *Settings) {
		ec.HTTPClientConfig.TLSConfig.InsecureSkipVerify = true
		ec.HTTPClientConfig.BasicAuth = &promhttp.BasicAuth{Username: "u", Password: "secret"}
	}).Post(t.Context(), []byte("x"), wire.V1, 0)
	if a.Status != http.StatusPermanentRedirect || got > 0 {
		t.Errorf("answer %+v, %d requests in the clear", a, got)
	}
}

func TestRedirects(t *testing.T) {
	for code, want := range map[int]int{301: 301, 302: 302, 303: 303, 307: 204, 308: 204} {
		address, _, requests := elsewhere(t, code)
		a := clientFor(t, address, nil).Post(t.Context(), []byte("x"), wire.V1, 0)
		if a.Status != want || (want == 204) != (*requests == 1) {
			t.Errorf("%d: status %d after %d requests elsewhere, want %d", code, a.Status, *requests, want)
		}
		if want != 204 && !strings.Contains(a.Message, "redirects") {
			t.Errorf("%d: message %q does not say what to do", code, a.Message)
		}
	}
	address, _, requests := elsewhere(t, 308)
	a := clientFor(t, address, func(ec *Settings) { ec.HTTPClientConfig.FollowRedirects = false }).Post(t.Context(),
		nil, wire.V1, 0)
	if a.Status != 308 || *requests != 0 {
		t.Errorf("follow_redirects: false followed: %d", a.Status)
	}
}

func TestEndlessAnswer(t *testing.T) {
	wrote := make(chan int64, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n, _ := io.Copy(w, io.LimitReader(zeros{}, 1<<30))
		wrote <- n
	}))
	defer srv.Close()
	c := clientFor(t, srv.URL, nil)
	a := c.Post(t.Context(), []byte("x"), wire.V1, 0)
	if a.Status != 200 || a.Err != nil || len(a.Message) > maxMessageBytes {
		t.Errorf("answer = %d %v, message of %d bytes", a.Status, a.Err, len(a.Message))
	}
	if n := <-wrote; n > 16<<20 {
		t.Errorf("the receiver could write %d bytes", n)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return copy(p, bytes.Repeat([]byte("0"), len(p))), nil }

func TestTimeout(t *testing.T) {
	hang := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer srv.Close()
	defer close(hang)
	c := clientFor(t, strings.Replace(srv.URL, "http://", "http://user:topsecret@", 1)+"/?token=topsecret",
		func(ec *Settings) {
			ec.RemoteTimeout = model.Duration(50 * time.Millisecond)
		})
	a := c.Post(t.Context(), []byte("x"), wire.V2, 0)
	if a.Err == nil || strings.Contains(a.Err.Error(), "topsecret") {
		t.Errorf("error = %v, want a timeout without the address", a.Err)
	}
}

// roundTripper is a transport that does what a function says.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestBodyInUse: a transport may answer before it lets go of the body, which must not be written to until then.
func TestBodyInUse(t *testing.T) {
	answer := func(code int) (*http.Response, error) {
		return &http.Response{StatusCode: code, Header: http.Header{"Location": {"/elsewhere"}}, Body: http.NoBody}, nil
	}
	begin := func(r *http.Request) { httptrace.ContextClientTrace(r.Context()).GotConn(httptrace.GotConnInfo{}) }
	end := func(r *http.Request) {
		httptrace.ContextClientTrace(r.Context()).WroteRequest(httptrace.WroteRequestInfo{})
	}
	for name, tc := range map[string]struct {
		transport roundTripper
		inUse     bool
	}{
		"written": {func(r *http.Request) (*http.Response, error) {
			begin(r)
			end(r)
			return answer(204)
		}, false},
		"answered early": {func(r *http.Request) (*http.Response, error) {
			begin(r)
			return answer(413)
		}, true},
		"failed early": {func(r *http.Request) (*http.Response, error) {
			begin(r)
			return nil, io.ErrUnexpectedEOF
		}, true},
		"failed": {func(r *http.Request) (*http.Response, error) {
			begin(r)
			end(r)
			return nil, io.ErrUnexpectedEOF
		}, false},
		"a transport without trace": {func(*http.Request) (*http.Response, error) { return answer(204) }, true},
		"written again": {func(r *http.Request) (*http.Response, error) {
			begin(r)
			end(r)
			begin(r)
			end(r)
			return answer(204)
		}, false},
		"answered early when written again": {func(r *http.Request) (*http.Response, error) {
			begin(r)
			end(r)
			begin(r)
			return answer(204)
		}, true},
		"redirected early": {func(r *http.Request) (*http.Response, error) {
			begin(r)
			if r.URL.Path == "/elsewhere" {
				end(r)
				return answer(204)
			}
			return answer(308)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := clientFor(t, "http://a.test/write", nil).(*httpClient)
			c.http.Transport = tc.transport
			if a := c.Post(t.Context(), []byte("body"), wire.V2, 0); a.BodyInUse != tc.inUse {
				t.Errorf("in use = %v, want %v (%+v)", a.BodyInUse, tc.inUse, a)
			}
		})
	}
	t.Run("net/http", func(t *testing.T) {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if b, err := io.ReadAll(r.Body); err != nil || string(b) != "body" {
				t.Errorf("body = %q %v", b, err)
			}
			if r.URL.Path == "/" {
				http.Redirect(w, r, "/elsewhere", http.StatusPermanentRedirect)
			}
		}))
		defer srv.Close()
		c := clientFor(t, srv.URL, nil)
		for range 3 {
			if a := c.Post(t.Context(), []byte("body"), wire.V2, 0); a.BodyInUse || a.Status != 200 {
				t.Errorf("answer = %+v, want 200 and the body back", a)
			}
		}
	})
}

func TestPostsCostAHandfulOfAllocations(t *testing.T) {
	c := clientFor(t, "http://a.test/write", nil).(*httpClient)
	c.http.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 204, Header: http.Header{}, Body: http.NoBody}, r.Body.Close()
	})
	body := []byte("body")
	if n := testing.AllocsPerRun(100, func() { c.Post(t.Context(), body, wire.V2, 0) }); n > 30 {
		t.Errorf("allocations a POST without the transport's = %v, want at most 30", n)
	}
}

func TestRequestGoesToTheConfiguredURL(t *testing.T) {
	var got string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Method + " " + r.RequestURI
		w.WriteHeader(http.StatusNoContent)
	}))
	defer srv.Close()
	if a := clientFor(t, srv.URL+"/a/write?tenant=b", nil).Post(t.Context(), []byte("x"), wire.V2, 0); a.Err != nil ||
		got != "POST /a/write?tenant=b" {
		t.Errorf("%v: %s", a.Err, got)
	}
}

// TestRoundRobinDNS: every address of a name is connected to.
func TestRoundRobinDNS(t *testing.T) {
	addrs, err := net.DefaultResolver.LookupHost(t.Context(), "localhost")
	if err != nil {
		t.Skipf("this machine does not know localhost: %v", err)
	}
	var mu sync.Mutex
	got, port := map[string]bool{}, "0"
	for i, addr := range addrs {
		l, err := net.Listen("tcp", net.JoinHostPort(addr, port))
		if err != nil {
			t.Skipf("listen on all of %v: %v", addrs, err)
		}
		if i == 0 {
			_, port, _ = net.SplitHostPort(l.Addr().String())
		}
		srv := &httptest.Server{Listener: l,
			Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				mu.Lock()
				defer mu.Unlock()
				got[addr] = true
				w.WriteHeader(http.StatusNoContent)
			})}}
		srv.Start()
		defer srv.Close()
	}
	for range 200 { // that one of two is never drawn: 2 to the power of -199
		c := clientFor(t, "http://localhost:"+port+"/", func(ec *Settings) { ec.RoundRobinDNS = true })
		if a := c.Post(t.Context(), []byte("x"), wire.V2, 0); a.Err != nil {
			t.Fatal(a.Err)
		}
		c.Close()
	}
	if len(got) != len(addrs) {
		t.Errorf("connected to %v of %v", got, addrs)
	}
	a := clientFor(t, "http://nowhere.invalid/", func(ec *Settings) { ec.RoundRobinDNS = true }).Post(t.Context(),
		[]byte("x"), wire.V2, 0)
	if a.Err == nil || !strings.Contains(a.Err.Error(), "look up nowhere.invalid") {
		t.Errorf("a name without address: %v, want the look-up of its own to say so", a.Err)
	}
}
