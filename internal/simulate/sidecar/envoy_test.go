package sidecar_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	"github.com/envoy-scraper/envoy-scraper/internal/simulate/network"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/sidecar"
)

// served is a copy of a page that an Envoy has reported.
type served struct {
	sidecar.Page
	samples []sidecar.Sample
}

// bed is an Envoy on a network, and a client.
type bed struct {
	t       *testing.T
	net     *network.Network
	envoy   *sidecar.Envoy
	client  *http.Client
	scraper *network.Host
	pages   []*served
	refused []error
	live    []*sidecar.Page
	query   string
	end     func()
}

func newBed(t *testing.T, o sidecar.Options) *bed {
	b := &bed{t: t, net: network.New(1)}
	o.Namespace, o.Pod, o.Workload = "shop", "cart-0", "cart"
	o.Served = func(p *sidecar.Page) {
		b.pages = append(b.pages, &served{*p, append([]sidecar.Sample(nil), p.Samples...)})
		b.live = append(b.live, p)
	}
	o.Refused = func(err error) { b.refused = append(b.refused, err) }
	b.envoy = sidecar.New(o)
	l, err := b.net.Host("10.0.1.7").Listen("tcp", ":15090")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan bool)
	go func() {
		b.envoy.Serve(l)
		close(done)
	}()
	b.scraper = b.net.Host("10.0.0.1")
	transport := &http.Transport{DialContext: b.scraper.Dial, DisableCompression: true}
	b.client = &http.Client{Transport: transport, Timeout: 10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	b.end = func() {
		transport.CloseIdleConnections()
		_ = l.Close()
		<-done
		pass(time.Second)
		if n := b.net.Open(); n != 0 {
			t.Errorf("%d sockets are left", n)
		}
	}
	return b
}

// pass lets time pass, until nothing is left to do.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// get scrapes, and returns the report of the Envoy, too.
func (b *bed) get(header ...string) (*http.Response, []byte, error) {
	b.t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://10.0.1.7:15090/stats/prometheus"+b.query, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := b.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	synctest.Wait()
	return resp, body, err
}

func (b *bed) last() *served {
	b.t.Helper()
	if len(b.pages) == 0 {
		b.t.Fatal("no page was reported")
	}
	return b.pages[len(b.pages)-1]
}

// parse returns what Prometheus' parser finds, as text.
func parse(t *testing.T, body []byte, contentType string) (found []string, err error) {
	t.Helper()
	p, err := textparse.New(body, contentType, labels.NewSymbolTable(), textparse.ParserOptions{})
	if err != nil || p == nil {
		t.Fatal(p, err)
	}
	for {
		entry, err := p.Next()
		if err == io.EOF {
			return found, nil
		}
		if err != nil {
			return found, err
		}
		if entry == textparse.EntrySeries {
			var l labels.Labels
			_, _, value := p.Series()
			p.Labels(&l)
			found = append(found, fmt.Sprint(l, " ", value))
		}
	}
}

func (s *served) text() (lines []string) {
	for _, sample := range s.samples {
		lines = append(lines, fmt.Sprint(sample.Series.Labels, " ", sample.Value))
	}
	return lines
}

func same(t *testing.T, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d samples, want %d", len(got), len(want))
		return
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("sample %d is %s, want %s", i, got[i], want[i])
		}
	}
}

const openMetrics = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4"

