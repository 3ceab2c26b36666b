package web

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestS10ConnectionsAreBounded: the server limits how long a client may take and how much it may send.
func TestS10ConnectionsAreBounded(t *testing.T) {
	s := newFakeMesh(t).server(Config{ListenAddress: "127.0.0.1:0"})
	h := s.http
	for name, d := range map[string]time.Duration{
		"ReadHeaderTimeout": h.ReadHeaderTimeout, "ReadTimeout": h.ReadTimeout, "WriteTimeout": h.WriteTimeout,
		"IdleTimeout": h.IdleTimeout,
	} {
		if d <= 0 || d > 2*time.Minute {
			t.Errorf("%s = %v", name, d)
		}
	}
	if h.MaxHeaderBytes <= 0 || h.MaxHeaderBytes > 64<<10 {
		t.Errorf("MaxHeaderBytes = %d", h.MaxHeaderBytes)
	}
	address := serve(t, s)
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n"); err != nil {
		t.Fatal(err)
	}
	line := "X-A: " + strings.Repeat("b", 1000) + "\r\n"
	for sent := 0; sent < 1<<20; sent += len(line) {
		if _, err = io.WriteString(c, line); err != nil {
			break
		}
	}
	resp, readErr := http.ReadResponse(bufio.NewReader(c), nil)
	if readErr == nil {
		resp.Body.Close()
		if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("a head of 1 MB: %s", resp.Status)
		}
	} else if err == nil && !strings.Contains(readErr.Error(), "reset") {
		t.Errorf("a head of 1 MB was taken: %v", readErr)
	}
}

// TestS09ServerWantsTLS12: older versions of TLS are refused unless the file allows them.
func TestS09ServerWantsTLS12(t *testing.T) {
	dir := t.TempDir()
	roots := writeCertificate(t, dir)
	file := filepath.Join(dir, "web.yml")
	if err := os.WriteFile(file, []byte("tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	address := serve(t, newFakeMesh(t).server(Config{ListenAddress: "127.0.0.1:0", WebConfigFile: file}))
	for version, want := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true,
		tls.VersionTLS13: true} {
		c, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots, MinVersion: version, MaxVersion: version})
		if (err == nil) != want {
			t.Errorf("%s: %v, want it taken %v", tls.VersionName(version), err, want)
		}
		if err == nil {
			c.Close()
		}
	}
}

// TestS10CrossSiteRequests: other web sites can neither read a response nor reload.
func TestS10CrossSiteRequests(t *testing.T) {
	s := newFakeMesh(t).server(Config{EnableLifecycle: true})
	for _, path := range []string{"/", "/api/v1/targets", "/metrics", "/config"} {
		w := ask(s, "GET", path, "Origin", "https://elsewhere.example")
		for name := range w.Header() {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s: %s: %s", path, name, w.Header().Get(name))
			}
		}
	}
	if w := ask(s, "OPTIONS", "/api/v1/targets", "Origin", "https://elsewhere.example", "Access-Control-Request-Method",
		"GET"); w.Code == http.StatusOK || w.Code == http.StatusNoContent {
		t.Errorf("OPTIONS: %s", fmt.Sprint(w.Code))
	}
}
