package scrape

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	promconfig "github.com/prometheus/prometheus/config"
)

// served is a job with one target on a real server. Tests run it with both clients: the plain one, and net/http's,
// which jobs with credentials use.
type served struct {
	*rig
	host string
	url  string
}

// serve starts a server and a job that scrapes it. yaml adds settings to the job.
func serve(t *testing.T, srv *httptest.Server, yaml string) *served {
	t.Helper()
	host := srv.Listener.Addr().String()
	if srv.TLS != nil {
		yaml += "  scheme: https\n"
	}
	s := &served{rig: newRig(), host: host, url: srv.URL}
	s.opts.transport = nil
	if err := s.Apply([]*promconfig.ScrapeConfig{job(t,
		yaml+"  static_configs: [{targets: ['"+host+"']}]\n")}); err != nil {
		t.Fatal(err)
	}
	s.discover(at(host))
	return s
}

// scrape scrapes the target once and returns the error, if any.
func (s *served) scrape(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, l := range s.jobs["envoy"].loops {
		l.scrape(ctx, nil)
	}
	return s.Status()[0].Targets[0].Err
}

// shown returns the samples of the last scrape without report series.
func (s *served) shown(t *testing.T) (names []string) {
	t.Helper()
	for series := range s.values(t, -1) {
		if !strings.Contains(series, `"up"`) {
			name, _, _ := strings.Cut(strings.TrimPrefix(series, `{__name__="`), `"`)
			names = append(names, name)
		}
	}
	return names
}

// bothClients returns jobs that differ only in the client that they use.
func bothClients() map[string]string {
	return map[string]string{"plain": "", "net/http": "  basic_auth: {username: u, password: p}\n"}
}

func newServer(t *testing.T, h http.HandlerFunc) *httptest.Server {
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv
}

func answer200(contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = []string{contentType}
		if contentType == "" {
			w.Header()["Content-Type"] = nil
		}
		_, _ = w.Write([]byte(body))
	}
}

const textType = "text/plain; charset=UTF-8"

func TestRow39AcceptHeader(t *testing.T) {
	const (
		openMetrics1 = "application/openmetrics-text;version=1.0.0"
		openMetrics0 = "application/openmetrics-text;version=0.0.1"
		text1        = "text/plain;version=1.0.0"
		text0        = "text/plain;version=0.0.4"
		protobuf     = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
	)
	text := func(escaping string) string {
		return openMetrics1 + ";escaping=" + escaping + ";q=0.7," + openMetrics0 + ";q=0.6," +
			text1 + ";escaping=" + escaping + ";q=0.5," + text0 + ";q=0.4,*/*;q=0.3"
	}
	protobufFirst := protobuf + ";q=0.7," + openMetrics1 + ";escaping=allow-utf-8;q=0.6," + openMetrics0 + ";q=0.5," +
		text1 + ";escaping=allow-utf-8;q=0.4," + text0 + ";q=0.3,*/*;q=0.2"
	for name, c := range map[string]struct{ global, job, want string }{
		"default":           {"", "", text("allow-utf-8")},
		"native histograms": {"", "  scrape_native_histograms: true\n", protobufFirst},
		"native, of all":    {"  scrape_native_histograms: true\n", "", protobufFirst},
		"a list": {"", "  scrape_protocols: [PrometheusText0.0.4, PrometheusProto]\n",
			text0 + ";q=0.7," + protobuf + ";q=0.6,*/*;q=0.5"},
		"a list, of all": {"  scrape_protocols: [PrometheusText1.0.0]\n", "  scrape_native_histograms: true\n",
			text1 + ";escaping=allow-utf-8;q=0.7,*/*;q=0.6"},
		"OpenMetrics 2.0": {"", "  scrape_protocols: [OpenMetricsText2.0.0]\n",
			"application/openmetrics-text;version=2.0.0;escaping=allow-utf-8;q=0.7,*/*;q=0.6"},
		"legacy names":      {"", "  metric_name_validation_scheme: legacy\n", text("underscores")},
		"legacy names, all": {"  metric_name_validation_scheme: legacy\n", "", text("underscores")},
		"legacy, but not we": {"  metric_name_validation_scheme: legacy\n", "  metric_name_validation_scheme: utf8\n",
			text("allow-utf-8")},
		"dots":         {"", "  metric_name_escaping_scheme: dots\n", text("dots")},
		"dots, of all": {"  metric_name_escaping_scheme: dots\n", "", text("dots")},
		"values":       {"", "  metric_name_escaping_scheme: values\n", text("values")},
		"underscores":  {"", "  metric_name_escaping_scheme: underscores\n", text("underscores")},
		"allow-utf-8": {"  metric_name_escaping_scheme: dots\n", "  metric_name_escaping_scheme: allow-utf-8\n",
			text("allow-utf-8")},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := promconfig.Load("global:\n  scrape_interval: 10s\n"+c.global+"scrape_configs:\n"+
				"- job_name: envoy\n"+c.job, nil)
			if err != nil {
				t.Fatal(err)
			}
			jobs, err := cfg.GetScrapeConfigs()
			if err != nil {
				t.Fatal(err)
			}
			f, err := newFetcher(jobs[0], Options{}, false)
			if err != nil {
				t.Fatal(err)
			}
			if f.accept != c.want {
				t.Errorf("Accept\n%s, want\n%s", f.accept, c.want)
			}
		})
	}
}

