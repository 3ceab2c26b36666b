package scrape

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	promconfig "github.com/prometheus/prometheus/config"
)

// server serves a page and remembers the last request.
type server struct {
	*httptest.Server
	mu   sync.Mutex
	last *http.Request
}

func startServer(t *testing.T, start func(*httptest.Server)) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.last = r
		s.mu.Unlock()
		if r.URL.Path == "/elsewhere" {
			http.Redirect(w, r, "/metrics", http.StatusFound)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, "x 1\n")
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // some handshakes fail on purpose
	start(s.Server)
	t.Cleanup(s.Close)
	return s
}

func (s *server) host() string { return s.Listener.Addr().String() }

func (s *server) request(t *testing.T) *http.Request {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		t.Fatal("no request")
	}
	return s.last
}

// scrapeHost scrapes a host once over the network and returns the text of the error; empty: none.
func scrapeHost(t *testing.T, host, yaml string) string {
	t.Helper()
	r := newRig()
	r.opts.transport = nil
	r.apply(t, job(t, "  static_configs: [{targets: ['"+host+"']}]\n"+yaml))
	t.Cleanup(func() { _ = r.Apply([]*promconfig.ScrapeConfig{}) })
	r.discover(at(host))
	for _, l := range r.jobs["envoy"].loops {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		l.scrape(ctx, nil)
		cancel()
	}
	return r.Status()[0].Targets[0].Err
}

func secretFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestHTTPClientFields covers the fields of an HTTP client except TLS and OAuth 2.0.
func TestHTTPClientFields(t *testing.T) {
	user, password := secretFile(t, "u\n"), secretFile(t, "p\n")
	for name, c := range map[string]struct{ yaml, header, value string }{
		"basic_auth": {"  basic_auth: {username: u, password: p}\n", "Authorization",
			"Basic dTpw"},
		"basic_auth, files": {"  basic_auth: {username_file: " + user + ", password_file: " + password +
			"}\n", "Authorization", "Basic dTpw"},
		"authorization": {"  authorization: {credentials: c}\n", "Authorization", "Bearer c"},
		"authorization, type": {"  authorization: {type: Token, credentials: c}\n", "Authorization",
			"Token c"},
		"authorization, credentials_file": {"  authorization: {credentials_file: " + password + "}\n", "Authorization",
			"Bearer p"},
		"bearer_token":          {"  bearer_token: c\n", "Authorization", "Bearer c"},
		"bearer_token_file":     {"  bearer_token_file: " + password + "\n", "Authorization", "Bearer p"},
		"http_headers, values":  {"  http_headers: {X-A: {values: [a, b]}}\n", "X-A", "a|b"},
		"http_headers, secrets": {"  http_headers: {X-A: {secrets: [s]}}\n", "X-A", "s"},
		"http_headers, files":   {"  http_headers: {X-A: {files: [" + user + "]}}\n", "X-A", "u"},
		"follow_redirects":      {"  metrics_path: /elsewhere\n", "", ""},
		"http_headers, through net/http": {"  metrics_path: /elsewhere\n  http_headers: {X-A: {values: [a]}}\n", "X-A",
			"a"},
		"no_proxy, with a dead proxy": {"  proxy_url: http://127.0.0.1:1\n  no_proxy: 127.0.0.1\n", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, (*httptest.Server).Start)
			if err := scrapeHost(t, s.host(), c.yaml); err != "" {
				t.Fatal(err)
			}
			if got := strings.Join(s.request(t).Header.Values(c.header), "|"); got != c.value {
				t.Errorf("%s: %q, want %q", c.header, got, c.value)
			}
		})
	}
	t.Run("a secret file is read for each request", func(t *testing.T) {
		s, file := startServer(t, (*httptest.Server).Start), secretFile(t, "one")
		r := newRig()
		r.opts.transport = nil
		r.apply(t, job(t, "  static_configs: [{targets: [a]}]\n  authorization: {credentials_file: "+file+"}\n"))
		r.discover(at(s.host()))
		for _, secret := range []string{"one", "two"} {
			if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, l := range r.jobs["envoy"].loops {
				l.scrape(t.Context(), nil)
			}
			if got := s.request(t).Header.Get("Authorization"); got != "Bearer "+secret {
				t.Errorf("Authorization: %s, want %s", got, secret)
			}
		}
		r.apply(t)
	})
	t.Run("follow_redirects off", func(t *testing.T) {
		s := startServer(t, (*httptest.Server).Start)
		if err := scrapeHost(t, s.host(), "  metrics_path: /elsewhere\n  follow_redirects: false\n"); !strings.Contains(
			err, "302") {
			t.Errorf("error %q, want one with the status", err)
		}
	})
	t.Run("proxy_url", func(t *testing.T) {
		proxy := startServer(t, (*httptest.Server).Start)
		if err := scrapeHost(t, "a.test:80", "  proxy_url: "+proxy.URL+"\n"); err != "" {
			t.Fatal(err)
		}
		if got := proxy.request(t).RequestURI; got != "http://a.test:80/metrics" {
			t.Errorf("request to the proxy: %s", got)
		}
	})
	t.Run("proxy_from_environment", func(t *testing.T) {
		proxy := startServer(t, (*httptest.Server).Start)
		t.Setenv("HTTP_PROXY", proxy.URL)
		t.Setenv("NO_PROXY", "")
		if err := scrapeHost(t, "a.test:80", "  proxy_from_environment: true\n"); err != "" {
			t.Fatal(err)
		}
		if got := proxy.request(t).RequestURI; got != "http://a.test:80/metrics" {
			t.Errorf("request to the proxy: %s", got)
		}
		if err := scrapeHost(t, "a.test:80", ""); err == "" {
			t.Error("the proxy of the environment was used without proxy_from_environment")
		}
	})
}

