package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/internal/envoy"
)

const istioLines = "# TYPE istio_requests_total counter\nistio_requests_total{code=\"200\"} 1\n" +
	"istio_requests_total{code=\"503\"} 2\n"

const envoyLines = "# TYPE envoy_server_live gauge\nenvoy_server_live{} 1\n"

// keepIstio is a file with one job; ext is its block envoy_scraper, more are lines of the job.
func keepIstio(ext, more string) string {
	return "envoy_scraper: {" + ext + "}\nscrape_configs:\n- job_name: a\n  static_configs: [{targets: ['a:1']}]\n" +
		"  metrics_path: /stats/prometheus\n  metric_relabel_configs:\n" +
		"  - {source_labels: [__name__], action: keep, regex: 'istio_.*'}\n" + more
}

// TestScrapeTellsTheFilter: for a job with rules, scrape says which filter they make, and with --filtered what it saves
// and whether it loses a series.
func TestScrapeTellsTheFilter(t *testing.T) {
	answers := func(filtered string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			switch filter := r.URL.Query().Get("filter"); filter {
			case "":
				fmt.Fprint(w, istioLines+envoyLines)
			case "istio_":
				fmt.Fprint(w, filtered)
			default:
				t.Errorf("asked with filter=%s", filter)
			}
		}
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		path    string
		config  string
		flags   []string
		code    int
		want    []string // lines of stdout, or parts of stderr
	}{
		"not asked": {answers("never read"), envoy.StatsPath, keepIstio("", ""), nil, exitOK, []string{
			"Filter         istio_\n"}},
		"asked": {answers(istioLines), envoy.StatsPath, keepIstio("", ""), []string{"--filtered"}, exitOK, []string{
			"Filter         istio_\n",
			"Filtered page  106 B of 159 B, 2 of 3 lines: 33 % of the bytes and 33 % of the lines left out\n",
			"Missing        none of the series that the rules keep\n"}},
		"too little": {answers(istioLines + envoyLines), envoy.StatsPath, keepIstio("", ""), []string{"--filtered"},
			exitOK, []string{"Filtered page  159 B of 159 B, 3 of 3 lines: 0 % of the bytes and 0 % of the lines " +
				"left out, too little: the program reads whole pages\n"}},
		"with a parameter": {answers(istioLines), envoy.StatsPath + "?text_readouts", keepIstio("", ""),
			[]string{"--filtered"}, exitOK, []string{"Missing        none of the series that the rules keep\n"}},
		"switched off": {answers(istioLines), envoy.StatsPath, keepIstio("jobs: [{name: a, push_down: off}]", ""),
			[]string{"--filtered"}, exitOK, []string{
				"Filter         istio_ (not used: push_down is off for this job)\n",
				"Missing        none of the series that the rules keep\n"}},
		"a series is missing": {answers(strings.Replace(istioLines, `istio_requests_total{code="503"} 2`, "", 1)),
			envoy.StatsPath, keepIstio("", ""), []string{"--filtered"}, exitRefused, []string{
				`Missing        1 series that the rules keep: {__name__="istio_requests_total", code="503"}. Write ` +
					"push_down: off for this job, and report this\n"}},
		"refused": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Has("filter") {
				http.Error(w, "Invalid re2 regex", http.StatusBadRequest)
				return
			}
			answers("")(w, r)
		}, envoy.StatsPath, keepIstio("", ""), []string{"--filtered"}, exitRefused, []string{
			"Filtered page  fails with the filter: the target answers 400 Bad Request\n"}},
		"another path": {answers(""), "/metrics", keepIstio("", ""), nil, exitOK, []string{
			"Filter         none: the path is /metrics, and only /stats/prometheus is known to take a filter\n"}},
		"another path, asked": {answers(""), "/metrics", keepIstio("", ""), []string{"--filtered"}, exitRefused,
			[]string{"--filtered: there is no filter: the path is /metrics"}},
		"a written parameter": {answers(""), envoy.StatsPath, keepIstio("", "  params: {filter: [x]}\n"), nil, exitOK,
			[]string{"Filter         none: the parameter filter is written already\n"}},
		"no rules": {answers(""), envoy.StatsPath, "", []string{"--filtered"}, exitRefused, []string{
			"--filtered: there are no metric_relabel_configs to make a filter of: give --config.file and --job"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := serveFunc(t, c.handler)
			args := append([]string{"scrape", s.URL + c.path}, c.flags...)
			if c.config != "" {
				args = append(args, "--config.file="+writeFile(t, c.config))
			}
			code, out, errs := runCommand(t, args...)
			if code != c.code {
				t.Errorf("exit %d, want %d", code, c.code)
			}
			for _, want := range c.want {
				if !strings.Contains(out+errs, want) {
					t.Errorf("lacks %q:\n%s%s", want, out, errs)
				}
			}
		})
	}
}

// TestSeriesThatComeAndGoAreNotMissing: a series that appears or vanishes between two pages is not the filter's fault.
func TestSeriesThatComeAndGoAreNotMissing(t *testing.T) {
	var asked atomic.Int32
	s := serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprintf(w, "%sistio_requests_total{turn=\"%d\"} 1\n", istioLines, asked.Add(1))
	})
	code, out, errs := runCommand(t, "scrape", "--filtered", "--config.file="+writeFile(t, keepIstio("", "")),
		s.URL+envoy.StatsPath)
	if code != exitOK || asked.Load() != 3 || !strings.Contains(out, "Missing        none of") {
		t.Errorf("exit %d after %d requests:\n%s%s", code, asked.Load(), out, errs)
	}
}