// TestRow34NameSchemes: the scheme decides which names are valid, whether the job or global sets it.
func TestRow34NameSchemes(t *testing.T) {
	const page = "{\"with.dots\"} 1\n"
	for name, c := range map[string]struct {
		yaml, page string
		up         string
	}{
		"utf8":          {"", page, "1"},
		"legacy":        {"  metric_name_validation_scheme: legacy\n", page, "0"},
		"legacy, good":  {"  metric_name_validation_scheme: legacy\n", "without_dots 1\n", "1"},
		"legacy, label": {"  metric_name_validation_scheme: legacy\n", "x{\"a.b\"=\"1\"} 1\n", "0"},
		"legacy, rule fixes": {"  metric_name_validation_scheme: legacy\n" +
			"  metric_relabel_configs: [{target_label: __name__, replacement: x}]\n", page, "1"},
		"escaping asks only": {"  metric_name_escaping_scheme: underscores\n", page, "1"},
		"a rule breaks a name": {"  metric_name_validation_scheme: legacy\n" +
			"  metric_relabel_configs: [{target_label: __name__, replacement: a.b}]\n", "x 1\n", "0"},
	} {
		t.Run(name, func(t *testing.T) {
			_, got := scrapeOnce(t, c.yaml, c.page)
			if up := got[named("up")]; up != c.up {
				t.Errorf("up %s, want %s: %v", up, c.up, got)
			}
		})
	}
}

func TestRow40RequestHeaders(t *testing.T) {
	for client, yaml := range bothClients() {
		for compression, encoding := range map[string]string{"": "gzip", "  enable_compression: false\n": "identity"} {
			t.Run(client+" "+encoding, func(t *testing.T) {
				var got *http.Request
				srv := newServer(t, func(w http.ResponseWriter, req *http.Request) {
					got = req
					answer200(textType, "x 1\n")(w, req)
				})
				s := serve(t, srv, "  scrape_timeout: 2500ms\n  params: {usedonly: ['']}\n"+yaml+compression)
				if err := s.scrape(t); err != "" {
					t.Fatal(err)
				}
				for name, want := range map[string]string{
					"Accept-Encoding":                     encoding,
					"X-Prometheus-Scrape-Timeout-Seconds": "2.5",
				} {
					if v := got.Header.Values(name); len(v) != 1 || v[0] != want {
						t.Errorf("%s: %q, want %q", name, v, want)
					}
				}
				if v := got.UserAgent(); !strings.HasPrefix(v, "envoy-scraper/") {
					t.Errorf("User-Agent %q", v)
				}
				if got.Method != http.MethodGet || got.URL.String() != "/metrics?usedonly=" || got.Host != s.host ||
					got.ContentLength != 0 {
					t.Errorf("%s %s of %s, %d bytes", got.Method, got.URL, got.Host, got.ContentLength)
				}
			})
		}
	}
}