// TestSamplesAreWhatAParserFinds, in each format, for pages that change.
func TestSamplesAreWhatAParserFinds(t *testing.T) {
	for name, tc := range map[string]struct {
		options sidecar.Options
		header  []string
	}{
		"text":        {},
		"text, gzip":  {sidecar.Options{Gzip: true}, []string{"Accept-Encoding", "gzip"}},
		"OpenMetrics": {sidecar.Options{OpenMetrics: true}, []string{"Accept", openMetrics}},
		"OpenMetrics gzip": {sidecar.Options{OpenMetrics: true, Gzip: true},
			[]string{"Accept", openMetrics, "Accept-Encoding", "gzip"}},
		"large": {options: sidecar.Options{Series: 500}},
		"small": {options: sidecar.Options{Series: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t, tc.options)
				defer b.end()
				for i := range 30 {
					switch i % 5 {
					case 1:
						b.envoy.Grow(2)
					case 2:
						b.envoy.Shrink(1)
					case 3:
						b.envoy.Churn(2)
					}
					resp, body, err := b.get(tc.header...)
					if err != nil {
						t.Fatal(err)
					}
					zipped := resp.Header.Get("Content-Encoding") == "gzip"
					if zipped != tc.options.Gzip {
						t.Errorf("compressed: %v", zipped)
					}
					if zipped {
						z, err := gzip.NewReader(bytes.NewReader(body))
						if err != nil {
							t.Fatal(err)
						}
						if body, err = io.ReadAll(z); err != nil {
							t.Fatal(err)
						}
					}
					contentType := resp.Header.Get("Content-Type")
					if strings.HasPrefix(contentType, "application/openmetrics-text") != tc.options.OpenMetrics {
						t.Errorf("Content-Type %q", contentType)
					}
					found, err := parse(t, body, contentType)
					if err != nil {
						t.Fatal(err)
					}
					p := b.last()
					same(t, p.text(), found)
					if len(found) != b.envoy.Series() {
						t.Errorf("%d samples, Series() is %d", len(found), b.envoy.Series())
					}
					if !p.Whole || p.Status != 200 || p.Fault != 0 || !b.live[len(b.live)-1].Read() {
						t.Errorf("reported %+v", p.Page)
					}
					if open := strings.HasPrefix(contentType, "application/openmetrics"); p.OpenMetrics != open ||
						p.Bytes != len(body) {
						t.Errorf("reported %+v of %d bytes in %s", p.Page, len(body), contentType)
					}
					pass(15 * time.Second)
				}
				if len(b.refused) > 0 {
					t.Errorf("refused %v", b.refused)
				}
			})
		})
	}
}

// TestFilter: as in Envoy, a filter looks at the names of stats, not of families.
func TestFilter(t *testing.T) {
	for filter, want := range map[string]string{
		"":                          "envoy_cluster envoy_server istio_build istio_request istio_tcp",
		"istio_requests|server.*up": "envoy_server istio_request",
		"^istio_build":              "",
		`cluster\.xds-grpc\.`:       "envoy_cluster",
		"nothing":                   "",
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBed(t, sidecar.Options{})
			defer b.end()
			b.query = "?filter=" + url.QueryEscape(filter)
			resp, body, err := b.get()
			if err != nil {
				t.Fatal(err)
			}
			found, err := parse(t, body, resp.Header.Get("Content-Type"))
			if err != nil {
				t.Fatal(err)
			}
			same(t, b.last().text(), found)
			var parts []string
			for _, s := range b.last().samples {
				words := strings.SplitN(s.Series.Name, "_", 3)
				if part := strings.TrimSuffix(words[0]+"_"+words[1], "s"); !slices.Contains(parts, part) {
					parts = append(parts, part)
				}
			}
			slices.Sort(parts)
			if got := strings.Join(parts, " "); got != want {
				t.Errorf("filter %q: %q, want %q", filter, got, want)
			}
			b.query = "?filter=("
			if resp, _, err := b.get(); err != nil || resp.StatusCode != 400 {
				t.Errorf("a wrong filter: %v, %v", resp, err)
			}
		})
	}
}

func TestDefaultSize(t *testing.T) {
	if n := sidecar.New(sidecar.Options{}).Series(); n < 40 || n > 60 {
		t.Errorf("%d series, want about 50", n)
	}
	if n := sidecar.New(sidecar.Options{Series: 400}).Series(); n < 380 || n > 420 {
		t.Errorf("%d series, want about 400", n)
	}
}

// TestCountersGrowUntilARestart: no counter falls but at a restart, and then all of them do; histograms add up.
func TestCountersGrowUntilARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, sidecar.Options{})
		defer b.end()
		before := map[*sidecar.Series]float64{}
		for i := range 20 {
			pass(15 * time.Second)
			if i == 10 {
				b.envoy.Restart()
			}
			if _, _, err := b.get(); err != nil {
				t.Fatal(err)
			}
			grew, fell := 0, 0
			bucket := math.Inf(-1)
			for _, s := range b.last().samples {
				if strings.HasSuffix(s.Series.Name, "_bucket") {
					if s.Value < bucket && s.Series.Labels.Get("le") != "1.0" {
						t.Errorf("%v is less than the bucket before", s.Series.Labels)
					}
					bucket = s.Value
				}
				if strings.HasSuffix(s.Series.Name, "_count") && s.Value != bucket {
					t.Errorf("%v is %v, the last bucket %v", s.Series.Labels, s.Value, bucket)
				}
				if old, ok := before[s.Series]; ok && strings.HasPrefix(s.Series.Name, "istio_re") {
					switch {
					case s.Value > old:
						grew++
					case s.Value < old:
						fell++
					}
				}
				before[s.Series] = s.Value
			}
			switch {
			case i == 10 && fell < 10:
				t.Errorf("%d counters fell at the restart", fell)
			case i != 10 && fell > 0, i > 0 && i != 10 && grew < 10:
				t.Errorf("page %d: %d counters grew, %d fell", i, grew, fell)
			}
		}
	})
}

