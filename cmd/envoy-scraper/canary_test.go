package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// canaries are secrets that must never be shown. Each field of the configuration has its own.
type canaries struct{ all []string }

func (c *canaries) new(field string) string {
	secret := "canary-" + field
	c.all = append(c.all, secret)
	return secret
}

// basic returns a new password, and expects neither it nor the header with user and password.
func (c *canaries) basic(user, field string) string {
	secret := c.new(field)
	c.all = append(c.all, base64.StdEncoding.EncodeToString([]byte(user + ":" + secret))[4:])
	return secret
}

// look fails the test for each canary that a text shows.
func (c *canaries) look(t *testing.T, where, text string) {
	t.Helper()
	for _, secret := range c.all {
		for _, form := range []string{secret, url.QueryEscape(secret),
			base64.StdEncoding.EncodeToString([]byte(secret))} {
			if at := strings.Index(text, form); at >= 0 {
				t.Errorf("%s shows %s: …%s…", where, secret, text[max(0, at-200):min(len(text), at+len(form)+20)])
				break
			}
		}
	}
}

// TestS11NoSecretIsEverShown gives every field that may hold a secret one of its own, has scrapes, discoveries and
// requests succeed and fail, reloads, and looks for the secrets in everything that the program prints.
func TestS11NoSecretIsEverShown(t *testing.T) {
	var fails atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("/page", func(w http.ResponseWriter, _ *http.Request) {
		if fails.Load() {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, "x 1\n")
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if fails.Load() {
			w.WriteHeader(http.StatusUnauthorized)
		}
		fmt.Fprint(w, `{"access_token": "canary-accesstoken", "token_type": "Bearer", "expires_in": 1}`)
	})
	mux.HandleFunc("/sd", func(w http.ResponseWriter, r *http.Request) {
		if fails.Load() {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `[{"targets": ["%s"]}]`, r.Host)
	})
	var received atomic.Int32
	mux.HandleFunc("/write", func(w http.ResponseWriter, _ *http.Request) {
		received.Add(1)
		if fails.Load() {
			http.Error(w, "no", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("X-Prometheus-Remote-Write-Samples-Written", "0")
		w.WriteHeader(http.StatusNoContent)
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()
	srv.Config.ErrorLog = nil
	host := strings.TrimPrefix(srv.URL, "http://")

	dir := t.TempDir()
	c := &canaries{all: []string{"canary-accesstoken"}}
	file := func(field string) string {
		path := filepath.Join(dir, field)
		// every user may read the file: the log must say so
		if err := os.WriteFile(path, []byte(c.new(field)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cert, key := c.keyPair(t)
	static := "static_configs: [{targets: ['" + host + "'], labels: {__metrics_path__: /page}}]"
	text := fmt.Sprintf(`
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
- {job_name: basic, basic_auth: {username: user, password: %s}, STATIC}
- {job_name: bearer, authorization: {credentials: %s}, scrape_failure_log_file: %s, STATIC}
- {job_name: file, authorization: {credentials_file: %s}, STATIC}
- {job_name: headers, http_headers: {X-A: {values: [%s], secrets: [%s], files: [%s]}}, STATIC}
- {job_name: params, params: {access_token: [%s], usedonly: [shown]}, STATIC}
- {job_name: refused, params: {api_key: [%s]}, static_configs: [{targets: ['127.0.0.1:1']}]}
- job_name: oauth2
  oauth2:
    client_id: id
    client_secret: %s
    token_url: http://user:%s@%s/token?key=%s
    endpoint_params: {audience: %s}
  STATIC
- {job_name: proxied, proxy_url: 'http://user:%s@127.0.0.1:1', proxy_connect_header: {X-A: [%s]}, STATIC}
- job_name: tls
  scheme: https
  tls_config: {insecure_skip_verify: true, cert: "%s", key: "%s"}
  STATIC
- job_name: http
  metrics_path: /page
  http_sd_configs: [{url: 'http://user:%s@%s/sd?key=%s', refresh_interval: 1s, http_headers: {X-A: {secrets: [%s]}}}]
- job_name: nowhere
  http_sd_configs: [{url: 'http://user:%s@127.0.0.1:1/sd?key=%s', refresh_interval: 1s,
      authorization: {credentials: %s}}]
- job_name: kubernetes
  kubernetes_sd_configs: [{role: pod, api_server: 'http://127.0.0.1:1', basic_auth: {username: user, password: %s}}]
remote_write:
- {name: a, url: 'http://user:%s@%s/write?key=%s', headers: {X-A: %s}, queue_config: {batch_send_deadline: 100ms}}
- {url: 'http://%s/write', basic_auth: {username: user, password: %s}, queue_config: {batch_send_deadline: 100ms}}
- {url: 'http://127.0.0.1:1/write?token=%s', authorization: {credentials: %s},
   queue_config: {batch_send_deadline: 100ms}}
- {name: o, url: 'http://%s/write', oauth2: {client_id: id, client_secret: %s, token_url: 'http://%s/token'},
   queue_config: {batch_send_deadline: 100ms}}
- {name: s, url: 'http://%s/write', sigv4: {region: eu, access_key: %s, secret_key: %s},
   queue_config: {batch_send_deadline: 100ms}}
`, c.basic("user", "basic"), c.new("credentials"), filepath.Join(dir, "failures.log"),
		file("credentialsfile"), c.new("headervalue"), c.new("headersecret"), file("headerfile"),
		c.new("param"), c.new("apikey"),
		c.basic("id", "clientsecret"), c.new("tokenuser"), host, c.new("tokenquery"), c.new("audience"),
		c.basic("user", "proxyuser"), c.new("proxyheader"),
		strings.ReplaceAll(cert, "\n", `\n`), strings.ReplaceAll(key, "\n", `\n`),
		c.basic("user", "sduser"), host, c.new("sdquery"), c.new("sdheader"),
		c.basic("user", "sduser2"), c.new("sdquery2"), c.new("sdcredentials"), c.basic("user", "kube"),
		c.basic("user", "rwuser"), host, c.new("rwquery"), c.new("rwheader"),
		host, c.basic("user", "rwbasic"), c.new("rwquery2"), c.new("rwcredentials"),
		host, c.basic("id", "rwclientsecret"), host,
		host, c.new("accesskey"), c.new("secretkey"))
	text = strings.ReplaceAll(text, "STATIC", static)
	config := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}

	var stderr log
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	code := make(chan int, 1)
	go func() {
		code <- execute(ctx, []string{
			"--config.file=" + config, "--web.listen-address=127.0.0.1:0", "--web.enable-lifecycle", "--storage.path=",
			"--log.level=debug", "--scrape.allow-loopback", "--storage.remote.flush-deadline=100ms",
		}, io.Discard, &stderr)
	}()
	eventually(t, "the address in the log", func() bool {
		return served.MatchString(stderr.String()) || len(code) > 0
	})
	if len(code) > 0 {
		t.Fatal(stderr.String())
	}
	base := "http://" + served.FindStringSubmatch(stderr.String())[1]
	ask := func(method, path string) string {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, _ := io.ReadAll(resp.Body)
		return string(body)
	}
	lookAtAll := func(when string) {
		t.Helper()
		for _, path := range []string{
			"/", "/targets", "/service-discovery", "/config", "/metrics", "/-/ready", "/api/v1/targets",
			"/api/v1/scrape_pools",
			"/api/v1/status/config", "/api/v1/status/flags", "/api/v1/status/buildinfo", "/api/v1/status/remote_write",
		} {
			c.look(t, path+" "+when, ask("GET", path))
		}
	}
	health := func() (up, down int) {
		var answer struct {
			Data struct{ ActiveTargets []struct{ Health string } }
		}
		_ = json.Unmarshal([]byte(ask("GET", "/api/v1/targets")), &answer)
		for _, target := range answer.Data.ActiveTargets {
			switch target.Health {
			case "up":
				up++
			case "down":
				down++
			}
		}
		return up, down
	}
	eventually(t, "scrapes and requests that succeed", func() bool {
		up, _ := health()
		return up >= 7 &&
			received.Load() > 3
	})
	lookAtAll("while all is well")
	fails.Store(true)
	received.Store(0)
	eventually(t, "scrapes and requests that fail", func() bool {
		up, down := health()
		return up == 0 && down >= 10 &&
			received.Load() > 3
	})
	lookAtAll("while all fails")

	if err := os.WriteFile(config, []byte(strings.Replace(text, "scrape_interval: 1s", "scrape_interval: 2s", 1)),
		0o600); err != nil {
		t.Fatal(err)
	}
	c.look(t, "a reload", ask("POST", "/-/reload"))
	for _, broken := range []string{"password: ", "credentials: ", "client_secret: ", "secret_key: ", "X-A: ",
		"token_url: ", "url: "} {
		if err := os.WriteFile(config, []byte(strings.ReplaceAll(text, broken, "x"+broken)), 0o600); err != nil {
			t.Fatal(err)
		}
		c.look(t, "a reload of x"+broken, ask("POST", "/-/reload"))
		for _, command := range []string{"check", "config"} {
			c.look(t, command+" of x"+broken, output(t, command, config))
		}
	}
	lookAtAll("after a reload")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"check", "config"} {
		c.look(t, command, output(t, command, config))
	}
	c.look(t, "targets", output(t, "targets", "--config.file="+config, "--dropped", "--timeout=2s"))
	few := filepath.Join(dir, "few.yml")
	if err := os.WriteFile(few, []byte(text[:strings.Index(text, "- {job_name: proxied")]), 0o600); err != nil {
		t.Fatal(err)
	}
	found := output(t, "targets", "--config.file="+few, "--output=json", "--dropped", "--timeout=2s")
	if c.look(t, "targets", found); !strings.Contains(found, "access_token") {
		t.Errorf("no target with parameters: %s", found)
	}
	if metrics := ask("GET", "/metrics"); !strings.Contains(metrics, "envoy_scraper_config_insecure_skip_verify 1\n") ||
		!strings.Contains(metrics, "envoy_scraper_config_readable_secret_files 2\n") {
		t.Error("the gauges do not count the certificates that are not verified, and the files that every " +
			"user can read")
	}
	stop()
	select {
	case <-code:
	case <-time.After(30 * time.Second):
		t.Fatal("did not stop")
	}
	c.look(t, "the log", stderr.String())
	for _, want := range []string{"certificates are not verified", "every user of the machine can read a secret file",
		"target down"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
	if failures, err := os.ReadFile(filepath.Join(dir, "failures.log")); err != nil || len(failures) == 0 {
		t.Errorf("scrape_failure_log_file: %v", err)
	} else {
		c.look(t, "scrape_failure_log_file", string(failures))
	}
}

// output is what a command prints, to stdout and stderr.
func output(t *testing.T, args ...string) string {
	t.Helper()
	if args[0] == "config" {
		args = []string{"config", "--config.file=" + args[1]}
	}
	var out bytes.Buffer
	execute(t.Context(), args, &out, &out)
	return out.String()
}

// keyPair returns a certificate and its key. A part of the text of the key is a canary.
func (c *canaries) keyPair(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotAfter: time.Now().Add(time.Hour)}
	der, err2 := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	secret, err3 := x509.MarshalPKCS8PrivateKey(private)
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	key = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
	c.all = append(c.all, strings.Split(key, "\n")[2])
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), key
}
