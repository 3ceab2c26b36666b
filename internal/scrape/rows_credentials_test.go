package scrape

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func writeFile(t *testing.T, dir, name, text string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestRow48Authorization: each setting sends its header, and a file is read again for each request.
func TestRow48Authorization(t *testing.T) {
	dir := t.TempDir()
	token, password := writeFile(t, dir, "token", "first\n"), writeFile(t, dir, "password", "one\n")
	for name, c := range map[string]struct {
		yaml          string
		first, second string // Authorization before and after the files changed
	}{
		"bearer token file": {"  bearer_token_file: " + token + "\n", "Bearer first", "Bearer second"},
		"bearer token":      {"  bearer_token: fixed\n", "Bearer fixed", "Bearer fixed"},
		"credentials file": {"  authorization: {type: Custom, credentials_file: " + token + "}\n", "Custom first",
			"Custom second"},
		"credentials": {"  authorization: {credentials: fixed}\n", "Bearer fixed", "Bearer fixed"},
		"basic auth":  {"  basic_auth: {username: u, password: p}\n", "Basic dTpw", "Basic dTpw"},
		"basic auth by file": {"  basic_auth: {username: u, password_file: " + password + "}\n", "Basic dTpvbmU=",
			"Basic dTp0d28="},
		"a header": {"  http_headers: {X-Scope: {values: [a]}}\n", "", ""},
		"nothing":  {"", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			writeFile(t, dir, "token", "first\n")
			writeFile(t, dir, "password", "one\n")
			var got http.Header
			s := serve(t, newServer(t, func(w http.ResponseWriter, req *http.Request) {
				got = req.Header
				answer200(textType, "x 1\n")(w, req)
			}), c.yaml)
			for _, want := range []string{c.first, c.second} {
				if err := s.scrape(t); err != "" {
					t.Fatal(err)
				}
				if a := got.Get("Authorization"); a != want {
					t.Errorf("Authorization %q, want %q", a, want)
				}
				writeFile(t, dir, "token", "second\n")
				writeFile(t, dir, "password", "two\n")
			}
			if v := got.Get("X-Scope"); (v == "a") != (name == "a header") {
				t.Errorf("X-Scope %q", v)
			}
		})
	}
	t.Run("a file that is gone", func(t *testing.T) {
		s := serve(t, newServer(t, answer200(textType, "x 1\n")),
			"  bearer_token_file: "+filepath.Join(dir, "none")+"\n")
		if err := s.scrape(t); !strings.Contains(err, "none") {
			t.Errorf("error %q", err)
		}
	})
}

// TestRow48TLS: the CA, the server's name and the client's certificate are used.
func TestRow48TLS(t *testing.T) {
	dir := t.TempDir()
	var clientCerts int
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		clientCerts = len(req.TLS.PeerCertificates)
		answer200(textType, "x 1\n")(w, req)
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	srv.StartTLS()
	defer srv.Close()
	ca := writeFile(t, dir, "ca.pem", pemOf(t, "CERTIFICATE", srv.Certificate().Raw))
	key, err := x509.MarshalPKCS8PrivateKey(srv.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	keyFile := writeFile(t, dir, "key.pem", pemOf(t, "PRIVATE KEY", key))
	for name, c := range map[string]struct {
		tls     string
		wantErr string
		certs   int
	}{
		"no CA":                {"", "certificate", 0},
		"CA":                   {"ca_file: " + ca, "", 0},
		"another name":         {"ca_file: " + ca + ", server_name: other.org", "other.org", 0},
		"the name":             {"ca_file: " + ca + ", server_name: example.com", "", 0},
		"unverified":           {"insecure_skip_verify: true", "", 0},
		"a client certificate": {"ca_file: " + ca + ", cert_file: " + ca + ", key_file: " + keyFile, "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, srv, "  tls_config: {"+c.tls+"}\n")
			err := s.scrape(t)
			if (err == "") != (c.wantErr == "") || !strings.Contains(err, c.wantErr) {
				t.Errorf("error %q, want one with %q", err, c.wantErr)
			}
			if err == "" && clientCerts != c.certs {
				t.Errorf("%d client certificates, want %d", clientCerts, c.certs)
			}
		})
	}
}

func pemOf(t *testing.T, kind string, der []byte) string {
	t.Helper()
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// TestRow48Proxy: the proxy is asked for the target's URL.
func TestRow48Proxy(t *testing.T) {
	var asked []string
	proxy := newServer(t, func(w http.ResponseWriter, req *http.Request) {
		asked = append(asked, fmt.Sprint(req.URL, " ", req.Header.Get("Proxy-Authorization")))
		answer200(textType, "x 1\n")(w, req)
	})
	r := newRig()
	r.opts.transport = nil
	r.apply(t, job(t, "  proxy_url: http://u:p@"+strings.TrimPrefix(proxy.URL, "http://")+"\n"))
	r.discover(at("sidecar.example:15090"))
	s := &served{rig: r}
	if err := s.scrape(t); err != "" {
		t.Fatal(err)
	}
	if want := "http://sidecar.example:15090/metrics Basic dTpw"; len(asked) != 1 || asked[0] != want {
		t.Errorf("the proxy was asked for %q, want %q", asked, want)
	}
}
