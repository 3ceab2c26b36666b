package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	promrelabel "github.com/prometheus/prometheus/model/relabel"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/agent"
	"github.com/envoy-scraper/envoy-scraper/internal/config"
	"github.com/envoy-scraper/envoy-scraper/internal/cost"
	"github.com/envoy-scraper/envoy-scraper/internal/diagnose"
	"github.com/envoy-scraper/envoy-scraper/internal/diagnose/show"
	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/history"
	"github.com/envoy-scraper/envoy-scraper/internal/relabel"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
	"github.com/envoy-scraper/envoy-scraper/internal/web"
)

// podMesh is a cluster whose pods were discovered, and scraped once, with the pages about them.
type podMesh struct {
	pages   string // URL of the pages, without a slash at its end
	reports atomic.Pointer[agent.PodReports]
	kept    *agent.PodReports
	fresh   *agent.PodReports // keeps no report
	made    atomic.Int64      // reports on pods
}

// newPodMesh makes a mesh of n pods with five declared ports each. Rules keep one port of those pods for which scraped
// returns true, and none of the others. All sidecars answer with the same page.
func newPodMesh(tb testing.TB, n int, scraped func(i int) bool) *podMesh {
	tb.Helper()
	small := strings.ReplaceAll(injectedPod, strings.Repeat("x", 4000), "x")
	small = strings.Replace(small, `{"metadata":{`, `{"metadata":{"ownerReferences":[{"apiVersion":"apps/v1",`+
		`"kind":"ReplicaSet","name":"front-7f99cc4496","uid":"1","controller":true}],`, 1)
	api := httptest.NewServer(podPages{n, func(i int) string {
		pod := strings.ReplaceAll(small, "NUMBER", strconv.Itoa(i))
		if !scraped(i) {
			pod = strings.Replace(pod, `"http-envoy-prom"`, `"envoy-prom"`, 1)
		}
		return pod
	}})
	tb.Cleanup(api.Close)
	sidecars := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		_, _ = io.WriteString(w, requestsPage())
	}))
	tb.Cleanup(sidecars.Close)

	text := strings.Replace(fmt.Sprintf(referenceJob, api.URL), "- job_name: envoy-stats\n",
		"- job_name: envoy-stats\n  proxy_url: "+sidecars.URL+"\n", 1)
	cfg := loadText(tb, text)
	reg := prometheus.NewRegistry()
	found, err := discovery.New(discovery.Options{}, zap.NewNop(), reg)
	if err != nil {
		tb.Fatal(err)
	}
	table := series.NewTable()
	pools := scrape.New(table, nowhere{}, scrape.Options{AllowLoopback: true}, zap.NewNop(), reg)
	if err := pools.Apply(cfg.Jobs); err != nil {
		tb.Fatal(err)
	}
	if err := found.Apply(cfg.Jobs); err != nil {
		tb.Fatal(err)
	}
	m := &podMesh{}
	reports := func(maxAge time.Duration) *agent.PodReports {
		return &agent.PodReports{Config: func() *config.Config { return cfg }, Found: found, MaxAge: maxAge,
			Pools: func() []scrape.PoolStatus { m.made.Add(1); return pools.FullStatus() }}
	}
	m.kept, m.fresh = reports(time.Hour), reports(0)
	m.keepReports(true)
	server := web.New(web.Config{ListenAddress: "127.0.0.1:0"}, web.Sources{
		Targets: pools.Status, Providers: found.Status, Explain: relabel.Explain, Gatherer: reg,
		Rules:      func(string) []*promrelabel.Config { return cfg.Jobs[0].RelabelConfigs },
		ConfigYAML: func() (string, error) { return cfg.Redacted() },
		Loaded:     func() web.Loaded { return web.Loaded{At: time.Now()} },
		Endpoints:  func() []remotewrite.EndpointStatus { return nil },
		History:    history.New(reg).Lines,
		Ready:      func() (bool, string) { return true, "" },
		Pods: web.PodSources{
			Report: func() diagnose.Report { return m.reports.Load().Report() },
			Ask: func(ctx context.Context, namespace, pod string) (diagnose.Report, []show.Fact, error) {
				return m.reports.Load().Ask(ctx, namespace, pod)
			},
			Targets: pools.FullStatusOf, Preview: pools.Preview,
		},
		Cost: cost.New(cost.Source{Table: table, Pages: pools.LastPages, Controllers: agent.Controllers(found)}).Report,
	}, zap.NewNop())
	address, err := server.Listen()
	if err != nil {
		tb.Fatal(err)
	}
	m.pages = "http://" + address.String()

	ctx, cancel := context.WithCancel(context.Background())
	updated, done := make(chan struct{}, 1), make(chan error, 2)
	go func() { done <- server.Run(ctx) }()
	go func() {
		done <- found.Run(ctx, func(updates map[string]discovery.Update) {
			pools.Update(updates)
			select {
			case updated <- struct{}{}:
			default:
			}
		})
	}()
	tb.Cleanup(func() {
		cancel()
		for range cap(done) {
			if err := <-done; err != nil {
				tb.Error(err)
			}
		}
	})
	for all := 0; all < 5*n; {
		select {
		case <-updated:
			st := pools.Status()[0]
			all = len(st.Targets) + st.DroppedCount
		case <-time.After(time.Minute):
			tb.Fatalf("%d targets of %d pods, want %d", all, n, 5*n)
		}
	}
	pools.ScrapeOnce(ctx, 0, 8)
	return m
}

