package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/internal/cost"
)

const costPage = `# TYPE istio_requests_total counter
istio_requests_total{source_workload="a",source_principal="spiffe://a",response_code="200"} 1
istio_requests_total{source_workload="b",source_principal="spiffe://b",response_code="200"} 2
istio_requests_total{source_workload="b",source_principal="spiffe://b",response_code="404"} 3
# TYPE istio_request_bytes histogram
istio_request_bytes_bucket{source_workload="a",source_principal="spiffe://a",le="1"} 0
istio_request_bytes_bucket{source_workload="a",source_principal="spiffe://a",le="+Inf"} 4
istio_request_bytes_sum{source_workload="a",source_principal="spiffe://a"} 400
istio_request_bytes_count{source_workload="a",source_principal="spiffe://a"} 4
# TYPE istio_request_bytes_more gauge
istio_request_bytes_more{} 1
# TYPE envoy_server_uptime gauge
envoy_server_uptime{} 7
`

// costTarget serves a sidecar's page, and returns a configuration that scrapes it, with rules.
func costTarget(t *testing.T) (config func(rules string) (file string)) {
	t.Helper()
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = io.WriteString(w, costPage)
	}))
	t.Cleanup(page.Close)
	return func(rules string) string {
		file := filepath.Join(t.TempDir(), "config.yml")
		text := fmt.Sprintf("scrape_configs:\n- job_name: envoy\n  static_configs: [{targets: ['%s']}]\n",
			strings.TrimPrefix(page.URL, "http://"))
		for line := range strings.Lines(rules) {
			text += "  " + line
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
}

func costOf(t *testing.T, args ...string) *cost.Report {
	t.Helper()
	var stdout, stderr bytes.Buffer
	args = append([]string{"cost", "--output=json"}, args...)
	if code := execute(t.Context(), args, &stdout, &stderr); code != exitOK {
		t.Fatalf("%q: exit code %d: %s", args, code, stderr.String())
	}
	r := &cost.Report{}
	if err := json.Unmarshal(stdout.Bytes(), r); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestRulesOfCostDoWhatTheySay adds the rule of each answer to the configuration, and counts again.
func TestRulesOfCostDoWhatTheySay(t *testing.T) {
	config := costTarget(t)
	board := filepath.Join(t.TempDir(), "board.json")
	if err := os.WriteFile(board, []byte(`{"panels": [{"targets": [{"expr": "istio_request_bytes_sum / $x"},
		{"expr": "{__name__=~\"istio_req.*_total\"}"}]}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args []string
		gone int
	}{
		"family":          {[]string{"--drop-family=istio_request_bytes"}, 4},
		"family of one":   {[]string{"--drop-family=envoy_server_uptime"}, 1},
		"label":           {[]string{"--drop-label=source_principal"}, 0},
		"only what shows": {[]string{"--used-by=" + board}, 5},
	} {
		before := costOf(t, append(tc.args, "--config.file="+config(""))...)
		w := before.WhatIf[0]
		if before.Totals.Series != 9 || w.Gone.Series != tc.gone || w.Left.Series != 9-tc.gone || !w.Safe {
			t.Errorf("%s: %d series, answer %+v, want %d gone", name, before.Totals.Series, w, tc.gone)
		}
		rule := w.Fixes[0].YAML
		after := costOf(t, "--config.file="+config(rule), "--by=label")
		if after.Totals.Series != w.Left.Series || after.Totals.Dropped != tc.gone {
			t.Errorf("%s: with the rule\n%sthere are %d series and %d dropped, the answer was %d and %d", name, rule,
				after.Totals.Series, after.Totals.Dropped, w.Left.Series, tc.gone)
		}
		for _, row := range after.Rows {
			if name == "label" && row.Name == "source_principal" {
				t.Errorf("%s: the label is still there", name)
			}
		}
	}
	// A label whose series must be summed gets no rule.
	for _, f := range costOf(t, "--drop-label=response_code", "--config.file="+config("")).WhatIf[0].Fixes {
		if strings.Contains(f.YAML, "labeldrop") {
			t.Errorf("a rule drops response_code: %s", f.YAML)
		}
	}
}

// TestCostOfSums: two replicas become one, and the gauge stays.
func TestCostOfSums(t *testing.T) {
	page := serveFunc(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = io.WriteString(w, costPage)
	})
	address := strings.TrimPrefix(page.URL, "http://")
	file := writeFile(t, fmt.Sprintf("scrape_configs:\n- job_name: envoy\n  static_configs:\n"+
		"  - {targets: ['%[1]s'], labels: {pod: a}}\n  - {targets: ['%[1]s'], labels: {pod: b}}\n", address))
	for args, want := range map[string][4]int{
		"--aggregate=istio_.*": {14, 7, 2, 0},
		"--aggregate=istio":    {14, 7, 2, 0},
		"--aggregate=istio_requests_.*|envoy_.* --aggregate-without=pod,response_code": {6, 2, 2, 0},
		"--aggregate=istio_.* --aggregate-without=response_code":                       {14, 12, 2, 0},
	} {
		s := costOf(t, append(strings.Fields(args), "--config.file="+file)...).WhatIf[0].Sums
		if got := [4]int{s.Series, s.Aggregates, s.Gauges, s.Others}; got != want {
			t.Errorf("%s: got %v, want %v", args, got, want)
		}
	}
	// Jobs of two intervals have one entry.
	both := writeFile(t, read(t, file)+fmt.Sprintf("- {job_name: slow, scrape_interval: 5m, static_configs: "+
		"[{targets: ['%s']}]}\n", address))
	two := costOf(t, "--aggregate=istio_.*", "--aggregate-without=job,pod", "--config.file="+both).WhatIf[0].Fixes[0]
	added := writeFile(t, read(t, both)+strings.ReplaceAll(two.YAML, "%{NODE_NAME}", "node-1"))
	if code, out, errs := runCommand(t, "check", added); code != exitOK || strings.Count(two.YAML, "match:") != 1 {
		t.Errorf("check: exit code %d, %s\n%s\n%s", code, errs, out, two.YAML)
	}
	// The block does what the answer says.
	w := costOf(t, "--aggregate=istio_.*", "--config.file="+file).WhatIf[0]
	with := writeFile(t, read(t, file)+strings.ReplaceAll(w.Fixes[0].YAML, "%{NODE_NAME}", "node-1"))
	if code, out, errs := runCommand(t, "check", with); code != exitOK ||
		!strings.Contains(out, `sums of istio_.* of envoy, without instance, pod, pod_name, namespace`) {
		t.Errorf("check: exit code %d, %s\n%s", code, errs, out)
	}
	after := costOf(t, "--config.file="+with, "--aggregate=istio_.*")
	if n := after.Totals.Summed; n == nil || *n != w.Sums.Series || after.Totals.SentSeries != 18-w.Sums.Series ||
		after.WhatIf[0].Sums.Already != w.Sums.Series {
		t.Errorf("with the block: %+v", after.Totals)
	}
}

// TestCostOfOtherPrograms: what answers at --url may be anything.
func TestCostOfOtherPrograms(t *testing.T) {
	for name, tc := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"a web page": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = io.WriteString(w, "<html>")
		}, "is not an envoy-scraper that knows costs: it answers 200 OK"},
		"Prometheus": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"status":"error"}`)
		}, "is not an envoy-scraper that knows costs: it answers 404"},
		"other JSON": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"status":"success","data":{"rows":[{"name":"x"}]}}`)
		}, "is not an envoy-scraper that knows costs: it answers 200 OK"},
		"no JSON": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `[`)
		}, "is not an envoy-scraper that knows costs: it answers 200 OK"},
		"a password": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) },
			"asks for a user name and a password"},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			for part := make([]byte, 1<<20); ; {
				if _, err := w.Write(part); err != nil {
					return
				}
			}
		}, "the answer is longer than 64.0 MiB; this is not an envoy-scraper"},
		"an error": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"status":"error","error":"there is no such table"}`)
		}, "refuses the question: there is no such table"},
		"elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/", http.StatusFound)
		}, "is not an envoy-scraper that knows costs: it answers 302"},
	} {
		server := httptest.NewServer(tc.answer)
		var stdout, stderr bytes.Buffer
		address := strings.Replace(server.URL, "://", "://me:canary@", 1)
		code := execute(t.Context(), []string{"cost", "--url=" + address}, &stdout, &stderr)
		if said := stderr.String(); code != exitRefused || !strings.Contains(said, tc.want) ||
			strings.Count(said, "\n") != 1 || strings.Contains(said, "canary") || stdout.Len() > 0 {
			t.Errorf("%s: exit code %d, %q, want one line with %q", name, code, said, tc.want)
		}
		server.Close()
	}
}