func TestRow41ContentType(t *testing.T) {
	for name, c := range map[string]struct {
		contentType, body, yaml string
		wantErr                 string // empty: the scrape is good
	}{
		"Envoy's":              {textType, "x 1\n", "", ""},
		"none":                 {"", "x 1\n", "", "blank Content-Type and no fallback_scrape_protocol"},
		"none, but a fallback": {"", "x 1\n", "  fallback_scrape_protocol: PrometheusText0.0.4\n", ""},
		"none, nothing":        {"", "", "", ""},
		"HTML":                 {"text/html", "x 1\n", "", `unsupported Content-Type "text/html"`},
		"HTML, but a fallback": {"text/html", "x 1\n", "  fallback_scrape_protocol: PrometheusText1.0.0\n",
			""},
		"HTML, nothing": {"text/html", "", "", ""},
		"nonsense":      {"text/plain; =", "x 1\n", "", "cannot parse Content-Type"},
		"nonsense, but a fallback": {"text/plain; =", "x 1\n", "  fallback_scrape_protocol: PrometheusText0.0.4\n",
			""},
		"a fallback of another format":  {"", "x 1\n", "  fallback_scrape_protocol: OpenMetricsText1.0.0\n", "EOF"},
		"a good type wants no fallback": {textType, "x 1\n", "  fallback_scrape_protocol: OpenMetricsText1.0.0\n", ""},
		"text of any version":           {"text/plain; version=9.9", "x 1\n", "", ""},
		"OpenMetrics without a version": {"application/openmetrics-text", "x 1\n# EOF\n", "", ""},
		"OpenMetrics 2.0": {"application/openmetrics-text; version=2.0.0", "x 1\n# EOF\n", "",
			"openmetrics2 feature flag is not enabled"},
		"OpenMetrics 2.0, a fallback": {"application/openmetrics-text; version=2.0.0", "x 1\n# EOF\n",
			"  fallback_scrape_protocol: OpenMetricsText1.0.0\n", ""},
		"protobuf that is text": {"application/vnd.google.protobuf", "x 1\n", "", "insufficient length"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, newServer(t, answer200(c.contentType, c.body)), c.yaml)
			for range 2 { // the second knows what the type means
				if err := s.scrape(t); (err == "") != (c.wantErr == "") || !strings.Contains(err, c.wantErr) {
					t.Errorf("error %q, want one with %q", err, c.wantErr)
				}
			}
			if got := s.shown(t); (len(got) > 0) != (c.wantErr == "" && c.body != "") {
				t.Errorf("samples %v", got)
			}
		})
	}
}

func zipped(text string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(text))
	_ = z.Close()
	return b.Bytes()
}

func TestRow42Compression(t *testing.T) {
	whole := zipped("x 1\ny 2\n")
	flipped := bytes.Clone(whole)
	flipped[len(flipped)-5] ^= 1 // the checksum
	for name, c := range map[string]struct {
		encoding string
		body     []byte
		wantErr  string
	}{
		"gzip":              {"gzip", whole, ""},
		"members":           {"gzip", append(zipped("x 1\n"), zipped("y 2\n")...), ""},
		"not compressed":    {"", []byte("x 1\ny 2\n"), ""},
		"no gzip at all":    {"gzip", []byte("x 1\ny 2\nand so on, as long as a header"), "gzip: invalid header"},
		"cut off":           {"gzip", whole[:len(whole)-9], "unexpected EOF"},
		"cut in its header": {"gzip", whole[:7], "EOF"},
		"wrong checksum":    {"gzip", flipped, "gzip: invalid checksum"},
		"garbage behind":    {"gzip", append(bytes.Clone(whole), "garbage behind"...), "gzip: invalid header"},
		"nothing":           {"gzip", nil, "EOF"},
		"zstd, not asked":   {"zstd", []byte("\x28\xb5\x2f\xfd\x04\x00\x21\x00\x00x 1\n"), "zstd"},
		"zstd of nothing":   {"zstd", nil, "zstd"},
		"unknown, but text": {"x-other", []byte("x 1\ny 2\n"), ""},
	} {
		for client, yaml := range bothClients() {
			t.Run(name+" "+client, func(t *testing.T) {
				s := serve(t, newServer(t, func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", textType)
					if c.encoding != "" {
						w.Header().Set("Content-Encoding", c.encoding)
					}
					_, _ = w.Write(c.body)
				}), yaml)
				for range 2 {
					if err := s.scrape(t); (err == "") != (c.wantErr == "") || !strings.Contains(err, c.wantErr) {
						t.Errorf("error %q, want one with %q", err, c.wantErr)
					}
				}
				if got := s.shown(t); len(got) != 2 && c.wantErr == "" || len(got) != 0 && c.wantErr != "" {
					t.Errorf("samples %v", got)
				}
			})
		}
	}
}

func TestRow43OnlyStatus200IsGood(t *testing.T) {
	for _, status := range []int{201, 202, 203, 204, 206, 300, 304, 400, 401, 403, 404, 429, 500, 502, 503} {
		for client, yaml := range bothClients() {
			t.Run(fmt.Sprint(status, " ", client), func(t *testing.T) {
				s := serve(t, newServer(t, func(w http.ResponseWriter, req *http.Request) {
					w.Header().Set("Content-Type", textType)
					w.WriteHeader(status)
					_, _ = w.Write([]byte("x 1\n"))
				}), yaml)
				want := fmt.Sprintf("server returned HTTP status %d %s", status, http.StatusText(status))
				if err := s.scrape(t); err != want {
					t.Errorf("error %q, want %q", err, want)
				}
				if got := s.shown(t); len(got) != 0 ||
					s.values(t, -1)[strings.ReplaceAll(named("up"), "a:1", s.host)] != "0" {
					t.Errorf("samples %v, want up 0: %v", got, s.values(t, -1))
				}
			})
		}
	}
}