// requestsPage is a page of 300 series.
func requestsPage() string {
	var b strings.Builder
	b.WriteString("# TYPE istio_requests_total counter\n")
	for i := range 300 {
		fmt.Fprintf(&b, "istio_requests_total{reporter=\"source\",source_workload=\"cart\",response_code=\"%d\"} 7\n",
			200+i)
	}
	return b.String()
}

// get returns the body of a page.
func (m *podMesh) get(tb testing.TB, path string) string {
	tb.Helper()
	resp, err := http.Get(m.pages + path)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		tb.Fatalf("%s: %s, %v: %s", path, resp.Status, err, body)
	}
	return string(body)
}

const podOfTheMesh = "bookinfo/reviews-v1-7f99cc4496-"

// TestEvidenceSharesTheReport: only a pod that no job has found needs a report of its own.
func TestEvidenceSharesTheReport(t *testing.T) {
	m := newPodMesh(t, 20, func(i int) bool { return i >= 5 })
	for path, want := range map[string]string{
		"/":                               "<dt>Pods scraped</dt>",
		"/pods":                           "20 pods.",
		"/pods?pod=" + podOfTheMesh + "3": "wants something before the hyphen",
		"/pods?pod=" + podOfTheMesh + "7": "istio_requests_total{",
	} {
		if body := m.get(t, path); !strings.Contains(body, want) {
			t.Errorf("%s: no %q in %s", path, want, body)
		}
	}
	if n := m.made.Load(); n != 1 {
		t.Errorf("%d reports were made for four pages, want 1", n)
	}
	if body := m.get(t, "/pods?pod="+podOfTheMesh+"20"); !strings.Contains(body, "has not listed it yet") {
		t.Errorf("a pod that is not listed: %s", body)
	}
	if n := m.made.Load(); n != 2 {
		t.Errorf("%d reports were made, want another one for the pod that is not listed", n)
	}
}

// TestCostKnowsControllers: the name of the workload is that of the controller, not one that the pod's name resembles.
func TestCostKnowsControllers(t *testing.T) {
	m := newPodMesh(t, 2, func(int) bool { return true })
	if body := m.get(t, "/cost?by=workload"); !strings.Contains(body, "bookinfo/front") {
		t.Errorf("no workload bookinfo/front in %s", body)
	}
}

// BenchmarkPages asks for each page of 10,000 pods, as a browser does: over HTTP, compressed. The report on pods is a
// new one for each page ("new"), or the one that is kept for some seconds ("kept"). cpu-ms/page is the time of all
// processors, with that of the garbage collector and of the client. A page above 1 MB fails.
func BenchmarkPages(b *testing.B) {
	const n = 10_000
	for _, targets := range []int{9000, 1000} {
		m := newPodMesh(b, n, func(i int) bool { return i < targets })
		for _, path := range []string{"/", "/pods", "/pods?rows=500&sort=-bytes&search=reviews",
			"/pods?pod=" + podOfTheMesh + "7", "/pods?pod=" + podOfTheMesh + "9007", "/targets",
			"/targets?rows=500&sort=-took", "/service-discovery", "/cost", "/cost?by=pod&rows=500",
			"/cost?drop_label=response_code", "/config"} {
			for _, kept := range []bool{false, true} {
				if !kept && path != "/" && !strings.HasPrefix(path, "/pods") {
					continue
				}
				name := fmt.Sprintf("targets=%d%s report=%s", targets, path, map[bool]string{true: "kept",
					false: "new"}[kept])
				b.Run(name, func(b *testing.B) {
					m.keepReports(kept)
					size := len(m.get(b, path))
					before := processorTime(b)
					for b.Loop() {
						m.get(b, path)
					}
					b.ReportMetric(float64((processorTime(b)-before).Microseconds())/1e3/float64(b.N), "cpu-ms/page")
					b.ReportMetric(float64(size), "bytes/page")
					if size > 1_000_000 {
						b.Errorf("%d bytes, want at most 1 MB", size)
					}
				})
			}
		}
	}
}

// keepReports makes the pages keep a report on pods, or make a new one for each page.
func (m *podMesh) keepReports(keep bool) {
	m.reports.Store(m.fresh)
	if keep {
		m.reports.Store(m.kept)
	}
}

// processorTime returns how long the process has used processors.
func processorTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
