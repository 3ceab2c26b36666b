// Package wiretest makes batches for tests and benchmarks of everything that packs or sends them.
package wiretest

import (
	"fmt"
	"math/rand/v2"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// mesh makes batches such as sidecars under Istio give: half of the series istio_* with 23 labels (histograms of
// 20 buckets, sum and count, the same label sets in each), half envoy_cluster_* with one, families with few
// series each, in Envoy's order: counters, gauges, histograms. Five labels of the target come on top.
type mesh struct {
	table  *series.Table
	target series.TargetID
	public labels.Labels
	batch  *series.Batch
	random *rand.Rand
}

var (
	meshBounds = []string{"0.5", "1", "5", "10", "25", "50", "100", "250", "500", "1000", "2500", "5000", "10000",
		"30000", "60000", "300000", "600000", "1800000", "3600000", "+Inf"}
	meshHistograms = []string{"istio_request_bytes", "istio_request_duration_milliseconds", "istio_response_bytes"}
	meshStats      = []string{"upstream_cx_close_notify", "upstream_cx_connect_attempts_exceeded",
		"upstream_cx_connect_fail",
		"upstream_cx_destroy", "upstream_cx_destroy_local", "upstream_cx_destroy_remote", "upstream_cx_http2_total",
		"upstream_cx_overflow", "upstream_cx_rx_bytes_total", "upstream_cx_total", "upstream_cx_tx_bytes_total",
		"upstream_flow_control_paused_reading_total", "upstream_rq_completed", "upstream_rq_pending_overflow",
		"upstream_rq_retry", "upstream_rq_retry_success", "upstream_rq_timeout", "upstream_rq_total",
		"membership_change",
		"ssl_handshake", "ssl_session_reused", "update_attempt", "update_success", "lb_healthy_panic"}
	meshServices = []string{"productpage", "reviews", "details", "ratings", "checkout", "payment", "cart", "shipping"}
)

// Mesh is the sidecar number pod of a workload; replicas share their series.
func Mesh(table *series.Table, workload, pod, size int) *series.Batch {
	public := labels.FromStrings("app", fmt.Sprintf("app-%d", workload), "instance",
		fmt.Sprintf("10.1.%d.%d:15090", workload, pod),
		"job", "envoy-stats", "namespace", "bookinfo", "pod", fmt.Sprintf("app-%d-7d9f8b6c5-%05d", workload, pod))
	m := &mesh{table: table, public: public, target: table.AddTarget(public), batch: &series.Batch{},
		random: rand.New(rand.NewPCG(uint64(workload), uint64(pod)))} //nolint:gosec // the same pages at each run
	m.batch.Reset(m.target, 1_700_000_000_000)
	const tuple = 1 + 3*22
	peers := max(1, size/2/tuple)
	clusters := max(1, size/2/(len(meshStats)*5/4+44))
	for peer := range peers {
		m.add("istio_requests_total", model.MetricTypeCounter, m.hot(), m.istio(workload, peer))
	}
	for _, stat := range meshStats {
		for c := range clusters {
			m.add("envoy_cluster_"+stat, model.MetricTypeCounter, m.cold(), m.cluster(workload, c))
		}
	}
	for i := 0; m.batch.Len() < size-peers*3*22-clusters*2*22; i++ {
		m.add(fmt.Sprintf("envoy_cluster_circuit_breakers_default_%d_open", i/clusters), model.MetricTypeGauge,
			m.cold(), m.cluster(workload, i%clusters))
	}
	for _, name := range []string{"envoy_cluster_upstream_cx_connect_ms", "envoy_cluster_upstream_cx_length_ms"} {
		for c := range clusters {
			m.histogram(name, c < 3, m.cluster(workload, c))
		}
	}
	for _, name := range meshHistograms {
		for peer := range peers {
			m.histogram(name, true, m.istio(workload, peer))
		}
	}
	return m.batch
}

func (m *mesh) hot() float64 { return float64(100_000 + m.random.IntN(800_000)) }

func (m *mesh) cold() float64 { return float64(max(0, m.random.IntN(160)-120)) }

func (m *mesh) add(name string, typ model.MetricType, value float64, own []string) {
	b := labels.NewBuilder(m.public)
	b.Set("__name__", name)
	for i := 0; i < len(own); i += 2 {
		b.Set(own[i], own[i+1])
	}
	m.batch.Add(m.table.Add(m.target, b.Labels(), series.Meta{Type: typ}), value)
}

func (m *mesh) histogram(name string, hot bool, own []string) {
	total := 0.0
	for i, le := range meshBounds {
		if hot && i > 3 && i < 16 {
			total += float64(m.random.IntN(60_000))
		}
		m.add(name+"_bucket", model.MetricTypeHistogram, total, append(own[:len(own):len(own)], "le", le))
	}
	m.add(name+"_sum", model.MetricTypeHistogram, total*17.3, own)
	m.add(name+"_count", model.MetricTypeHistogram, total, own)
}

func (m *mesh) cluster(workload, n int) []string {
	return []string{"cluster_name", fmt.Sprintf("outbound|9080|v1|%s-%d.bookinfo.svc.cluster.local",
		meshServices[n%8], workload*100+n)}
}

func (m *mesh) istio(workload, peer int) []string {
	own, other := fmt.Sprintf("app-%d", workload), fmt.Sprintf("%s-%d", meshServices[peer%8], workload*100+peer)
	reporter, from, to, policy := "source", own, other, "unknown"
	if peer%2 == 1 {
		reporter, from, to, policy = "destination", other, own, "mutual_tls"
	}
	return []string{"reporter", reporter, "source_workload", from + "-v1", "source_canonical_service", from,
		"source_canonical_revision", "v1", "source_workload_namespace", "bookinfo",
		"source_principal", "spiffe://cluster.local/ns/bookinfo/sa/" + from, "source_app", from, "source_version", "v1",
		"destination_workload", to + "-v1", "destination_workload_namespace", "bookinfo",
		"destination_principal", "spiffe://cluster.local/ns/bookinfo/sa/" + to, "destination_app", to,
		"destination_version", "v1", "destination_service", to + ".bookinfo.svc.cluster.local",
		"destination_canonical_service", to, "destination_canonical_revision", "v1", "destination_service_name", to,
		"destination_service_namespace", "bookinfo", "request_protocol", "http", "response_code", "200",
		"response_flags", "-", "connection_security_policy", policy, "grpc_response_status", "0"}
}

// DistinctSeries is what the page of a pod yields that prints other labels in each line: a batch of n series without a
// stem in common, each with a long string and a HELP of its own.
func DistinctSeries(table *series.Table, target labels.Labels, n int) *series.Batch {
	id := table.AddTarget(target)
	var b series.Batch
	b.Reset(id, 1_700_000_000_000)
	lb := labels.NewBuilder(target)
	for i := range n {
		lb.Set("__name__", "m")
		for k := range 20 {
			lb.Set(fmt.Sprintf("l%d", k), fmt.Sprintf("%d.%d", i, k))
		}
		b.Add(table.Add(id, lb.Labels(), series.Meta{Help: fmt.Sprint("help", i)}), float64(i))
	}
	return &b
}
