package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// secretFile has the text canary at every place of a secret.
const secretFile = `
scrape_configs:
- job_name: basic
  basic_auth: {username: canary, password: canary}
  static_configs: [{targets: ['a:1'], labels: {__param_token: canary}}]
  params: {access_token: [canary], usedonly: [shown]}
  proxy_url: http://canary:canary@proxy:1
  proxy_connect_header: {Authorization: [canary]}
  http_headers: {X-Key: {values: [canary], secrets: [canary]}}
- job_name: bearer
  bearer_token: canary
- job_name: authorization
  authorization: {credentials: canary}
- job_name: oauth2
  oauth2:
    client_id: canary
    client_secret: canary
    token_url: https://canary:canary@id/token?key=canary
    endpoint_params: {audience: canary}
    tls_config: {cert: canary, key: canary}
    proxy_url: http://canary@proxy
- job_name: http
  http_sd_configs:
  - url: https://canary:canary@sd/targets?key=canary&x=canary
    authorization: {credentials: canary}
- job_name: kube
  kubernetes_sd_configs:
  - role: pod
    api_server: https://canary:canary@api?token=canary
    basic_auth: {username: canary, password: canary}
remote_write:
- url: https://canary:canary@r/write?key=canary
  headers: {X-Token: canary}
  basic_auth: {username: canary, password: canary}
- url: http://r/b
  sigv4: {region: eu, access_key: canary, secret_key: canary}
- url: http://r/c
  azuread:
    oauth:
      client_id: 00000000-0000-0000-0000-000000000000
      client_secret: canary
      tenant_id: 00000000-0000-0000-0000-000000000000
`

func TestRedactedHidesEverySecret(t *testing.T) {
	// Without the TLS pair, whose text is checked when it is loaded.
	cfg := load(t, Options{}, strings.Replace(secretFile, "{cert: canary, key: canary}",
		"{insecure_skip_verify: true}", 1))
	text, err := cfg.Redacted()
	if err != nil {
		t.Fatal(err)
	}
	if at := strings.Index(text, "canary"); at >= 0 {
		t.Errorf("a secret is shown: …%s…", text[max(0, at-80):min(len(text), at+40)])
	}
	if !strings.Contains(text, "shown") {
		t.Error("usedonly is hidden, which is no secret")
	}
	for _, w := range cfg.Warnings {
		if strings.Contains(fmt.Sprintf("%+v", w), "canary") {
			t.Errorf("a warning shows a secret: %v", w)
		}
	}
}

// Each secret is moved to a wrong place, or below a misspelt key.
func TestProblemsHideEverySecret(t *testing.T) {
	places := regexp.MustCompile(`canary`).FindAllStringIndex(secretFile, -1)
	secretKey := regexp.MustCompile(
		`(password|credentials|client_secret|bearer_token|secret_key|key|username|secrets|values): `)
	keys := secretKey.FindAllStringSubmatchIndex(secretFile, -1)
	try := func(what, text string) {
		t.Helper()
		_, err := Load(Options{File: write(t, "f.yml", text)})
		var problems Problems
		if !errors.As(err, &problems) {
			return // still good
		}
		for _, p := range problems {
			if strings.Contains(fmt.Sprintf("%+v", p), "canary") {
				t.Errorf("%s: a problem shows a secret: %+v", what, p)
			}
		}
	}
	for _, at := range places {
		for _, as := range []string{"[canary]", "{canary: canary}", `"canary\ncanary ://canary@%zz"`} {
			if i := at[0]; secretFile[i-1] == ' ' || secretFile[i-1] == '[' {
				try(as, secretFile[:i]+as+secretFile[at[1]:])
			}
		}
	}
	for _, at := range keys {
		end := at[3]
		try("misspelt "+secretFile[at[2]:end], secretFile[:end]+"x"+secretFile[end:])
	}
}

func TestRedactURL(t *testing.T) {
	for in, want := range map[string]string{
		"plain text":                        "plain text",
		"http://u:p@h:1/p":                  "http://<secret>@h:1/p",
		"http://h/p?a=b&c=d#e":              "http://h/p?a=<secret>&c=<secret>#e",
		`parse "http://u:p@ho st": invalid`: `parse "http://<secret>@ho st": invalid`,
	} {
		if got := redactURL(in); got != want {
			t.Errorf("redactURL(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestRedactedIsAFile: the printed configuration is a valid file with the same meaning and without warnings, if it has
// no secret. This includes the built-in job.
func TestRedactedIsAFile(t *testing.T) {
	for name, c := range map[string]struct {
		opts Options
		text string
	}{
		"the built-in job": {Options{RemoteWriteURL: "http://r/write"}, ""},
		"a file": {Options{}, someRemote + someJob +
			"global: {evaluation_interval: 5m}\nstorage: {tsdb: {out_of_order_time_window: 5m}}\n" +
			"envoy_scraper: {queue: {max_bytes: 64MiB, max_age: 0s}, own_address_jobs: [a]}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			first := load(t, c.opts, c.text)
			text, err := first.Redacted()
			if err != nil {
				t.Fatal(err)
			}
			second := load(t, Options{}, text)
			if len(second.Warnings) != 0 {
				t.Errorf("warnings: %v", second.Warnings)
			}
			if again, err := second.Redacted(); again != text || err != nil {
				t.Errorf("first\n%s\nthen %v\n%s", text, err, again)
			}
			for _, j := range first.Jobs {
				if first.OwnAddressOnly(j.JobName) != second.OwnAddressOnly(j.JobName) {
					t.Errorf("job %s may dial other addresses", j.JobName)
				}
			}
			if first.Extension.Queue != second.Extension.Queue {
				t.Errorf("queue %v, then %v", first.Extension.Queue, second.Extension.Queue)
			}
		})
	}
}