// certificate returns a self-signed certificate and its key in PEM.
func certificate(t *testing.T) (cert, key string, parsed *x509.Certificate) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth,
			x509.ExtKeyUsageServerAuth}, DNSNames: []string{"a.test"},
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	if parsed, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return asPEM("CERTIFICATE", der), asPEM("PRIVATE KEY", pkcs8), parsed
}

func asPEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// inline quotes a text of several lines for YAML.
func inline(text string) string { return `"` + strings.ReplaceAll(text, "\n", `\n`) + `"` }

// TestTLSFields covers tls_config.
func TestTLSFields(t *testing.T) {
	plain := startServer(t, (*httptest.Server).StartTLS) // its certificate is for 127.0.0.1 and example.com
	ca := asPEM("CERTIFICATE", plain.Certificate().Raw)
	cert, key, client := certificate(t)
	demanding := startServer(t, func(s *httptest.Server) {
		pool := x509.NewCertPool()
		pool.AddCert(client)
		s.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool} //nolint:gosec // a test server
		s.StartTLS()
	})
	old := startServer(t, func(s *httptest.Server) {
		s.TLS = &tls.Config{MaxVersion: tls.VersionTLS12} //nolint:gosec // on purpose
		s.StartTLS()
	})
	ancient := startServer(t, func(s *httptest.Server) {
		s.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11} //nolint:gosec // on purpose
		s.StartTLS()
	})
	both := startServer(t, func(s *httptest.Server) {
		s.EnableHTTP2 = true
		s.StartTLS()
	})
	caFile, certFile, keyFile := secretFile(t, ca), secretFile(t, cert), secretFile(t, key)
	for name, c := range map[string]struct {
		at         *server
		tls, fails string // part of the error; empty: none
		check      func(*http.Request) bool
	}{
		"default":              {plain, "", "unknown authority", nil},
		"ca":                   {plain, "ca: " + inline(ca), "", nil},
		"ca_file":              {plain, "ca_file: " + caFile, "", nil},
		"insecure_skip_verify": {plain, "insecure_skip_verify: true", "", nil},
		"server_name": {plain, "ca_file: " + caFile + ", server_name: example.com", "",
			func(r *http.Request) bool { return r.TLS.ServerName == "example.com" }},
		"server_name, wrong":   {plain, "ca_file: " + caFile + ", server_name: other.test", "other.test", nil},
		"cert and key missing": {demanding, "ca_file: " + caFile, "certificate", nil},
		"cert and key": {demanding, "ca_file: " + caFile + ", cert: " + inline(cert) + ", key: " + inline(key),
			"", nil},
		"cert_file and key_file": {demanding, "ca_file: " + caFile + ", cert_file: " + certFile + ", key_file: " +
			keyFile, "",
			func(r *http.Request) bool { return r.TLS.PeerCertificates[0].Equal(client) }},
		"min_version, below":   {old, "insecure_skip_verify: true, min_version: TLS13", "version", nil},
		"min_version, equal":   {old, "insecure_skip_verify: true, min_version: TLS12", "", nil},
		"default min_version":  {ancient, "insecure_skip_verify: true", "version", nil},
		"min_version, allowed": {ancient, "insecure_skip_verify: true, min_version: TLS11", "", nil},
		"max_version": {plain, "insecure_skip_verify: true, max_version: TLS12", "",
			func(r *http.Request) bool { return r.TLS.Version == tls.VersionTLS12 }},
		"enable_http2": {both, "insecure_skip_verify: true", "",
			func(r *http.Request) bool { return r.ProtoMajor == 2 }},
		"enable_http2 off": {both, "insecure_skip_verify: true}\n  enable_http2: false\n  params: {a: [b]", "",
			func(r *http.Request) bool { return r.ProtoMajor == 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			err := scrapeHost(t, c.at.host(), "  scheme: https\n  tls_config: {"+c.tls+"}\n")
			if (c.fails == "") != (err == "") || !strings.Contains(err, c.fails) {
				t.Fatalf("error %q, want one with %q", err, c.fails)
			}
			if c.check != nil && !c.check(c.at.request(t)) {
				t.Errorf("request %s %+v", c.at.request(t).Proto, c.at.request(t).TLS)
			}
		})
	}
	t.Run("proxy_connect_header", func(t *testing.T) {
		var got http.Header
		tunnel := tunnelTo(t, plain.host(), &got)
		if err := scrapeHost(t, "a.test:443", "  scheme: https\n  tls_config: {insecure_skip_verify: true}\n  "+
			"proxy_url: "+tunnel+"\n  proxy_connect_header: {X-A: [a]}\n"); err != "" {
			t.Fatal(err)
		}
		if got.Get("X-A") != "a" {
			t.Errorf("headers to the proxy: %v", got)
		}
	})
}

