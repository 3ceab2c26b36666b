package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/internal/envoy"
)

// sidecarPage is a small page of an Istio sidecar, with a duplicate series and a repeated TYPE, as on real pages.
const sidecarPage = `# TYPE istio_requests_total counter
istio_requests_total{reporter="destination",response_code="200"} 12
istio_requests_total{reporter="destination",response_code="503"} 1
# TYPE envoy_cluster_upstream_cx_total counter
envoy_cluster_upstream_cx_total{cluster_name="xds-grpc"} 3
envoy_cluster_upstream_cx_total{cluster_name="xds-grpc"} 4
# TYPE envoy_server_live gauge
envoy_server_live{} 1
# TYPE istio_requests_total counter

# TYPE istio_request_bytes histogram
istio_request_bytes_bucket{le="1"} 1
istio_request_bytes_bucket{le="+Inf"} 2
istio_request_bytes_sum{} 7
istio_request_bytes_count{} 2
`

// serve serves a page.
func serve(t *testing.T, contentType, body string) *httptest.Server {
	t.Helper()
	return serveFunc(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		fmt.Fprint(w, body)
	})
}

func serveFunc(t *testing.T, f http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s
}

// runCommand runs the program as a user would.
func runCommand(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = execute(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "config.yml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestScrapeReadsASidecar(t *testing.T) {
	var asked *http.Request
	s := serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r
		w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
		w.Header().Set("Content-Encoding", "gzip")
		zw := gzip.NewWriter(w)
		fmt.Fprint(zw, sidecarPage)
		_ = zw.Close()
	})
	code, out, errs := runCommand(t, "scrape", strings.TrimPrefix(s.URL, "http://"))
	if code != exitOK || errs != "" {
		t.Fatalf("exit %d: %s", code, errs)
	}
	if asked.URL.Path != envoy.StatsPath || asked.Header.Get("Accept-Encoding") != "zstd, gzip;q=0.5" ||
		!strings.Contains(asked.Header.Get("Accept"), "text/plain") ||
		asked.Header.Get("X-Prometheus-Scrape-Timeout-Seconds") != "10" {
		t.Errorf("asked for %s with %v", asked.URL, asked.Header)
	}
	for _, want := range []string{
		"Families       4\n", "Series         9\n", "Duplicates     1: the first of each counts\n", " as gzip\n",
		"Istio metrics  yes: istio_requests_total (2 series), istio_request_bytes (4 series)\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("output lacks %q:\n%s", want, out)
		}
	}
}

func TestScrapeAppliesTheJobsRules(t *testing.T) {
	s := serve(t, "text/plain", sidecarPage)
	file := writeFile(t, `
- job_name: envoy-stats
  basic_auth: {username: u, password: p}
  metric_relabel_configs:
    - {source_labels: [__name__], action: keep, regex: 'istio_.*'}
    - {source_labels: [response_code], action: drop, regex: '503'}
  static_configs: [{targets: ['127.0.0.1:1']}]
`)
	code, out, errs := runCommand(t, "scrape", "--config.file="+file, "--output=json", s.URL)
	if code != exitOK {
		t.Fatalf("exit %d: %s", code, errs)
	}
	var rep pageReport
	if err := json.Unmarshal([]byte(out), &rep); err != nil {
		t.Fatal(err)
	}
	if rep.Series != 9 || rep.Kept != 5 || rep.Rules != 2 || rep.Duplicates != 1 || !rep.Istio.Shown ||
		rep.Bytes != len(sidecarPage) {
		t.Errorf("report = %+v", rep)
	}
	if f := rep.Families[0]; f.Name != "istio_request_bytes" || f.Type != "histogram" || f.Series != 4 || f.Kept != 4 ||
		f.Bytes != 209 {
		t.Errorf("first family = %+v", f)
	}
	sum := 0
	for _, f := range rep.Families {
		sum += f.Bytes
	}
	if sum != rep.Bytes {
		t.Errorf("families have %d bytes, the page %d", sum, rep.Bytes)
	}
}

