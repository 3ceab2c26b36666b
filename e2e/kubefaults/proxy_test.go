package kubefaults

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"
)

// A fault answers a request instead of the API server and returns true. If it returns false, the request goes to the
// API server; the fault may have changed it.
type fault func(w http.ResponseWriter, r *http.Request) bool

// proxy is a reverse proxy before the API server, with its own certificate.
type proxy struct {
	t        *testing.T
	address  string
	upstream *httputil.ReverseProxy

	mu     sync.Mutex // guards the fields below
	fault  fault
	cert   *tls.Certificate
	server *http.Server // nil: the port is closed
	conns  map[net.Conn]bool
	seen   map[string]int // number of requests, by kind
}

func newProxy(t *testing.T, server, caFile string) *proxy {
	t.Helper()
	target, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	p := &proxy{t: t, seen: map[string]int{}}
	p.upstream = &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}},
		FlushInterval: -1,
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:      log.New(io.Discard, "", 0),
	}
	p.newCertificate()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.address = l.Addr().String()
	p.serve(l)
	t.Cleanup(p.down)
	return p
}

func (p *proxy) url() string { return "https://" + p.address }

// newCertificate creates the certificate for new connections and returns it in PEM form.
func (p *proxy) newCertificate() []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: rand.Text()},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{
			{127, 0, 0, 1}},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cert = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// certificate returns the certificate that clients must trust.
func (p *proxy) certificate() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Certificate[0]})
}

func (p *proxy) serve(l net.Listener) {
	conns := map[net.Conn]bool{}
	s := &http.Server{
		Handler: p, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0),
		// HTTP/1.1: each watch has its own connection
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
				p.mu.Lock()
				defer p.mu.Unlock()
				return p.cert, nil
			}},
		ConnState: func(c net.Conn, state http.ConnState) {
			p.mu.Lock()
			defer p.mu.Unlock()
			if conns[c] = true; state == http.StateClosed {
				delete(conns, c)
			}
		},
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.server, p.conns = s, conns
	go func() { _ = s.ServeTLS(l, "", "") }() // returns after Close
}

// down closes the port and every open connection.
func (p *proxy) down() {
	p.mu.Lock()
	s := p.server
	p.server = nil
	p.mu.Unlock()
	if s != nil {
		_ = s.Close()
	}
}

// up opens the port again.
func (p *proxy) up() {
	p.t.Helper()
	l, err := net.Listen("tcp", p.address)
	if err != nil {
		p.t.Fatal(err)
	}
	p.serve(l)
}

// cut closes every connection, so that clients must begin their watches again.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

// set sets the fault for requests from now on. nil means no fault.
func (p *proxy) set(f fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
}

// requests returns the number of requests of a kind: watch, list or other.
func (p *proxy) requests(kind string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen[kind]
}

func kindOf(r *http.Request) string {
	q := r.URL.Query()
	switch {
	// the program's own checks
	case q.Get("fieldSelector") == "metadata.name=envoy-scraper.none", q.Get("limit") == "1", r.URL.Path == "/version":
		return "question"
	case q.Get("watch") != "":
		return "watch"
	default:
		return "list"
	}
}

// ServeHTTP implements http.Handler.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	f := p.fault
	p.seen[kindOf(r)]++
	p.mu.Unlock()
	if f == nil || !f(w, r) {
		p.upstream.ServeHTTP(w, r)
	}
}

// answer writes an error in the API server's form.
func answer(w http.ResponseWriter, code int, reason, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, status(code, reason, message))
}

func status(code int, reason, message string) string {
	return fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure",`+
		`"message":%q,"reason":%q,"code":%d}`, message, reason, code)
}

// onWatch applies a fault to watches only, including those that stream a list.
func onWatch(f fault) fault {
	return func(w http.ResponseWriter, r *http.Request) bool { return kindOf(r) == "watch" && f(w, r) }
}

// expired answers a watch with the event that its version is too old.
func expired(w http.ResponseWriter, _ *http.Request) bool {
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"type":"ERROR","object":%s}`+"\n",
		status(http.StatusGone, "Expired", "too old resource version: 1 (2)"))
	return true
}