func TestFaults(t *testing.T) {
	for name, tc := range map[string]struct {
		fault    sidecar.Fault
		status   int  // 0: the request fails
		broken   bool // the body cannot be read or parsed
		samples  bool
		whole    bool
		reported int // status
	}{
		"503": {fault: sidecar.Fault{Kind: sidecar.Unavailable}, status: 503, whole: true, reported: 503},
		"redirect": {fault: sidecar.Fault{Kind: sidecar.Redirect, To: "http://10.0.1.8:1/"},
			status: 302, whole: true, reported: 302},
		"empty": {fault: sidecar.Fault{Kind: sidecar.Empty}, status: 200, whole: true, reported: 200},
		"halfway": {fault: sidecar.Fault{Kind: sidecar.Halfway},
			status: 200, broken: true, samples: true, reported: 200},
		"hang":     {fault: sidecar.Fault{Kind: sidecar.Hang}},
		"too late": {fault: sidecar.Fault{Kind: sidecar.Late, Delay: time.Minute}},
		"late": {fault: sidecar.Fault{Kind: sidecar.Late, Delay: time.Second},
			status: 200, samples: true, whole: true, reported: 200},
		"broken": {fault: sidecar.Fault{Kind: sidecar.BrokenLine},
			status: 200, broken: true, samples: true, whole: true, reported: 200},
		"duplicate": {fault: sidecar.Fault{Kind: sidecar.Duplicate},
			status: 200, samples: true, whole: true, reported: 200},
		"html": {fault: sidecar.Fault{Kind: sidecar.OtherFormat}, status: 200, whole: true, reported: 200},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t, sidecar.Options{})
				defer b.end()
				for range 2 { // on a new connection, and on one that is kept
					b.envoy.Begin("x", tc.fault)
					resp, body, err := b.get()
					pass(time.Second)
					p := b.last()
					if p.Fault != tc.fault.Kind || p.Whole != tc.whole || p.Status != tc.reported ||
						(len(p.samples) > 0) != tc.samples {
						t.Errorf("reported %+v with %d samples", p.Page, len(p.samples))
					}
					if b.live[len(b.live)-1].Read() != tc.whole {
						t.Errorf("read: %v", !tc.whole)
					}
					if tc.fault.Kind == sidecar.Duplicate && len(p.samples) != b.envoy.Series()+1 {
						t.Errorf("%d samples, Series() is %d", len(p.samples), b.envoy.Series())
					}
					switch {
					case tc.status == 0:
						if err == nil {
							t.Errorf("answered %d", resp.StatusCode)
						}
					case resp == nil || resp.StatusCode != tc.status:
						t.Errorf("answered %v, %v", resp, err)
					case tc.samples:
						found, parseErr := parse(t, body, resp.Header.Get("Content-Type"))
						if (err != nil || parseErr != nil) != tc.broken {
							t.Errorf("errors %v, %v", err, parseErr)
						}
						if tc.fault.Kind != sidecar.Halfway { // of that, all that was to come is reported
							same(t, p.text(), found)
						}
					}
					b.envoy.End("x")
					if _, _, err := b.get(); err != nil || b.last().Fault != 0 || !b.last().Whole {
						t.Errorf("after the fault: %v, %+v", err, b.last().Page)
					}
				}
			})
		})
	}
}

// TestNotRead: a client that goes away has not read the page.
func TestNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, sidecar.Options{Series: 400})
		defer b.end()
		c, err := b.scraper.Dial(t.Context(), "tcp", "10.0.1.7:15090")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, "GET /stats/prometheus HTTP/1.1\r\nHost: x\r\n\r\n")
		_, _ = io.ReadFull(c, make([]byte, 1000))
		_ = c.Close()
		pass(time.Second)
		if p := b.live[0]; !p.Whole || p.Read() {
			t.Errorf("whole %v, read %v; want written and not read", p.Whole, p.Read())
		}
	})
}