func TestScrapeSaysWhatIsWrong(t *testing.T) {
	target := serve(t, "text/plain", sidecarPage)
	endless := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, "a 1\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	flood := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		for line := []byte(strings.Repeat("# nothing\n", 1000)); r.Context().Err() == nil; {
			if _, err := w.Write(line); err != nil {
				return
			}
		}
	}
	limited := writeFile(t, "- {job_name: j, body_size_limit: 1KB, static_configs: [{targets: ['a:1']}]}")
	stay := writeFile(t, "- {job_name: j, follow_redirects: false, static_configs: [{targets: ['a:1']}]}")
	redirect := http.RedirectHandler(target.URL+"/elsewhere", http.StatusFound).ServeHTTP
	for name, c := range map[string]struct {
		page http.HandlerFunc
		args []string
		want string
	}{
		"404": {http.NotFound, nil, "404 Not Found: there is no such page"},
		"500": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, nil, "answers 500"},
		"401": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, nil,
			"it wants credentials"},
		"endless":      {endless, []string{"--timeout=300ms"}, "did not end within 300ms (4 B read)"},
		"too large":    {flood, []string{"--config.file=" + limited}, "larger than the body_size_limit, 1.0 KiB"},
		"no redirects": {redirect, []string{"--config.file=" + stay}, "which the job does not follow"},
		"circle": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/again", http.StatusFound)
		}, nil, "stopped after 10 redirects"},
		"html":         {content("text/html; charset=utf-8", "<html></html>"), nil, "web page"},
		"html as text": {content("text/plain", "<html></html>"), nil, "not in a format of Prometheus"},
		"garbage":      {content("text/plain", "\x01\x02{{{"), nil, "not in a format of Prometheus"},
		"binary":       {content("text/plain", "\x00\x01\x02{{{"), nil, "no series and a NUL byte"},
		"json":         {content("application/json", "{}"), nil, `unsupported Content-Type "application/json"`},
		"no type": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			fmt.Fprint(w, "a 1\n")
		}, nil, "blank Content-Type"},
		"not gzip": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			fmt.Fprint(w, "a 1\n")
		}, nil, "it is gzip, but"},
		"cut in middle": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "99")
			fmt.Fprint(w, "a 1\n")
		}, nil, "ended before the page did"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serveFunc(t, c.page)
			code, out, errs := runCommand(t, append([]string{"scrape", s.URL + "/page"}, c.args...)...)
			if code != exitRefused || out != "" || !strings.Contains(errs, c.want) ||
				!strings.HasPrefix(errs, "envoy-scraper scrape: "+s.URL+"/page: ") {
				t.Errorf("exit %d, %q, want exit 1, %q", code, errs, c.want)
			}
		})
	}
}

func content(contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		fmt.Fprint(w, body)
	}
}

// TestScrapePrintsNoCommandsForATerminal: names on a page and the status of an answer may hold any character.
func TestScrapePrintsNoCommandsForATerminal(t *testing.T) {
	s := serve(t, "text/plain; version=0.0.4", "{\"evil\x1b[2J\"} 1\n")
	code, out, errs := runCommand(t, "scrape", s.URL)
	if code != exitOK || strings.Contains(out, "\x1b") || !strings.Contains(out, `evil\x1b[2J`) {
		t.Errorf("exit %d: %q, %s", code, out, errs)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 4096))
			fmt.Fprint(c, "HTTP/1.1 500 \x1b[2J\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			_ = c.Close()
		}
	}()
	code, out, errs = runCommand(t, "scrape", l.Addr().String())
	if code != exitRefused || strings.Contains(errs, "\x1b") || !strings.Contains(errs, "answers 500") {
		t.Errorf("exit %d: %s, %q", code, out, errs)
	}
}

func TestScrapePrintsWhereARedirectLed(t *testing.T) {
	target := serve(t, "text/plain", sidecarPage)
	s := serveFunc(t, http.RedirectHandler(target.URL+"/elsewhere", http.StatusMovedPermanently).ServeHTTP)
	code, out, errs := runCommand(t, "scrape", s.URL)
	if want := "Redirected to  " + target.URL + "/elsewhere\n"; code != exitOK || !strings.Contains(out, want) {
		t.Errorf("exit %d: %s%s, want %s", code, out, errs, want)
	}
}

