package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// TestTroubleshootingQuotesTheProgram runs commands of docs/troubleshooting.md, and looks for their output in the page.
func TestTroubleshootingQuotesTheProgram(t *testing.T) {
	page, err := os.ReadFile("../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/":
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<html>")
		case "/stats/prometheus":
			w.Header().Set("Content-Type", "text/plain")
			fmt.Fprint(w, "# TYPE envoy_server_live gauge\nenvoy_server_live{} 1\n")
		default:
			http.NotFound(w, r)
		}
	}))
	defer target.Close()
	gone := httptest.NewServer(nil)
	gone.Close()

	const file = "envoy-scraper.yml" // as in the page
	const job = "scrape_configs:\n- job_name: envoy-stats\n  metrics_path: /stats/prometheus\n"
	const keep = "  - source_labels: [__meta_kubernetes_pod_container_port_name]\n" +
		"    action: keep\n    regex: '.*-envoy-prom'\n"
	for name, c := range map[string]struct {
		config string
		args   []string
		quoted []string // nil: all lines that the command prints
	}{
		"check, a typing error": {
			config: job + "  scrape_intervall: 15s\n  kubernetes_sd_configs: [\n    {role: pod}]\n" +
				"  relabel_configs:\n" + keep + "remote_write:\n- url: http://prometheus:9090\n",
			args: []string{"check", file},
		},
		"check, a rule that drops native sidecars": {
			config: job + "  kubernetes_sd_configs: [{role: pod}]\n  relabel_configs:\n\n" +
				"  - source_labels: [__meta_kubernetes_pod_container_init]\n    action: drop\n    regex: true\n" +
				keep + "remote_write:\n- url: http://prometheus:9090/api/v1/write\n",
			args: []string{"check", file},
			quoted: []string{
				"it drops init containers, and native sidecars are init containers", "(remove the rule: ",
			},
		},
		"scrape, nothing listens": {
			args:   []string{"scrape", gone.URL + "/stats/prometheus"},
			quoted: []string{"nothing listens there (", "connection refused)"},
		},
		"scrape, a web page": {
			args:   []string{"scrape", target.URL + "/"},
			quoted: []string{"the answer is a web page"},
		},
		"scrape, no page": {
			args:   []string{"scrape", target.URL + "/x"},
			quoted: []string{"the target answers 404"},
		},
		"scrape, no Istio": {
			args:   []string{"scrape", target.URL + "/stats/prometheus"},
			quoted: []string{"Istio metrics  no: this is an Envoy, but it shows none"},
		},
		"scrape, rules keep nothing": {
			config: job + "  static_configs: [{targets: [a]}]\n" +
				"  metric_relabel_configs: [{source_labels: [__name__], action: keep, regex: istio_request}]\n",
			args:   []string{"scrape", "--config.file=" + file, target.URL + "/stats/prometheus"},
			quoted: []string{"Kept           0 after 1 metric relabel rule"},
		},
	} {
		if c.config != "" {
			if err := os.WriteFile(file, []byte(c.config), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var out, errs bytes.Buffer
		execute(t.Context(), c.args, &out, &errs)
		printed := out.String() + errs.String()
		quoted := c.quoted
		if quoted == nil {
			quoted = strings.Split(strings.TrimSpace(printed), "\n")
		}
		for _, line := range quoted {
			if !strings.Contains(printed, line) {
				t.Errorf("%s: %v does not print %q:\n%s", name, c.args, line, printed)
			}
			if !bytes.Contains(page, []byte(line)) {
				t.Errorf("%s: docs/troubleshooting.md does not quote %q", name, line)
			}
		}
	}
}
