package web

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

func TestHealthAndReadiness(t *testing.T) {
	m := newFakeMesh(t)
	m.notReady = "waiting for the first list of pods"
	s := m.server(Config{})
	wantStatus(t, ask(s, "GET", "/-/healthy"), http.StatusOK)
	wantStatus(t, ask(s, "HEAD", "/-/healthy"), http.StatusOK)
	w := ask(s, "GET", "/-/ready")
	wantStatus(t, w, http.StatusServiceUnavailable)
	if !strings.Contains(w.Body.String(), m.notReady) {
		t.Errorf("got %q, want the reason in it", w.Body)
	}
	m.notReady = ""
	wantStatus(t, ask(s, "GET", "/-/ready"), http.StatusOK)
}

func TestReload(t *testing.T) {
	calls := 0
	m := newFakeMesh(t)
	m.reload = func(context.Context) error { calls++; return nil }

	off := ask(m.server(Config{}), "POST", "/-/reload")
	wantStatus(t, off, http.StatusForbidden)
	if calls != 0 || !strings.Contains(off.Body.String(), "--web.enable-lifecycle") {
		t.Errorf("off: got %d reloads and %q, want none and the flag", calls, off.Body)
	}

	s := m.server(Config{EnableLifecycle: true})
	wantStatus(t, ask(s, "POST", "/-/reload"), http.StatusOK)
	wantStatus(t, ask(s, "PUT", "/-/reload"), http.StatusOK)
	wantStatus(t, ask(s, "GET", "/-/reload"), http.StatusMethodNotAllowed)
	wantStatus(t, ask(s, "POST", "/-/reload", "Origin", "https://evil.example"), http.StatusForbidden)
	wantStatus(t, ask(s, "POST", "/-/reload", "Sec-Fetch-Site", "cross-site"), http.StatusForbidden)
	if calls != 2 {
		t.Errorf("got %d reloads, want 2", calls)
	}

	m.reload = func(context.Context) error { return errFake }
	w := ask(s, "POST", "/-/reload")
	wantStatus(t, w, http.StatusInternalServerError)
	if !strings.Contains(w.Body.String(), strings.TrimSpace(errFake.Error())) {
		t.Errorf("got %q, want the reason in it", w.Body)
	}
}

func TestMethodsAndHeaders(t *testing.T) {
	s := newFakeMesh(t).server(Config{EnableLifecycle: true})
	for _, path := range []string{"/", "/targets", "/service-discovery", "/cost", "/config", "/metrics",
		"/static/style.css", "/static/app.js", "/static/icon.svg", "/api/v1/targets", "/-/healthy"} {
		wantStatus(t, ask(s, "POST", path), http.StatusMethodNotAllowed)
		wantStatus(t, ask(s, "DELETE", path), http.StatusMethodNotAllowed)
		w := ask(s, "GET", path, "Origin", "https://elsewhere.example")
		wantStatus(t, w, http.StatusOK)
		for key, want := range map[string]string{
			"Content-Security-Policy":     contentSecurityPolicy,
			"X-Content-Type-Options":      "nosniff",
			"X-Frame-Options":             "DENY",
			"Referrer-Policy":             "no-referrer",
			"Access-Control-Allow-Origin": "",
		} {
			if got := w.Header().Get(key); got != want {
				t.Errorf("%s: %s: got %q, want %q", path, key, got, want)
			}
		}
	}
	for _, path := range []string{"/nothing", "/api/v1/query", "/debug/pprof/", "/-/quit", "/static/",
		"/static/../server.go", "/favicon.ico"} {
		if w := ask(s, "GET", path); w.Code == http.StatusOK {
			t.Errorf("%s: got 200", path)
		}
	}
}

func TestProfilesOnlyWhereAskedFor(t *testing.T) {
	for enabled, want := range map[bool]int{false: http.StatusNotFound, true: http.StatusOK} {
		s := New(Config{EnablePprof: enabled}, newFakeMesh(t).sources(), zap.NewNop())
		if w := ask(s, "GET", "/debug/pprof/heap"); w.Code != want {
			t.Errorf("enabled %v: got %d, want %d", enabled, w.Code, want)
		}
	}
}

func TestPanicEndsOneRequest(t *testing.T) {
	core, logs := observer.New(zapcore.ErrorLevel)
	src := newFakeMesh(t).sources()
	src.Targets = func() []scrape.PoolStatus { panic("boom") }
	address := serve(t, New(Config{ListenAddress: "127.0.0.1:0"}, src, zap.New(core)))
	if resp, err := http.Get("http://" + address + "/targets"); err == nil {
		resp.Body.Close()
		t.Errorf("got %s, want a cut connection", resp.Status)
	}
	if resp, err := http.Get("http://" + address + "/-/healthy"); err != nil {
		t.Error(err)
	} else {
		resp.Body.Close()
	}
	if n := logs.FilterMessage("a page panicked").Len(); n != 1 {
		t.Errorf("got %d log lines, want 1", n)
	}
}