func TestIstioWords(t *testing.T) {
	for name, c := range map[string]struct{ page, want string }{
		"http": {sidecarPage, "yes: istio_requests_total"},
		"tcp": {"# TYPE istio_tcp_sent_bytes_total counter\nistio_tcp_sent_bytes_total 1\n",
			"yes, but no HTTP requests"},
		"idle":    {"istio_build 1\n", "not yet"},
		"envoy":   {"envoy_server_live 1\n", "no: this is an Envoy"},
		"other":   {"go_goroutines 1\n", "no, and it does not look like the page of an Envoy"},
		"nothing": {"", "no, and"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, "text/plain", c.page)
			code, out, errs := runCommand(t, "scrape", s.URL)
			if code != exitOK || !strings.Contains(out, "Istio metrics  "+c.want) {
				t.Errorf("exit %d: %s%s, want %s", code, out, errs, c.want)
			}
		})
	}
}

func TestPageURL(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.1:15090":         "http://10.0.0.1:15090/stats/prometheus",
		"[::1]:15090":            "http://[::1]:15090/stats/prometheus",
		"host":                   "http://host/stats/prometheus",
		"host:1/metrics?a=b":     "http://host:1/metrics?a=b",
		"https://host:1":         "https://host:1/stats/prometheus",
		"http://host:1/":         "http://host:1/",
		"ftp://host":             "",
		"http://":                "",
		"http://u:secret@host:x": "",
	} {
		u, err := pageURL(in)
		switch {
		case want == "" && err == nil:
			t.Errorf("%s was taken as %s", in, u)
		case want == "" && strings.Contains(err.Error(), "secret"):
			t.Errorf("%s: the error shows the password: %v", in, err)
		case want != "" && (err != nil || u.String() != want):
			t.Errorf("%s = %v, %v, want %s", in, u, err, want)
		}
	}
}

func TestScrapeShowsThePageThatALimitForbids(t *testing.T) {
	s := serve(t, "text/plain", sidecarPage)
	file := writeFile(t, "- {job_name: j, sample_limit: 3, static_configs: [{targets: ['a:1']}]}")
	code, out, errs := runCommand(t, "scrape", "--config.file="+file, s.URL)
	if code != exitRefused || errs != "" ||
		!strings.Contains(out, "Scrape fails   sample limit exceeded\n") ||
		!strings.Contains(out, "Series         9\n") {
		t.Errorf("exit %d: %s%s, want exit 1, the reason and the page", code, out, errs)
	}
}

func TestScrapeCountsFamiliesOfEveryFormat(t *testing.T) {
	for contentType, c := range map[string]struct{ page, family string }{
		"application/openmetrics-text; version=1.0.0": {
			"# TYPE a counter\na_total{x=\"1\"} 1\na_total{x=\"2\"} 2\n# TYPE b gauge\nb 1\n# EOF\n",
			"a       counter  2       51\n",
		},
		"text/plain; version=0.0.4": {
			"# TYPE a_count summary\na_count_sum 1\na_count_count 1\nb 1\n", "a_count  summary  2       53\n",
		},
		"text/plain; version=1.0.0; escaping=allow-utf-8": {
			"# TYPE \"a.b\" gauge\n{\"a.b\",x=\"1\"} 1\n{\"a.b\",x=\"2\"} 2\nc 1\n", "a.b     gauge    2       51\n",
		},
	} {
		t.Run(contentType, func(t *testing.T) {
			s := serve(t, contentType, c.page)
			code, out, errs := runCommand(t, "scrape", s.URL)
			if code != exitOK || !strings.Contains(out, c.family) || !strings.Contains(out, "Series         3\n") {
				t.Errorf("exit %d: %s%s, want %s", code, out, errs, c.family)
			}
		})
	}
}
