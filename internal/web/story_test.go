package web

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	promconfig "github.com/prometheus/prometheus/config"

	"github.com/envoy-scraper/envoy-scraper/internal/cost"
	"github.com/envoy-scraper/envoy-scraper/internal/diagnose"
	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/envoy"
	"github.com/envoy-scraper/envoy-scraper/internal/history"
	"github.com/envoy-scraper/envoy-scraper/internal/relabel"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

const storyJob = "envoy-stats"

// storyMesh is what the screenshots show: a shop in which most pods are scraped, some are not, each for another reason,
// and one receiver is behind. The verdicts are those of package diagnose.
func storyMesh(t *testing.T) *fakeMesh {
	m := newFakeMesh(t)
	m.flags, m.lines = nil, storyLines()
	m.loaded = Loaded{At: fakeNow.Add(-26 * time.Hour)}
	m.endpoints = []remotewrite.EndpointStatus{
		{
			Name: "main", URL: "http://prometheus.monitoring:9090/api/v1/write", Protocol: "2.0", Lanes: 1,
			LastSuccess: fakeNow.Add(-800 * time.Millisecond),
		},
		{
			Name: "long-term", URL: "https://metrics.example.com/api/v1/push", Protocol: "1.0", Lanes: 4,
			PendingSamples: 184_320, PendingBytes: 3 << 20, OldestPending: fakeNow.Add(-95 * time.Second),
			LastSuccess: fakeNow.Add(-96 * time.Second), Unreachable: true, PendingLimit: 1 << 30,
			FullIn:        9 * time.Hour,
			LastError:     `Post "https://metrics.example.com/api/v1/push": dial tcp: connection refused`,
			LastErrorTime: fakeNow.Add(-4 * time.Second),
		},
	}
	records := m.addStoryPods()
	m.providers = []discovery.ProviderStatus{{
		Job: storyJob, Kind: "kubernetes", Detail: "pod", Server: "https://10.96.0.1:443", State: discovery.StateOK,
		Reachable: true, Synced: true, Groups: len(records), Targets: len(m.pools[0].Targets) + len(m.pools[0].Dropped),
		LastUpdate: fakeNow.Add(-40 * time.Second),
	}}
	m.pods = diagnose.New(diagnose.Input{
		At: fakeNow, Pools: m.pools, Pods: records, Outside: true,
		Jobs: []*promconfig.ScrapeConfig{{JobName: storyJob, MetricsPath: "/stats/prometheus", SampleLimit: 5000,
			RelabelConfigs: m.rules[storyJob]}},
		Scopes: []discovery.PodScope{{Job: storyJob, Role: "pod", Records: true}},
	})
	m.costReport = storyCost
	return m
}

// storyPod is a pod of the story. Most have only a name.
type storyPod struct {
	namespace, name string
	port            string                     // name of the sidecar's port; empty: Istio's
	record          func(*discovery.PodRecord) // changes what discovery remembers
	target          func(*scrape.TargetStatus) // changes how the last scrape ended
}

