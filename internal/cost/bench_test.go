package cost

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// largeMesh is 1,000 targets with 2,000 series each, no two of which have the same page: every page names its own
// workload.
func largeMesh(b *testing.B) *mesh {
	pages := map[string]string{}
	for i := range 1000 {
		pages[fmt.Sprintf("ns%d/app-%d", i%20, i)] = largePage(i)
	}
	m := newMesh(b, "", pages)
	if r := m.report(b, Query{}); r.Totals.Series != 1000*2000 {
		b.Fatalf("%d series, want 2 million", r.Totals.Series)
	}
	return m
}

// largePage has 25 sets of tags, each with 2 counters and 3 histograms of 24 buckets: 2,000 series.
func largePage(n int) string {
	var page strings.Builder
	set := func(s int) string {
		return fmt.Sprintf(`reporter="destination",source_workload="source-%d",source_workload_namespace="ns%d",`+
			`source_principal="spiffe://cluster.local/ns/ns%d/sa/source-%d",source_app="source-%d",`+
			`source_version="v1",source_cluster="Kubernetes",destination_workload="app-%d",`+
			`destination_workload_namespace="ns%d",`+
			`destination_principal="spiffe://cluster.local/ns/ns%d/sa/app-%d",destination_app="app-%d",`+
			`destination_version="v1",destination_service="app-%d.ns%d.svc.cluster.local",request_protocol="http",`+
			`response_code="200",response_flags="-",connection_security_policy="mutual_tls"`,
			s, s%20, s%20, s, s, n, n%20, n%20, n, n, n, n%20)
	}
	for c := range 2 {
		fmt.Fprintf(&page, "# TYPE istio_counter_%d_total counter\n", c)
		for s := range 25 {
			fmt.Fprintf(&page, "istio_counter_%d_total{%s} %d\n", c, set(s), 1000+s)
		}
	}
	for h := range 3 {
		fmt.Fprintf(&page, "# TYPE istio_histogram_%d histogram\n", h)
		for s := range 25 {
			for le := range 24 {
				fmt.Fprintf(&page, "istio_histogram_%d_bucket{%s,le=\"%d\"} %d\n", h, set(s), le*10, le)
			}
			fmt.Fprintf(&page, "istio_histogram_%d_sum{%s} 12345\n", h, set(s))
			fmt.Fprintf(&page, "istio_histogram_%d_count{%s} 23\n", h, set(s))
		}
	}
	return page.String()
}

// BenchmarkReport computes reports on 1,000 targets x 2,000 series, all different: the tables, the tables with what a
// label would change, and a count for the history. lock-us is the longest time that the table's lock was held.
func BenchmarkReport(b *testing.B) {
	m := largeMesh(b)
	for name, q := range map[string]Query{
		"tables": {}, "drop-family": {DropFamily: "istio_histogram_0"},
		"drop-label-safe": {DropLabel: "source_principal"}, "drop-label-colliding": {DropLabel: "le"},
		"aggregate": {Aggregate: "istio"},
	} {
		b.Run(name, func(b *testing.B) {
			longest := 0.0
			b.ReportAllocs()
			for b.Loop() {
				longest = max(longest, m.report(b, q).Lock)
			}
			b.ReportMetric(longest*1e6, "lock-us")
		})
	}
	b.Run("history", func(b *testing.B) {
		c := m.costs()
		b.ReportAllocs()
		for b.Loop() {
			c.count(b.Context())
		}
	})
}

// BenchmarkWaitForTheTable measures how long a scrape waits to add a series to the table, alone and while one report
// after another is computed: the median, and the wait that one in a thousand exceeds.
func BenchmarkWaitForTheTable(b *testing.B) {
	m := largeMesh(b)
	target := m.table.AddTarget(labels.FromStrings("instance", "x"))
	for _, beside := range []bool{false, true} {
		b.Run(fmt.Sprint("reports=", beside), func(b *testing.B) {
			var stop atomic.Bool
			done := make(chan int)
			go func() {
				reports := 0
				for ; beside && !stop.Load(); reports++ {
					m.report(b, Query{DropLabel: "le"})
				}
				done <- reports
			}()
			waits := make([]time.Duration, 0, 1<<20)
			chunk := time.NewTicker(100 * time.Microsecond) // of a page
			defer chunk.Stop()
			for b.Loop() {
				began := time.Now()
				id := m.table.Intern(target, labels.FromStrings("__name__", "new"))
				waits = append(waits, time.Since(began))
				m.table.Release(slices.Values([]series.ID{id}))
				<-chunk.C
			}
			stop.Store(true)
			b.ReportMetric(float64(<-done), "reports")
			slices.Sort(waits)
			b.ReportMetric(float64(waits[len(waits)/2].Nanoseconds())/1e3, "p50-us")
			b.ReportMetric(float64(waits[len(waits)*999/1000].Nanoseconds())/1e3, "p999-us")
		})
	}
}
