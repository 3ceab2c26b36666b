package scrape

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
)

// scrapeOnce reads a page under a job's rules, as the only scrape of a target a:1.
func scrapeOnce(t *testing.T, yaml, text string) (*rig, map[string]string) {
	t.Helper()
	r := newRig()
	r.pages.set("a:1", text)
	r.apply(t, job(t, yaml))
	r.discover(at("a:1"))
	for _, l := range r.jobs["envoy"].loops {
		l.scrape(t.Context(), nil)
	}
	return r, r.values(t, -1)
}

func TestWhatBecomesOfAPage(t *testing.T) {
	const up = `{__name__="up", instance="a:1", job="envoy"}`
	for name, c := range map[string]struct {
		job, page string
		want      []string
	}{
		"the target's label wins":    {"", "x{job=\"mine\",exported_job=\"other\"} 1\n", []string{`{__name__="x", exported_exported_job="mine", exported_job="other", instance="a:1", job="envoy"}`, "1", up, "1"}},
		"honor_labels":               {"  honor_labels: true\n", "x{job=\"mine\"} 1\n", []string{`{__name__="x", instance="a:1", job="mine"}`, "1", up, "1"}},
		"empty labels vanish":        {"", "x{a=\"\"} 1\n", []string{named("x"), "1", up, "1"}},
		"le is a float":              {"", "# TYPE h histogram\nh_bucket{le=\"1\"} 1\n", []string{`{__name__="h_bucket", instance="a:1", job="envoy", le="1.0"}`, "1", up, "1"}},
		"label named twice":          {"", "x{a=\"1\",a=\"2\"} 1\n", []string{up, "0"}},
		"rules take the name":        {"  metric_relabel_configs: [{regex: __name__, action: labeldrop}]\n", "x 1\n", []string{up, "0"}},
		"dropped by rules":           {"  metric_relabel_configs: [{source_labels: [__name__], regex: x, action: drop}]\n", "x 1\ny 2\n", []string{named("y"), "2", up, "1"}},
		"sample_limit after rules":   {"  sample_limit: 1\n  metric_relabel_configs: [{source_labels: [__name__], regex: x, action: drop}]\n", "x 1\ny 2\n", []string{named("y"), "2", up, "1"}},
		"sample_limit":               {"  sample_limit: 1\n", "x 1\ny 2\n", []string{up, "0"}},
		"label_limit":                {"  label_limit: 3\n", "x{a=\"1\"} 1\n", []string{up, "0"}},
		"label_limit spares dropped": {"  label_limit: 3\n  metric_relabel_configs: [{source_labels: [__name__], regex: x, action: drop}]\n", "x{a=\"1\"} 1\ny 1\n", []string{named("y"), "1", up, "1"}},
		"label_value_length_limit":   {"  label_value_length_limit: 5\n", "x{a=\"123456\"} 1\n", []string{up, "0"}},
		"body_size_limit reached":    {"  body_size_limit: 4B\n", "x 1\n", []string{up, "0"}},
		"body_size_limit":            {"  body_size_limit: 5B\n", "x 1\n", []string{named("x"), "1", up, "1"}},
		"too far ahead":              {"", "x 1 99999999999999\ny 1\n", []string{named("y"), "1", up, "1"}},
		"the first wins":             {"", "x 1\nx 2\n", []string{named("x"), "1", up, "1"}},
		"HTML":                       {"", "<!DOCTYPE html>\n", []string{up, "0"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, got := scrapeOnce(t, c.job, c.page)
			want(t, got, c.want...)
		})
	}
}

func TestReportSeries(t *testing.T) {
	r, _ := scrapeOnce(t, "  extra_scrape_metrics: true\n  sample_limit: 100\n  metric_relabel_configs: [{source_labels: [__name__], regex: x, action: drop}]\n", "x 1\ny 2\nz 3\n")
	for name, wanted := range map[string]string{
		"scrape_samples_scraped": "3", "scrape_samples_post_metric_relabeling": "2", "scrape_series_added": "2",
		"scrape_timeout_seconds": "5", "scrape_sample_limit": "100", "scrape_body_size_bytes": "12",
	} {
		if got := r.sink.got[0].samples[named(name)]; got != wanted {
			t.Errorf("%s = %s, want %s", name, got, wanted)
		}
	}
	r, _ = scrapeOnce(t, "  extra_scrape_metrics: true\n  body_size_limit: 4B\n", "x 1\ny 2\n")
	if got := r.sink.got[0].samples[named("scrape_body_size_bytes")]; got != "-1" {
		t.Errorf("scrape_body_size_bytes = %s for a page over the limit, want -1", got)
	}
}

func TestSpecialLabelsMakeTheRequest(t *testing.T) {
	r := newRig()
	r.pages.set("a:15090", "x 1\n")
	r.apply(t, job(t, "  params: {usedonly: ['']}\n  relabel_configs: [{target_label: __param_filter, replacement: istio}, {target_label: __metrics_path__, replacement: /stats/prometheus}, {target_label: __scrape_timeout__, replacement: 3s}]\n"))
	r.discover(at("a:15090"))
	for _, l := range r.jobs["envoy"].loops {
		l.scrape(t.Context(), nil)
	}
	req := r.pages.asked[0]
	if got := req.URL.String(); got != "http://a:15090/stats/prometheus?filter=istio&usedonly=" {
		t.Errorf("asked for %s", got)
	}
	if got := req.Header.Get("X-Prometheus-Scrape-Timeout-Seconds"); got != "3" {
		t.Errorf("timeout header %q", got)
	}
	if got := req.Header.Get("Accept"); !strings.HasPrefix(got, "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.") || !strings.HasSuffix(got, "*/*;q=0.3") {
		t.Errorf("Accept %q", got)
	}
}