func storyPods() []storyPod {
	fail := func(failure, words string, since time.Duration, times int) func(*scrape.TargetStatus) {
		return func(t *scrape.TargetStatus) {
			t.Health, t.Failure, t.FailingSince, t.Failures = scrape.HealthDown, failure, fakeNow.Add(-since), times
			t.Err = fmt.Sprintf("Get %q: %s", t.URL, words)
			t.Kept, t.Samples, t.PageBytes, t.WireBytes = 0, 0, 0, 0
		}
	}
	silent := func(t *scrape.TargetStatus) {
		fail("timeout", "context deadline exceeded", 3*time.Hour, 720)(t)
		t.Duration = 10 * time.Second
	}
	return []storyPod{
		{namespace: "shop", name: "cart-7d9c58b6f4-x2lqp"},
		{namespace: "shop", name: "cart-7d9c58b6f4-8jk2x"},
		{namespace: "shop", name: "cart-7d9c58b6f4-mm6jd"},
		{namespace: "shop", name: "catalog-5f6b8d9c7-t2gln"},
		{namespace: "shop", name: "catalog-5f6b8d9c7-h7k4b", target: func(t *scrape.TargetStatus) {
			fail("sample_limit", "", 9*time.Minute, 36)(t)
			t.Err, t.Samples = "sample_limit: 5000 samples, and the page has more", 5312
		}},
		{namespace: "shop", name: "checkout-84d6c9b7f5-c4w9k"},
		{namespace: "shop", name: "checkout-84d6c9b7f5-r8n2v"},
		{namespace: "shop", name: "checkout-84d6c9b7f5-l6m9p", record: func(r *discovery.PodRecord) {
			r.IP, r.Node, r.Phase, r.Ready = "", "", "Pending", false
		}},
		{namespace: "shop", name: "payments-6c9f8bcb9d-p5x7h"},
		{namespace: "shop", name: "payments-6c9f8bcb9d-w6t4s"},
		{namespace: "shop", name: "payments-6c9f8bcb9d-q2v8z",
			record: func(r *discovery.PodRecord) { r.Ready = false },
			target: fail("refused", "dial tcp 10.0.1.11:15090: connect: connection refused", 12*time.Minute, 48)},
		{namespace: "billing", name: "invoices-79f8d6c5b4-g5s7m", target: silent},
		{namespace: "billing", name: "ledger-6d7c8b9f5-v9b2n", target: silent},
		{namespace: "shop", name: "orders-6b8f9d7c5-k9r4w", port: "envoy-prom"},
		{namespace: "shop", name: "orders-6b8f9d7c5-s4j6t", port: "envoy-prom"},
		{namespace: "shop", name: "search-7c6d5f8b9-n2q5x", port: "http", record: func(r *discovery.PodRecord) {
			r.Proxy, r.Injected, r.Ports = "", false, nil // it was made before injection was switched on
		}},
		{namespace: "shop", name: "nightly-report-29533440-b6d8c", record: func(r *discovery.PodRecord) {
			r.Phase, r.Ready, r.Controller = "Succeeded", false, "Job/nightly-report-29533440"
		}},
		{namespace: "istio-system", name: "istio-ingressgateway-5f6b8c7d9-d9f6g"},
	}
}

// addStoryPods adds the targets of the story's pods, as Pools.FullStatus would list them, and returns the records.
func (m *fakeMesh) addStoryPods() (records []discovery.PodRecord) {
	for n, p := range storyPods() {
		port := cmp.Or(p.port, "http-envoy-prom")
		controller := p.name[:strings.LastIndexByte(p.name, '-')]
		app := controller[:strings.LastIndexByte(controller, '-')]
		r := discovery.PodRecord{
			Namespace: p.namespace, Name: p.name, IP: fmt.Sprintf("10.0.%d.%d", n/9, 4+7*(n%9)),
			Node: fmt.Sprintf("node-%d", 1+n%3), Controller: "ReplicaSet/" + controller, Phase: "Running",
			Ready: true, Injected: true, Asks: true, Proxy: "istio-proxy",
			Ports: []discovery.ProxyPort{{Name: port, Number: 15090}},
		}
		if p.record != nil {
			p.record(&r)
		}
		records = append(records, r)
		if r.IP == "" {
			continue // discovery finds no target without an address
		}
		at := scrape.Port{Container: r.Proxy, Name: port, Number: "15090"}
		if r.Proxy == "" {
			at.Container, at.Number = app, "8080"
		}
		found := pod(storyJob, p.namespace, p.name, r.IP+":"+at.Number, port, "__meta_kubernetes_pod_phase", r.Phase,
			"__meta_kubernetes_pod_label_app", app, "__meta_kubernetes_pod_node_name", r.Node,
			"__meta_kubernetes_pod_container_name", at.Container,
			"__meta_kubernetes_pod_container_port_number", at.Number)
		t := m.discover(storyJob, scrape.HealthUp, found)
		if t == nil {
			dropped := m.pools[0].Dropped
			step, _ := relabel.Dropped(relabel.Explain(found, m.rules[storyJob]))
			dropped[len(dropped)-1].Rule, dropped[len(dropped)-1].Port = step.Index+1, at
			continue
		}
		t.LastScrape = fakeNow.Add(-time.Duration(300+1700*n%14_500) * time.Millisecond)
		t.Duration = time.Duration(8+n*5%9) * time.Millisecond
		t.Samples = 1480 + n*331%900
		t.Kept, t.PageBytes, t.WireBytes = t.Samples, int64(t.Samples)*389, int64(t.Samples)*21
		t.Signs = envoy.Envoy | envoy.Requests | envoy.HTTP
		if p.target != nil {
			p.target(t)
		}
	}
	return records
}

