package scrape

import (
	"fmt"
	"hash/maphash"
	"math"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// BenchmarkLearn reads the first page of targets, 2,000 series each: of ten replicas that print the same lines, and of
// targets that share no line.
func BenchmarkLearn(b *testing.B) {
	const replicas, perPage = 10, 2000
	for _, bench := range []struct{ name, rules string }{
		{"replicas", "[]"},
		{"rules", "[{source_labels: [__name__], regex: 'envoy_.*', action: drop}, " +
			"{regex: reporter, action: labeldrop}]"},
		{"alone", "[]"},
	} {
		b.Run(bench.name, func(b *testing.B) {
			cfg := job(b, "  metric_relabel_configs: "+bench.rules+"\n")
			state, err := newJobState(cfg, Options{})
			if err != nil {
				b.Fatal(err)
			}
			m := newMetrics(nil)
			state.metrics = m.of(cfg.JobName)
			pages := make([]string, replicas)
			for i := range pages {
				pages[i] = meshPage("ratings")
				if bench.name == "alone" {
					pages[i] = meshPage(fmt.Sprintf("ratings-%d", i))
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				table := series.NewTable()
				e := &env{table: table, layouts: exposition.NewLayouts(table), log: zap.NewNop(), metrics: m,
					seed: maphash.MakeSeed()}
				e.scratch.New = newScratch
				for i := range replicas {
					l := newLoop(e, state, fuzzTarget(fmt.Sprintf("10.0.0.%d:15090", i), fmt.Sprintf("pod-%d", i), ""))
					var batch series.Batch
					batch.Reset(l.id, 1)
					c, err := l.page.Read(strings.NewReader(pages[i]), "text/plain", math.MaxInt64, &batch)
					if err != nil || c.Scraped != perPage {
						b.Fatal(c, err)
					}
					l.live = l.page.Commit(l.live)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/replicas/perPage, "ns/line")
		})
	}
}

// meshPage is a page with 2,000 series, half of them Istio's, of 50 peers.
func meshPage(workload string) string {
	var page strings.Builder
	istio := func(peer int) string {
		return fmt.Sprintf(`reporter="destination",source_workload="client-%d",source_canonical_service="client-%d",`+
			`source_canonical_revision="latest",source_workload_namespace="default",source_principal="spiffe://`+
			`cluster.local/ns/default/sa/client-%d",source_app="client",source_version="v1",`+
			`source_cluster="Kubernetes",destination_workload=%q,destination_workload_namespace="default",destination_principal="spiffe://`+
			`cluster.local/ns/default/sa/default",destination_app=%q,destination_version="v2",destination_service=`+
			`"%s.default.svc.cluster.local",destination_canonical_service=%q,destination_canonical_revision="v2",`+
			`destination_service_name=%q,destination_service_namespace="default",destination_cluster="Kubernetes",`+
			`request_protocol="http",response_code="200",response_flags="-",connection_security_policy="mutual_tls"`,
			peer, peer, peer, workload, workload, workload, workload, workload)
	}
	page.WriteString("# TYPE istio_request_duration_milliseconds histogram\n")
	for peer := range 50 {
		for le := range 19 {
			fmt.Fprintf(&page, "istio_request_duration_milliseconds_bucket{%s,le=\"%d\"} %d\n", istio(peer), le+1, le)
		}
	}
	page.WriteString("# TYPE istio_requests_total counter\n")
	for peer := range 50 {
		fmt.Fprintf(&page, "istio_requests_total{%s} %d\n", istio(peer), peer)
	}
	for family := range 50 {
		fmt.Fprintf(&page, "# TYPE envoy_cluster_upstream_rq_%d counter\n", family)
		for cluster := range 20 {
			fmt.Fprintf(&page, "envoy_cluster_upstream_rq_%d{cluster_name=\"outbound|80||%s-%d\"} 1\n", family,
				workload, cluster)
		}
	}
	return page.String()
}