func TestInvalidTargetsAreTold(t *testing.T) {
	r := newRig()
	r.apply(t, job(t, ""))
	r.discover(model.LabelSet{"a": "b"}, model.LabelSet{model.AddressLabel: "x:1", model.ScrapeTimeoutLabel: "1h"}, at("a:1"))
	s := r.Status()[0]
	if len(s.Errors) != 2 || len(s.Targets) != 1 {
		t.Fatalf("%d targets, errors %q", len(s.Targets), s.Errors)
	}
	if !strings.Contains(s.Errors[0], "no address") || !strings.Contains(s.Errors[1], "greater than scrape interval") {
		t.Errorf("errors %q", s.Errors)
	}
}

// TestOverARealConnection is what a fake transport cannot show: the guard, gzip, statuses, redirects.
func TestOverARealConnection(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/gzip", func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
		if !strings.Contains(req.Header.Get("Accept-Encoding"), "gzip") {
			http.Error(w, "want gzip", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = z.Write([]byte("x 1\n"))
		_ = z.Close()
	})
	mux.HandleFunc("/broken", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write([]byte("no gzip at all, but long enough to look like something"))
	})
	mux.Handle("/metadata", http.RedirectHandler("http://169.254.169.254/latest", http.StatusFound))
	mux.HandleFunc("/endless", func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		for req.Context().Err() == nil {
			if _, err := w.Write([]byte(strings.Repeat("x 1\n", 4096))); err != nil {
				return
			}
		}
	})
	srv := httptest.NewServer(mux)
	defer srv.Close()
	host := strings.TrimPrefix(srv.URL, "http://")

	for path, wantErr := range map[string]string{
		"/gzip": "", "/broken": "gzip", "/missing": "404", "/metadata": "never scraped", "/endless": "body size limit",
	} {
		t.Run(path, func(t *testing.T) {
			r := newRig()
			r.opts.transport = nil
			cfg := job(t, "  body_size_limit: 1MB\n  metrics_path: "+path+"\n  static_configs: [{targets: ['"+host+"']}]\n")
			if err := r.Apply([]*promconfig.ScrapeConfig{cfg}); err != nil {
				t.Fatal(err)
			}
			r.discover(at(host))
			for _, l := range r.jobs["envoy"].loops {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				l.scrape(ctx, nil)
				cancel()
			}
			s := r.Status()[0].Targets[0]
			if (wantErr == "") != (s.Err == "") || !strings.Contains(s.Err, wantErr) {
				t.Errorf("error %q, want one with %q", s.Err, wantErr)
			}
		})
	}
	t.Run("discovered loopback", func(t *testing.T) {
		r := newRig()
		r.opts.transport = nil
		if err := r.Apply([]*promconfig.ScrapeConfig{job(t, "  metrics_path: /gzip\n")}); err != nil {
			t.Fatal(err)
		}
		r.discover(at(host))
		for _, l := range r.jobs["envoy"].loops {
			l.scrape(t.Context(), nil)
		}
		if s := r.Status()[0].Targets[0]; !strings.Contains(s.Err, "--scrape.allow-loopback") {
			t.Errorf("error %q", s.Err)
		}
	})
}

func TestFailuresAreWrittenToTheFileThatAsksForThem(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "failures.log")
	lines := func(file string) (parsed []map[string]string) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			m := map[string]string{}
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			parsed = append(parsed, m)
		}
		return parsed
	}
	r := newRig()
	first, second := job(t, "  scrape_failure_log_file: "+file+"\n  body_size_limit: 10B\n"), job(t, "  scrape_failure_log_file: "+file+"\n")
	second.JobName = "other"
	r.apply(t, first, second)
	scrape := func(page string, err error) {
		r.pages.set("a:1", page)
		r.pages.fail("a:1", err)
		r.Update(map[string][]*targetgroup.Group{"envoy": {{Targets: []model.LabelSet{at("a:1")}}}, "other": {{Targets: []model.LabelSet{at("a:1")}}}})
		for _, name := range []string{"envoy", "other"} {
			for _, l := range r.jobs[name].loops {
				l.scrape(t.Context(), nil)
			}
		}
	}
	scrape("<html>\n", nil) // a page, if one that means nothing: not written, as in Prometheus
	scrape("", errNoPage)
	scrape("x 1234567890\n", nil) // too large for the first job
	got := lines(file)
	wanted := [][2]string{{"envoy", `Get "http://a:1/metrics": connection refused`}, {"other", `Get "http://a:1/metrics": connection refused`}, {"envoy", "body size limit exceeded"}}
	for i, w := range wanted {
		if i >= len(got) || got[i]["job_name"] != w[0] || got[i]["msg"] != w[1] || got[i]["target"] != "http://a:1/metrics" || got[i]["level"] != "ERROR" || got[i]["time"] == "" {
			t.Fatalf("got %v, want %v", got, wanted)
		}
	}
	if len(got) != len(wanted) {
		t.Errorf("got %v, want %v", got, wanted)
	}

	if err := os.Rename(file, file+".1"); err != nil {
		t.Fatal(err)
	}
	r.apply(t, first, second) // nothing changed, but the file is opened anew
	scrape("", errNoPage)
	if got := lines(file); len(got) != 2 {
		t.Errorf("%d lines in the file after it was moved away, want 2", len(got))
	}
	if err := r.Apply([]*promconfig.ScrapeConfig{job(t, "  scrape_failure_log_file: /nonexistent/x\n")}); err == nil {
		t.Error("a file that cannot be opened was taken")
	}
}
