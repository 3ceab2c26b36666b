//go:build unix

package scrape

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// BenchmarkScrape is a whole scrape over loopback, without a sink: the page is requested, read and parsed.
func BenchmarkScrape(b *testing.B) {
	for _, form := range []string{chunkedForm, oneChunkForm, lengthForm} {
		for _, lines := range []int{200, 2000} {
			for _, pause := range []time.Duration{0, 3 * time.Millisecond} {
				b.Run(fmt.Sprintf("%s/samples=%d/pause=%v", form, lines, pause), func(b *testing.B) {
					host := startServers(b, 1, lines, form)[0]
					ps := New(series.NewTable(), &nowhere{}, Options{AllowLoopback: true}, zap.NewNop(), nil)
					if err := ps.Apply([]*promconfig.ScrapeConfig{job(b, "")}); err != nil {
						b.Fatal(err)
					}
					r := &rig{Pools: ps}
					found := []*targetgroup.Group{{Source: "0", Targets: []model.LabelSet{at(host)}}}
					r.Update(map[string][]*targetgroup.Group{"envoy": found})
					l := r.inTurn()[0]
					for range 5 {
						l.scrape(b.Context(), nil)
					}
					if l.status.health != HealthUp || l.status.counts.Scraped != lines {
						b.Fatalf("%v %+v", l.status.err, l.status.counts)
					}
					b.ReportAllocs()
					before := cpuTime()
					for b.Loop() {
						l.scrape(b.Context(), nil)
						if pause > 0 {
							<-time.After(pause)
						}
					}
					spent := float64((cpuTime() - before).Nanoseconds()) / float64(b.N)
					b.ReportMetric(spent/1000, "cpu-us/page")
				})
			}
		}
	}
}