func TestRow44Redirects(t *testing.T) {
	mux := http.NewServeMux()
	for _, status := range []int{301, 302, 303, 307, 308} {
		mux.Handle(fmt.Sprintf("/%d", status), http.RedirectHandler("/page", status))
	}
	mux.HandleFunc("/page", answer200(textType, "x 1\n"))
	mux.Handle("/loop", http.RedirectHandler("/loop", http.StatusFound))
	srv := newServer(t, mux.ServeHTTP)
	for path, wantErr := range map[string]string{"/301": "", "/302": "", "/303": "", "/307": "", "/308": "",
		"/loop": "stopped after 10 redirects"} {
		for client, yaml := range bothClients() {
			t.Run(path+" "+client, func(t *testing.T) {
				s := serve(t, srv, yaml+"  metrics_path: "+path+"\n")
				if err := s.scrape(t); (err == "") != (wantErr == "") || !strings.Contains(err, wantErr) {
					t.Errorf("error %q, want one with %q", err, wantErr)
				}
				s = serve(t, srv, yaml+"  follow_redirects: false\n  metrics_path: "+path+"\n")
				if err := s.scrape(t); !strings.Contains(err, "server returned HTTP status 30") {
					t.Errorf("error %q though redirects are not followed", err)
				}
			})
		}
	}
}

// TestRow45TimeoutCoversAll: the timeout covers connecting, the head and the body.
func TestRow45TimeoutCoversAll(t *testing.T) {
	for stall, at := range map[string]string{"head": "", "body": "x 1\n"} {
		for client, yaml := range bothClients() {
			t.Run(stall+" "+client, func(t *testing.T) {
				cut := make(chan struct{}, 1)
				s := serve(t, newServer(t, func(w http.ResponseWriter, req *http.Request) {
					if at != "" {
						answer200(textType, at)(w, req)
						_ = http.NewResponseController(w).Flush()
					}
					<-req.Context().Done() // the connection was closed
					cut <- struct{}{}
				}), yaml+"  scrape_interval: 1s\n  scrape_timeout: 100ms\n")
				if err := s.scrape(t); !strings.Contains(err, "context deadline exceeded") {
					t.Errorf("error %q", err)
				}
				if got := s.shown(t); len(got) != 0 {
					t.Errorf("samples %v", got)
				}
				<-cut
			})
		}
	}
}

// TestRow46ConnectionsAreUsedAgain: also after scrapes that failed in ways that leave the connection usable.
func TestRow46ConnectionsAreUsedAgain(t *testing.T) {
	bodies := []http.HandlerFunc{
		answer200(textType, "x 1\n"),
		answer200(textType, ""),
		func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, strings.Repeat("no ", 5000), http.StatusNotFound)
		},
		answer200(textType, "<html>\n"+strings.Repeat("x 1\n", 20_000)),
		answer200("text/html", strings.Repeat("x 1\n", 20_000)),
		func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", textType)
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(zipped(strings.Repeat("x 1\n", 20_000)))
		},
	}
	for client, yaml := range bothClients() {
		t.Run(client, func(t *testing.T) {
			var asked, opened atomic.Int32
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				bodies[int(asked.Add(1)-1)%len(bodies)](w, req)
			}))
			srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
				if s == http.StateNew {
					opened.Add(1)
				}
			}
			srv.Start()
			defer srv.Close()
			s := serve(t, srv, yaml)
			for range 2 * len(bodies) {
				s.scrape(t)
			}
			if n := opened.Load(); n != 1 || int(asked.Load()) != 2*len(bodies) {
				t.Errorf("%d connections for %d requests, want one", n, asked.Load())
			}
		})
	}
}

func TestRow47OpenMetricsEndsWithEOF(t *testing.T) {
	for name, c := range map[string]struct {
		page string
		good bool
	}{
		"ends":              {"x 1\n# EOF\n", true},
		"without a newline": {"x 1\n# EOF", true},
		"cut off":           {"x 1\n", false},
		"cut in a line":     {"x 1\ny", false},
		"goes on":           {"x 1\n# EOF\ny 1\n", false},
		"the end alone":     {"# EOF\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, newServer(t, answer200("application/openmetrics-text; version=1.0.0; charset=utf-8", c.page)),
				"")
			err := s.scrape(t)
			if got := s.shown(t); (err == "") != c.good || !c.good && len(got) > 0 {
				t.Errorf("error %q, samples %v, want good: %v", err, got, c.good)
			}
		})
	}
}