// storyCost returns a report on what the series of the story cost.
func storyCost(q cost.Query) *cost.Report {
	const total, seconds, targets = 26_112, 15, 9
	hourAgo, zeros, change, written := fakeNow.Add(-time.Hour), 2244, 342, 47_104.0
	r := &cost.Report{
		At: fakeNow, Query: q, Took: 0.004, WhatIf: []cost.WhatIf{}, Advice: []cost.Fix{},
		Notes: []string{"The bytes of names and labels are exact. The rest of a page is divided equally among its " +
			"samples."},
		Totals: cost.Totals{
			Targets: targets, Without: 4, Jobs: []string{storyJob}, Series: total, Buckets: 18_700,
			SamplesPerSecond: total / float64(seconds), PageBytes: total * 389, WireBytes: total * 21,
			PageBytesPerSecond: total * 389 / float64(seconds), WireBytesPerSecond: total * 21 / float64(seconds),
			ScrapeSecondsPerSecond: .0083, WrittenBytesPerSecond: &written, Zero: &zeros, ZeroSince: &hourAgo,
			Change: &change, Since: &hourAgo,
		},
	}
	for _, family := range []struct {
		name                          string
		series, buckets, zero, change int
	}{
		{"istio_request_duration_milliseconds", 10_200, 9_180, 0, 190},
		{"istio_request_bytes", 5_440, 4_760, 0, 76},
		{"istio_response_bytes", 5_440, 4_760, 0, 76},
		{"istio_requests_total", 476, 0, 0, 0},
		{"envoy_cluster_upstream_rq_retry", 374, 0, 374, 0},
		{"envoy_cluster_upstream_cx_connect_fail", 374, 0, 374, 0},
		{"envoy_cluster_upstream_rq_timeout", 374, 0, 374, 0},
		{"envoy_cluster_upstream_cx_rx_bytes_total", 374, 0, 0, 0},
		{"envoy_cluster_upstream_cx_tx_bytes_total", 374, 0, 0, 0},
		{"envoy_cluster_upstream_rq_total", 374, 0, 37, 0},
		{"envoy_listener_downstream_cx_total", 170, 0, 20, 0},
		{"istio_tcp_sent_bytes_total", 136, 0, 0, 0},
		{"istio_tcp_received_bytes_total", 136, 0, 0, 0},
		{"envoy_server_memory_allocated", targets, 0, 0, 0},
		{"envoy_server_uptime", targets, 0, 0, 0},
	} {
		r.Rows = append(r.Rows, cost.Row{
			Name: family.name, Series: family.series, Share: float64(family.series) / total, Pods: targets,
			SamplesPerSecond: float64(family.series) / seconds, PageBytes: int64(family.series) * 389,
			Buckets: family.buckets, Zero: &family.zero, Change: &family.change,
		})
	}
	r.Found, r.All = len(r.Rows), len(r.Rows)
	return r
}

// storyLines are an hour in which a receiver goes down two minutes before its end, and a pod before that.
func storyLines() []history.Line {
	shapes := map[history.Quantity]func(x float64) float64{
		history.Samples:      func(x float64) float64 { return 1740 + 60*math.Sin(9*x) - 140*step(x, .8) },
		history.BytesRead:    func(x float64) float64 { return 312e3 + 9e3*math.Sin(9*x) - 26e3*step(x, .8) },
		history.BytesWritten: func(x float64) float64 { return 47e3 + 1500*math.Sin(9*x) - 21e3*step(x, .97) },
		history.Backlog:      func(x float64) float64 { return 900 + 184_320*max(0, x-.97)/.03 },
		history.Failures:     func(x float64) float64 { return 4 * step(x, .8) },
		history.Duration:     func(x float64) float64 { return .012 + .002*math.Sin(7*x) },
	}
	noise := rand.New(rand.NewPCG(1, 2))
	var lines []history.Line
	for _, l := range history.New(nil).Lines() {
		for i := range history.Points {
			v := shapes[l.Quantity](float64(i) / (history.Points - 1))
			l.Values = append(l.Values, v*(.985+.03*noise.Float64()))
		}
		lines = append(lines, l)
	}
	return lines
}

func step(x, at float64) float64 {
	if x < at {
		return 0
	}
	return 1
}
