package config

import (
	"errors"
	"strings"
	"testing"
)

// problemsOf returns all problems of a text, valid or not.
func problemsOf(t *testing.T, o Options, text string) []string {
	t.Helper()
	o.File = write(t, "f.yml", text)
	cfg, err := Load(o)
	var problems Problems
	if err == nil {
		problems = cfg.Warnings
	} else if !errors.As(err, &problems) {
		t.Fatalf("Load: %v, want Problems", err)
	}
	var out []string
	for _, p := range problems {
		out = append(out, strings.TrimPrefix(p.String(), o.File))
	}
	return out
}

// TestMistakes: the exact messages about common mistakes in a first file.
func TestMistakes(t *testing.T) {
	for name, tc := range map[string]struct {
		opts Options
		text string
		want []string
	}{
		"a tab": {
			text: someRemote + "scrape_configs:\n- job_name: a\n\tstatic_configs: []\n- job_name: b\n",
			want: []string{":4: not valid YAML: found a tab character that violates indentation (indent this line " +
				"with spaces instead of tabs)"},
		},
		"a key that is indented too little, far below the list's begin": {
			text: someRemote + "scrape_configs:\n- job_name: a\n- job_name: b\n- job_name: c\n static_configs:\n  " +
				"- targets: [a:1]\n- job_name: d\n",
			want: []string{":6: not valid YAML: did not find expected key (correct the indentation or the quotes " +
				"on this line or above it)"},
		},
		"a variable without quotes within braces": {
			text: "global:\n  external_labels: {cluster: east,\n    region: ${REGION}}\n" + someRemote + someJob,
			want: []string{":2: not valid YAML: did not find expected ',' or '}' (close the quotes or brackets " +
				"that start on this line)"},
		},
		"a quote that is not closed": {
			text: someRemote + "scrape_configs:\n- job_name: a\n  metrics_path: '/a\n- job_name: b\n",
			want: []string{":4: not valid YAML: found unexpected end of stream (close the quotes or brackets that " +
				"start on this line)"},
		},
		"two tenants of one receiver, without names": {
			text: "remote_write:\n- url: http://a/push?x=1\n  headers: {X-Scope-OrgID: one}\n- name: b\n  url: " +
				"http://a/push\n- url: http://u:secret@a/push?x=2\n  headers: {X-Scope-OrgID: two}\n- url: " +
				"http://a/other\n" + someJob,
			want: []string{":6: warning: remote_write[2].url: http://<secret>@a/push?x=<secret>: the entry on " +
				"line 2 has this URL, and neither has a name: after a restart with the entries in another order, " +
				"or without the first one, a backlog may be sent by the wrong entry (give each entry a name)"},
		},
		"more shards than a queue can have": {
			text: "remote_write:\n- url: http://a/push\n  queue_config:\n    max_shards: 10000\n    min_shards: " +
				"5000\n" + someJob,
			want: []string{":5: remote_write[0].queue_config.min_shards: 5000: remote write queue min_shards must " +
				"not be greater than 4096 (write a smaller number)"},
		},
		"nothing to scrape": {
			text: someRemote,
			want: []string{": warning: scrape_configs: there is no job, so nothing is scraped (add a job; " +
				"envoy-scraper config prints one)"},
		},
		"a Kubernetes object": {
			text: "apiVersion: v1\nkind: ConfigMap\ndata:\n  prometheus.yml: |\n    scrape_configs: []\n",
			want: []string{":2: kind: ConfigMap: this is a Kubernetes object, not a configuration (write its data " +
				"into a file, and name that file)"},
		},
		"a PodMonitor": {
			text: "apiVersion: monitoring.coreos.com/v1\nkind: PodMonitor\nspec: {}\n",
			want: []string{":2: kind: PodMonitor: this is a Kubernetes object, not a configuration (copy the job " +
				"that Prometheus generates from it (see Prometheus' page /config) into a file, and name that file)"},
		},
		"two documents": {
			text: someRemote + someJob + "---\nscrape_configs: []\n",
			want: []string{":3: warning: a second YAML document starts here; only the first is read, as in " +
				"Prometheus (remove the line ---, or the second document)"},
		},
		"a key one level too high": {
			text: someRemote + someJob + "relabel_configs: []\n",
			want: []string{":3: relabel_configs: this key does not exist here, but at another level (correct the " +
				"indentation)"},
		},
		"a key one level too deep": {
			text: someRemote + "scrape_configs:\n- job_name: a\n  static_configs:\n  - targets: [a:1]\n    " +
				"metrics_path: /x\n",
			want: []string{`:6: job "a": scrape_configs[0].static_configs[0].metrics_path: /x: this key does not ` +
				`exist here, but at another level (correct the indentation)`},
		},
		"a key misspelt": {
			text: someRemote + "scrape_configs:\n- job_name: a\n  metric_path: /x\n  static_configs:\n  - target: " +
				"[a:1]\n",
			want: []string{
				`:4: job "a": scrape_configs[0].metric_path: /x: unknown key (did you mean metrics_path? ` +
					`otherwise remove it)`,
				`:6: job "a": scrape_configs[0].static_configs[0].target: unknown key (did you mean targets? ` +
					`otherwise remove it)`,
			},
		},
		"a mapping where a list belongs": {
			text: someRemote + "scrape_configs:\n  job_name: a\n",
			want: []string{":3: scrape_configs: a mapping, where a list belongs (begin each entry with - )"},
		},
		"a URL without a path": {
			text: "remote_write: [{url: 'http://prometheus:9090'}]\n" + someJob,
			want: []string{":1: warning: remote_write[0].url: http://prometheus:9090: the URL has no path; " +
				"Prometheus accepts samples at /api/v1/write only (write the complete URL, as " +
				"http://prometheus:9090/api/v1/write)"},
		},
		"a URL without a path on the command line": {
			opts: Options{RemoteWriteURL: "http://prometheus:9090/"},
			text: someJob,
			want: []string{"--remote-write.url: warning: http://prometheus:9090/: the URL has no path; Prometheus " +
				"accepts samples at /api/v1/write only (write the complete URL, as " +
				"http://prometheus:9090/api/v1/write)"},
		},
		"a variable that is not set, reported once": {
			opts: Options{LookupEnv: envOf("A", "")},
			text: "remote_write: [{url: '%{NOPE}'}]\n" + someJob,
			want: []string{":1: remote_write[0].url: %{NOPE}: the environment variable NOPE is not set (set NOPE, " +
				"or write the value out)"},
		},
		"a target with a scheme, and a timeout": {
			text: someRemote + "scrape_configs:\n- job_name: b\n  scrape_interval: 10s\n  scrape_timeout: 20s\n  " +
				"static_configs: [{targets: ['http://x:1/metrics']}]\n",
			want: []string{
				`:5: job "b": scrape_configs[0].scrape_timeout: 20s: scrape timeout greater than scrape interval ` +
					`for scrape config with job name "b" (make the timeout shorter than the interval)`,
				`:6: job "b": scrape_configs[0].static_configs[0].targets[0]: http://x:1/metrics: ` +
					`"http://x:1/metrics" is not a valid hostname (write host:port; put the scheme into scheme ` +
					`and the path into metrics_path)`,
			},
		},
		"two ways to say who asks, with a short password": {
			text: someRemote + "scrape_configs:\n- job_name: j\n  authorization: {credentials_file: f}\n  " +
				"basic_auth: {username: a, password: b}\n  static_configs: [{targets: ['a:1']}]\n",
			want: []string{
				`:4: warning: job "j": scrape_configs[0].authorization.credentials_file: f: no such file or ` +
					`directory (correct the path, which is relative to this file, or provide the file)`,
				`:5: job "j": scrape_configs[0].basic_auth: at most one of basic_auth, oauth2 & authorization ` +
					`must be configured (keep one of them)`,
			},
		},
		"half of a client certificate": {
			text: someRemote + "scrape_configs:\n- job_name: j\n  tls_config: {cert_file: c.pem}\n  " +
				"static_configs: [{targets: ['a:1']}]\n",
			want: []string{
				`:4: job "j": scrape_configs[0].tls_config.cert_file: c.pem: exactly one of key or key_file must ` +
					`be configured when a client certificate is configured (correct the value, or remove the key ` +
					`to get the default)`,
				`:4: warning: job "j": scrape_configs[0].tls_config.cert_file: c.pem: no such file or directory ` +
					`(correct the path, which is relative to this file, or provide the file)`,
			},
		},
		"a CA that is not there, without which no client can be made": {
			text: someRemote + "scrape_configs:\n- job_name: j\n  tls_config: {ca_file: ca.pem}\n  " +
				"static_configs: [{targets: ['a:1']}]\n",
			want: []string{`:4: job "j": scrape_configs[0].tls_config.ca_file: ca.pem: no such file or directory ` +
				`(correct the path, which is relative to this file, or provide the file)`},
		},
		"the same, where nothing is sent": {
			opts: Options{Check: true},
			text: someRemote + "scrape_configs:\n- job_name: j\n  tls_config: {ca_file: ca.pem}\n  " +
				"static_configs: [{targets: ['a:1']}]\n",
			want: []string{`:4: warning: job "j": scrape_configs[0].tls_config.ca_file: ca.pem: no such file or ` +
				`directory (correct the path, which is relative to this file, or provide the file)`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, want := strings.Join(problemsOf(t, tc.opts, tc.text), "\n"), strings.Join(tc.want, "\n")
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}
