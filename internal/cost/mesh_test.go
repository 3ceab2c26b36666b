package cost

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// mesh is a server with a page for each pod, and pools that scrape them.
type mesh struct {
	pools *scrape.Pools
	table *series.Table
	watch *Watch
	pages map[string]string // by namespace/pod

	change func(page string) string // what the server makes of a page; nil: nothing
}

// newMesh scrapes each page once, with a job that has the given rules of metric_relabel_configs. Targets have the
// labels namespace and pod.
func newMesh(tb testing.TB, rules string, pages map[string]string) *mesh {
	tb.Helper()
	m := &mesh{table: series.NewTable(), watch: &Watch{}, pages: pages}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		page := m.pages[strings.TrimPrefix(r.URL.Path, "/")]
		if m.change != nil {
			page = m.change(page)
		}
		_, _ = io.WriteString(w, page)
	}))
	tb.Cleanup(server.Close)
	cfg, err := promconfig.Load(`
scrape_configs:
- job_name: envoy
  scrape_interval: 10s
  relabel_configs:
  - {source_labels: [__meta_kubernetes_namespace], target_label: namespace}
  - {source_labels: [__meta_kubernetes_pod_name], target_label: pod}
  static_configs: [{targets: []}]
`+rules, nil)
	if err != nil {
		tb.Fatal(err)
	}
	jobs, err := cfg.GetScrapeConfigs()
	if err != nil {
		tb.Fatal(err)
	}
	m.pools = scrape.New(m.table, m.watch.Sink(nowhere{}), scrape.Options{AllowLoopback: true}, zap.NewNop(), nil)
	if err := m.pools.Apply(jobs); err != nil {
		tb.Fatal(err)
	}
	var groups []*targetgroup.Group
	for name := range pages {
		namespace, pod, _ := strings.Cut(name, "/")
		groups = append(groups, &targetgroup.Group{
			Source:  name,
			Targets: []model.LabelSet{{model.AddressLabel: model.LabelValue(server.Listener.Addr().String())}},
			Labels: model.LabelSet{
				model.MetricsPathLabel:        model.LabelValue("/" + name),
				"__meta_kubernetes_namespace": model.LabelValue(namespace),
				podMeta + "name":              model.LabelValue(pod),
			},
		})
	}
	m.pools.Update(updates("envoy", groups))
	m.scrape(tb)
	return m
}

func (m *mesh) scrape(tb testing.TB) {
	tb.Helper()
	if n := m.pools.ScrapeOnce(tb.Context(), 0, 4); n != len(m.pages) {
		tb.Fatalf("%d targets were scraped, want %d", n, len(m.pages))
	}
}

func (m *mesh) costs() *Costs {
	return New(Source{Table: m.table, Pages: m.pools.LastPages, Watch: m.watch})
}

func (m *mesh) report(tb testing.TB, q Query) *Report {
	tb.Helper()
	if q.By == "" {
		q.By = ByFamily
	}
	q.Sort, q.Rows, q.Page = "series", maxRows, 1
	r, err := m.costs().Report(tb.Context(), q)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func (r *Report) row(tb testing.TB, name string) Row {
	tb.Helper()
	i := slices.IndexFunc(r.Rows, func(row Row) bool { return row.Name == name })
	if i < 0 {
		tb.Fatalf("no row %q in %v", name, r.Rows)
	}
	return r.Rows[i]
}

// nowhere is a sink that keeps nothing.
type nowhere struct{}

func (nowhere) Append(*series.Batch) error { return nil }
func (nowhere) Flush()                     {}

// sidecarPage is the page of a sidecar that has had requests from some workloads: 2 counters, 1 histogram with 3
// buckets, and a gauge.
func sidecarPage(workload string, sources int) string {
	var b strings.Builder
	tags := func(source int) string {
		return fmt.Sprintf(`reporter="destination",source_workload="source-%d",source_principal="spiffe://%d",`+
			`destination_workload=%q,response_code="200"`, source, source, workload)
	}
	b.WriteString("# TYPE istio_requests_total counter\n")
	for s := range sources {
		fmt.Fprintf(&b, "istio_requests_total{%s} %d\n", tags(s), 100+s)
	}
	b.WriteString("# TYPE istio_request_bytes histogram\n")
	for s := range sources {
		for _, le := range []string{"1", "10", "+Inf"} {
			fmt.Fprintf(&b, "istio_request_bytes_bucket{%s,le=%q} %d\n", tags(s), le, 7)
		}
		fmt.Fprintf(&b, "istio_request_bytes_sum{%s} 12345\n", tags(s))
		fmt.Fprintf(&b, "istio_request_bytes_count{%s} 7\n", tags(s))
	}
	b.WriteString("# TYPE envoy_cluster_upstream_rq_timeout counter\n")
	b.WriteString("envoy_cluster_upstream_rq_timeout{envoy_cluster_name=\"x\"} 0\n")
	b.WriteString("# TYPE envoy_server_uptime gauge\nenvoy_server_uptime{} 1234\n")
	return b.String()
}
