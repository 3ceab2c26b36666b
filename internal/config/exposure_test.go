package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestS08S09S12Exposures: credentials over plain HTTP, an unverified certificate and a secret that everyone can read
// are reported.
func TestS08S09S12Exposures(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"open": 0o644, "closed": 0o600, "open.json": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("secret"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	text := `
scrape_configs:
- job_name: verified
  scheme: https
  tls_config: {ca_file: DIR/open, cert_file: DIR/open, key_file: DIR/closed}
  authorization: {credentials_file: DIR/closed}
  file_sd_configs: [{files: [DIR/open.json]}]
- job_name: not
  tls_config: {insecure_skip_verify: true, cert_file: DIR/open, key_file: DIR/open}
  basic_auth: {username: a, password_file: DIR/open}
  http_headers: {X-A: {files: [DIR/open]}}
  kubernetes_sd_configs: [{role: pod, api_server: 'https://a/', tls_config: {insecure_skip_verify: true}}]
- job_name: token
  oauth2: {client_id: a, client_secret_file: DIR/open, token_url: 'http://a/', tls_config: {insecure_skip_verify: true}}
  http_sd_configs: [{url: 'https://a/', tls_config: {insecure_skip_verify: true}}]
remote_write:
- {name: r, url: 'https://a/', tls_config: {insecure_skip_verify: true}, authorization: {credentials_file: DIR/open}}
- {name: s, url: 'http://b/'}
- {name: t, url: 'http://b/', basic_auth: {username: a}}
- {url: 'http://u:p@c/?token=x', basic_auth: {username: a}}
`
	file := filepath.Join(dir, "f.yml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range load(t, Options{File: file}, "").Exposures() {
		if e.Kind == WorldReadable && e.File != filepath.Join(dir, "open") {
			t.Errorf("file %q", e.File)
		}
		got = append(got, fmt.Sprintf("%s: %s", e.Kind, e.Where))
	}
	want := []string{
		`credentials_in_clear: job "not": basic_auth`,
		`credentials_in_clear: job "token": oauth2`,
		`credentials_in_clear: remote_write "http://<secret>@c/?token=<secret>": basic_auth`,
		`credentials_in_clear: remote_write "t": basic_auth`,
		`insecure_skip_verify: job "not": kubernetes_sd_configs.tls_config.insecure_skip_verify`,
		`insecure_skip_verify: job "not": tls_config.insecure_skip_verify`,
		`insecure_skip_verify: job "token": http_sd_configs.tls_config.insecure_skip_verify`,
		`insecure_skip_verify: job "token": oauth2.tls_config.insecure_skip_verify`,
		`insecure_skip_verify: remote_write "r": tls_config.insecure_skip_verify`,
		`readable_secret_file: job "not": basic_auth.password_file`,
		`readable_secret_file: job "not": http_headers.X-A.files`,
		`readable_secret_file: job "not": tls_config.key_file`,
		`readable_secret_file: job "token": oauth2.client_secret_file`,
		`readable_secret_file: remote_write "r": authorization.credentials_file`,
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		for _, s := range got {
			t.Logf("got  %s", s)
		}
		for _, s := range want {
			t.Logf("want %s", s)
		}
		t.Error("exposures differ")
	}
}