// TestCostAfterTheTimeout: what was scraped until then is reported, and nothing is refused.
func TestCostAfterTheTimeout(t *testing.T) {
	t.Parallel()
	serve := func(slow bool) string {
		s := serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
			if slow {
				<-r.Context().Done()
				return
			}
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
			_, _ = io.WriteString(w, costPage)
		})
		return strings.TrimPrefix(s.URL, "http://")
	}
	slow, fast := serve(true), serve(false)
	run := func(targets ...string) (code int, out, errs string) {
		file := writeFile(t, fmt.Sprintf("scrape_configs:\n- job_name: envoy\n  static_configs: [{targets: ['%s']}]\n",
			strings.Join(targets, "', '")))
		return runCommand(t, "cost", "--config.file="+file, "--timeout=2s")
	}
	code, out, errs := run(slow, fast)
	if code != exitOK || !strings.Contains(out, "9 series of 1 targets") ||
		!strings.Contains(out, "1 targets are in no figure") ||
		!strings.Contains(errs, "1 of 2 targets were scraped within the timeout") {
		t.Errorf("exit code %d, %q\n%s", code, errs, out)
	}
	if code, out, errs = run(slow); code != exitRefused || out != "" ||
		!strings.Contains(errs, "none of 1 targets was scraped within the timeout") {
		t.Errorf("exit code %d, %q\n%s", code, errs, out)
	}
}

// TestCostWithALimit: targets that the limit left out are told apart from those that could not be scraped.
func TestCostWithALimit(t *testing.T) {
	s := serveFunc(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = io.WriteString(w, costPage)
	})
	host := strings.TrimPrefix(s.URL, "http://")
	file := writeFile(t, fmt.Sprintf("scrape_configs:\n- job_name: envoy\n  static_configs:\n"+
		"  - targets: ['%s', '%s']\n", host, strings.Replace(host, "127.0.0.1", "localhost", 1)))
	code, out, errs := runCommand(t, "cost", "--config.file="+file, "--limit=1", "--drop-label=source_principal")
	if code != exitOK || errs != "1 of 2 targets were scraped (--limit).\n" ||
		!strings.Contains(out, "1 targets are in no figure: they were left out by --limit.") ||
		!strings.Contains(out, "Among the series of 1 targets that were counted (1 were not): ") {
		t.Errorf("exit code %d, %q\n%s", code, errs, out)
	}
}
