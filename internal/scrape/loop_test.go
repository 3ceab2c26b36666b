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

func TestSpecialLabelsMakeTheRequest(t *testing.T) {
	r := newRig()
	r.pages.set("a:15090", "x 1\n")
	r.apply(t, job(t, "  params: {usedonly: ['']}\n"+
		"  relabel_configs: [{target_label: __param_filter, replacement: istio}, {target_label: __metrics_path__, "+
		"replacement: /stats/prometheus}, {target_label: __scrape_timeout__, replacement: 3s}]\n"))
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
	const openMetrics = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0."
	if got := req.Header.Get("Accept"); !strings.HasPrefix(got, openMetrics) || !strings.HasSuffix(got, "*/*;q=0.3") {
		t.Errorf("Accept %q", got)
	}
}

// TestOverARealConnection tests what a fake transport cannot: the guard, gzip, statuses, redirects.
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
			cfg := job(t, "  body_size_limit: 1MB\n  metrics_path: "+path+"\n"+
				"  static_configs: [{targets: ['"+host+"']}]\n")
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
	first, second := job(t, "  scrape_failure_log_file: "+file+"\n  body_size_limit: 10B\n"),
		job(t, "  scrape_failure_log_file: "+file+"\n")
	second.JobName = "other"
	r.apply(t, first, second)
	scrape := func(page string, err error) {
		r.pages.set("a:1", page)
		r.pages.fail("a:1", err)
		r.Update(map[string][]*targetgroup.Group{"envoy": {{Targets: []model.LabelSet{at("a:1")}}},
			"other": {{Targets: []model.LabelSet{at("a:1")}}}})
		for _, name := range []string{"envoy", "other"} {
			for _, l := range r.jobs[name].loops {
				l.scrape(t.Context(), nil)
			}
		}
	}
	scrape("<html>\n", nil) // a bad page is not written, as in Prometheus
	scrape("", errNoPage)
	scrape("x 1234567890\n", nil) // too large for the first job
	got := lines(file)
	wanted := [][2]string{{"envoy", `Get "http://a:1/metrics": connection refused`},
		{"other", `Get "http://a:1/metrics": connection refused`}, {"envoy", "body size limit exceeded"}}
	for i, w := range wanted {
		if i >= len(got) || got[i]["job_name"] != w[0] || got[i]["msg"] != w[1] ||
			got[i]["target"] != "http://a:1/metrics" || got[i]["level"] != "ERROR" || got[i]["time"] == "" {
			t.Fatalf("got %v, want %v", got, wanted)
		}
	}
	if len(got) != len(wanted) {
		t.Errorf("got %v, want %v", got, wanted)
	}

	if err := os.Rename(file, file+".1"); err != nil {
		t.Fatal(err)
	}
	r.apply(t, first, second) // nothing changed, but the file is opened again
	scrape("", errNoPage)
	if got := lines(file); len(got) != 2 {
		t.Errorf("%d lines in the file after it was moved away, want 2", len(got))
	}
	if err := r.Apply([]*promconfig.ScrapeConfig{job(t, "  scrape_failure_log_file: /nonexistent/x\n")}); err == nil {
		t.Error("a file that cannot be opened was taken")
	}
}