// serve runs a server until the test ends, and returns its address.
func serve(t *testing.T, s *Server) string {
	t.Helper()
	address, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return address.String()
}

func TestShutdownLetsRequestsFinish(t *testing.T) {
	m := newFakeMesh(t)
	began, finish := make(chan struct{}), make(chan struct{})
	m.reload = func(context.Context) error { close(began); <-finish; return nil }
	s := m.server(Config{ListenAddress: "127.0.0.1:0", EnableLifecycle: true})
	address, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()

	status := make(chan int, 1)
	go func() {
		resp, err := http.Post("http://"+address.String()+"/-/reload", "", nil)
		if err != nil {
			status <- 0
			return
		}
		resp.Body.Close()
		status <- resp.StatusCode
	}()
	<-began
	stop()
	close(finish)
	if got := <-status; got != http.StatusOK {
		t.Errorf("got status %d, want 200", got)
	}
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if c, err := net.Dial("tcp", address.String()); err == nil {
		c.Close()
		t.Error("the port is still open")
	}
}

func TestRunEndsAtOnceWhereItsContextHas(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if err := newFakeMesh(t).server(Config{ListenAddress: "127.0.0.1:0"}).Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestListenSaysWhatIsWrong(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	bad := filepath.Join(t.TempDir(), "web.yml")
	if err := os.WriteFile(bad, []byte("basic_auth_users: {me: not-a-hash}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		cfg  Config
		want string
	}{
		"port in use":  {Config{ListenAddress: taken.Addr().String()}, "address already in use"},
		"bad file":     {Config{ListenAddress: "127.0.0.1:0", WebConfigFile: bad}, bad},
		"missing file": {Config{ListenAddress: "127.0.0.1:0", WebConfigFile: bad + "x"}, bad + "x"},
	} {
		if err := newFakeMesh(t).server(tc.cfg).Run(t.Context()); err == nil || !strings.Contains(err.Error(),
			tc.want) {
			t.Errorf("%s: got %v, want %q in it", name, err, tc.want)
		}
	}
}

func TestTLSAndBasicAuth(t *testing.T) {
	dir := t.TempDir()
	roots := writeCertificate(t, dir)
	file := filepath.Join(dir, "web.yml")
	const config = `
tls_server_config: {cert_file: cert.pem, key_file: key.pem}
basic_auth_users: {me: $2b$04$vf7.S7pQ6h8aYWqeUZrrreL5WTckg4EV0Bog0EBfIPvBXcAHHu6VK} # secret
http_server_config: {headers: {Strict-Transport-Security: max-age=60, X-Frame-Options: sameorigin}}
`
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	address := serve(t, newFakeMesh(t).server(Config{ListenAddress: "127.0.0.1:0", WebConfigFile: file}))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer client.CloseIdleConnections()

	for _, tc := range []struct {
		user, password string
		want           int
	}{{"", "", 401}, {"me", "wrong", 401}, {"you", "secret", 401}, {"me", "secret", 200}} {
		req, err := http.NewRequest("GET", "https://"+address+"/targets", nil)
		if err != nil {
			t.Fatal(err)
		}
		if tc.user != "" {
			req.SetBasicAuth(tc.user, tc.password)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != tc.want {
			t.Errorf("%s:%s: got %s, want %d", tc.user, tc.password, resp.Status, tc.want)
		}
		if got := resp.Header.Get("X-Frame-Options"); got != "sameorigin" {
			t.Errorf("got X-Frame-Options %q, want what the file says", got)
		}
	}
	if resp, err := http.Get("http://" + address + "/targets"); err == nil {
		if resp.Body.Close(); resp.StatusCode == http.StatusOK {
			t.Error("got a page without TLS")
		}
	}
}

func TestProtection(t *testing.T) {
	for text, want := range map[string]string{
		"{}":                                "",
		"http_server_config: {http2: true}": "",
		"tls_server_config: {cert_file: a, key_file: b}":              "TLS",
		"basic_auth_users: {me: x}":                                   "a password",
		"{basic_auth_users: {me: x}, tls_server_config: {cert: 'a'}}": "TLS and a password",
	} {
		file := filepath.Join(t.TempDir(), "web.yml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := Protection(file); got != want || err != nil {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
	}
	if got, err := Protection(""); got != "" || err != nil {
		t.Errorf("no file: %q, %v", got, err)
	}
	if _, err := Protection("missing.yml"); err == nil {
		t.Error("a missing file asks for nothing")
	}
}

// writeCertificate writes cert.pem and key.pem for 127.0.0.1, and returns a pool that trusts them.
func writeCertificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0,
			1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().
				Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	cert, err2 := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	private, err3 := x509.MarshalPKCS8PrivateKey(key)
	if err := errors.Join(err, err2, err3,
		os.WriteFile(filepath.Join(dir, "cert.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
			0o600),
		os.WriteFile(filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
			0o600),
	); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(cert)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(parsed)
	return pool
}
