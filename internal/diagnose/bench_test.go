package diagnose

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// tenThousandPods returns the input for a report on 10,000 pods, of which a tenth are scraped and the others left
// out by a rule, the most expensive verdict, or the other way around.
func tenThousandPods(b *testing.B, scraped bool) Input {
	w := newWorld(b)
	updates := discovery.Update{Whole: true}
	in := Input{At: w.now, Jobs: w.jobs, Scopes: w.scopes}
	for i := range 10_000 {
		p := w.pod(fmt.Sprintf("ns-%d", i%40), fmt.Sprintf("cart-%d", i), func(p *corev1.Pod) {
			if (i%10 == 0) != scraped {
				return
			}
			p.Spec.InitContainers[1].Ports[0].Name = "metrics"
		})
		updates.Groups = append(updates.Groups, discovery.Group{Group: podGroup(p)})
		in.Pods = append(in.Pods, discovery.RecordOf(p))
	}
	var err error
	in.Pools, err = scrape.Look(b.Context(), w.jobs, map[string]discovery.Update{"envoy-stats": updates},
		scrape.Options{}, w.shards, func(scrape.TargetStatus) bool { return false })
	if err != nil {
		b.Fatal(err)
	}
	return in
}

// BenchmarkReportOf10000Pods leaves out Pools.FullStatus: see BenchmarkFullStatus in internal/scrape.
func BenchmarkReportOf10000Pods(b *testing.B) {
	for name, scraped := range map[string]bool{"nine-in-ten-scraped": true, "nine-in-ten-left-out": false} {
		b.Run(name, func(b *testing.B) {
			in := tenThousandPods(b, scraped)
			b.ReportAllocs()
			for b.Loop() {
				if r := New(in); len(r.Rows) != 10_000 {
					b.Fatalf("%d rows", len(r.Rows))
				}
			}
		})
	}
}