func TestStrictRequests(t *testing.T) {
	const good = "GET /stats/prometheus HTTP/1.1\r\nHost: x\r\n"
	for name, tc := range map[string]struct{ request, want string }{
		"good":         {good + "\r\n", "200"},
		"query":        {"GET /stats/prometheus?filter=x HTTP/1.1\r\nHost: x\r\n\r\n", "200"},
		"another path": {"GET /stats HTTP/1.1\r\nHost: x\r\n\r\n", "404"},
		"POST":         {"POST /stats/prometheus HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
		"1.0":          {"GET /stats/prometheus HTTP/1.0\r\nHost: x\r\n\r\n", "400"},
		"no host":      {"GET /stats/prometheus HTTP/1.1\r\nAccept: x\r\n\r\n", "400"},
		"two hosts":    {good + "Host: y\r\n\r\n", "400"},
		"body":         {good + "Content-Length: 2\r\n\r\n", "400"},
		"pipelined":    {good + "\r\n" + good + "\r\n", "400"},
		"space":        {good + "Accept : x\r\n\r\n", "400"},
		"line feed":    {good + "Accept: x\ny\r\n\r\n", "400"},
		"too long":     {good + "Accept: " + strings.Repeat("x", 10_000), "400"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t, sidecar.Options{})
				defer b.end()
				c, err := b.scraper.Dial(t.Context(), "tcp", "10.0.1.7:15090")
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.WriteString(c, tc.request)
				status := make([]byte, len("HTTP/1.1 200"))
				_, err = io.ReadFull(c, status)
				synctest.Wait()
				if got := string(status); got != "HTTP/1.1 "+tc.want {
					t.Errorf("%q, %v; want %s", got, err, tc.want)
				}
				if (len(b.refused) == 1) != (tc.want == "400") {
					t.Errorf("refused %v", b.refused)
				}
				_ = c.Close()
			})
		})
	}
}

// TestSameSeedSamePages: pages follow from the seed.
func TestSameSeedSamePages(t *testing.T) {
	pages := func(seed uint64, scrapes int) (last string) {
		synctest.Test(t, func(t *testing.T) {
			b := newBed(t, sidecar.Options{Seed: seed})
			defer b.end()
			for range scrapes {
				pass(time.Second)
				b.envoy.Churn(1)
				_, body, err := b.get()
				if err != nil {
					t.Fatal(err)
				}
				last = string(body)
			}
		})
		return last
	}
	first := pages(1, 5)
	if pages(1, 5) != first {
		t.Error("the same seed gave other pages")
	}
	if pages(2, 5) == first {
		t.Error("another seed gave the same pages")
	}
}

// BenchmarkScrape is a request and its page of about 50 series over one connection, in a bubble. The timer of b runs
// outside of it.
func BenchmarkScrape(b *testing.B) {
	b.ReportAllocs()
	run := func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := network.New(1)
			e := sidecar.New(sidecar.Options{Served: func(*sidecar.Page) {}})
			l, err := n.Host("10.0.1.7").Listen("tcp", ":15090")
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan bool)
			go func() {
				e.Serve(l)
				close(done)
			}()
			c, err := n.Host("10.0.0.1").Dial(t.Context(), "tcp", "10.0.1.7:15090")
			if err != nil {
				t.Fatal(err)
			}
			request := []byte("GET /stats/prometheus HTTP/1.1\r\nHost: x\r\nAccept: text/plain\r\n\r\n")
			answer := make([]byte, 64<<10)
			for range b.N {
				_, _ = c.Write(request)
				for got := 0; !bytes.HasSuffix(answer[:got], []byte("0\r\n\r\n")); {
					more, err := c.Read(answer[got:])
					if err != nil {
						t.Fatal(err)
					}
					got += more
				}
				<-time.After(10 * time.Second)
			}
			_, _ = c.Close(), l.Close()
			<-done
		})
	}
	every := func(_, _ string) (bool, error) { return true, nil }
	if !testing.RunTests(every, []testing.InternalTest{{Name: "bubble", F: run}}) {
		b.Fatal("failed")
	}
}