// tunnelTo starts a proxy that connects every tunnel to one server.
func tunnelTo(t *testing.T, host string, got *http.Header) string {
	t.Helper()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*got = r.Header
		near, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer near.Close() //nolint:errcheck // a test
		var d net.Dialer
		far, err := d.DialContext(context.WithoutCancel(r.Context()), "tcp", host)
		if err != nil {
			return
		}
		defer far.Close() //nolint:errcheck // a test
		_, _ = io.WriteString(near, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(far, buffered) }()
		_, _ = io.Copy(near, far)
	}))
	t.Cleanup(proxy.Close)
	return proxy.URL
}

// TestOAuth2Fields covers oauth2.
func TestOAuth2Fields(t *testing.T) {
	var mu sync.Mutex
	var asked url.Values
	var basic string
	tokens := func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_ = r.ParseForm()
		asked = r.Form
		id, secret, _ := r.BasicAuth()
		basic = id + ":" + secret
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token": "tok", "token_type": "Bearer", "expires_in": 3600}`)
	}
	issuer := httptest.NewServer(http.HandlerFunc(tokens))
	defer issuer.Close()
	secure := httptest.NewTLSServer(http.HandlerFunc(tokens))
	defer secure.Close()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	key := asPEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(private))
	const grant = "grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', "
	var connect http.Header
	for name, c := range map[string]struct {
		oauth, at string
		check     func(t *testing.T)
	}{
		"client_secret": {"client_secret: s", issuer.URL, func(t *testing.T) { same(t, basic, "id:s") }},
		"client_secret_file": {"client_secret_file: " + secretFile(t, "f"), issuer.URL,
			func(t *testing.T) { same(t, basic, "id:f") }},
		"scopes": {"client_secret: s, scopes: [a, b]", issuer.URL,
			func(t *testing.T) { same(t, asked.Get("scope"), "a b") }},
		"endpoint_params": {"client_secret: s, endpoint_params: {p: q}", issuer.URL,
			func(t *testing.T) { same(t, asked.Get("p"), "q") }},
		"tls_config": {"client_secret: s, tls_config: {insecure_skip_verify: true}", secure.URL, nil},
		"proxy_url":  {"client_secret: s, proxy_url: " + issuer.URL, "http://issuer.test", nil},
		"no_proxy":   {"client_secret: s, proxy_url: 'http://127.0.0.1:1', no_proxy: 127.0.0.1", issuer.URL, nil},
		"proxy_connect_header": {"client_secret: s, tls_config: {insecure_skip_verify: true}, proxy_connect_header: " +
			"{X-A: [a]}, proxy_url: " + tunnelTo(t, secure.Listener.Addr().String(), &connect),
			"https://issuer.test", func(t *testing.T) { same(t, connect.Get("X-A"), "a") }},
		"client_certificate_key": {grant + "client_certificate_key: " + inline(key), issuer.URL, func(t *testing.T) {
			header, claims := jwtOf(t, asked.Get("assertion"))
			same(t, header["alg"], "RS256")
			same(t, claims["iss"], "id")
			same(t, claims["aud"], issuer.URL)
		}},
		"JWT": {grant + "client_certificate_key_file: " + secretFile(t, key) +
			", client_certificate_key_id: k, signature_algorithm: RS512, iss: i, audience: aud, claims: {c: d}",
			issuer.URL, func(t *testing.T) {
				header, claims := jwtOf(t, asked.Get("assertion"))
				same(t, header["alg"], "RS512")
				same(t, header["kid"], "k")
				same(t, claims["iss"], "i")
				same(t, claims["sub"], "id")
				same(t, claims["aud"], "aud")
				same(t, claims["c"], "d")
			}},
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, (*httptest.Server).Start)
			if err := scrapeHost(t, s.host(), "  oauth2: {client_id: id, token_url: '"+c.at+"', "+c.oauth+
				"}\n"); err != "" {
				t.Fatal(err)
			}
			same(t, s.request(t).Header.Get("Authorization"), "Bearer tok")
			mu.Lock()
			defer mu.Unlock()
			if c.check != nil {
				c.check(t)
			}
		})
	}
	t.Run("proxy_from_environment", func(t *testing.T) {
		t.Setenv("HTTP_PROXY", issuer.URL)
		t.Setenv("NO_PROXY", "")
		s := startServer(t, (*httptest.Server).Start)
		if err := scrapeHost(t, s.host(), "  oauth2: {client_id: id, token_url: 'http://issuer.test', "+
			"client_secret: s, proxy_from_environment: true}\n"); err != "" {
			t.Fatal(err)
		}
	})
}

func same(t *testing.T, got, want any) {
	t.Helper()
	if got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// jwtOf decodes a signed token.
func jwtOf(t *testing.T, token string) (header, claims map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is not a JWT", token)
	}
	for i, into := range []*map[string]any{&header, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, into); err != nil {
			t.Fatal(err)
		}
	}
	return header, claims
}
