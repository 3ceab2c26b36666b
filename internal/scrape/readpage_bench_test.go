package scrape

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// twoPages is a transport that answers with one page, or with another to a request with a filter.
type twoPages struct{ whole, filtered samePage }

func (p *twoPages) RoundTrip(req *http.Request) (*http.Response, error) {
	if strings.Contains(req.URL.RawQuery, "filter=") {
		return p.filtered.RoundTrip(req)
	}
	return p.whole.RoundTrip(req)
}

// BenchmarkFilteredScrapes is the time of a scrape whose rules keep a share of the lines, over rounds of one whole page
// and 39 filtered ones, and with whole pages alone.
func BenchmarkFilteredScrapes(b *testing.B) {
	for _, size := range []struct{ kept, dropped int }{{600, 400}, {1000, 49000}} {
		kept := string(pageOf(size.kept))
		dropped := strings.ReplaceAll(string(pageOf(size.dropped)), "istio_requests_total", "envoy_cluster_x")
		for _, pushDown := range []bool{false, true} {
			name := fmt.Sprintf("kept=%d/dropped=%d/push_down=%v", size.kept, size.dropped, pushDown)
			b.Run(name, func(b *testing.B) {
				table := series.NewTable()
				ps := New(table, &nowhere{}, Options{transport: &twoPages{samePage(dropped + kept), samePage(kept)},
					PushDown: func(string) bool { return pushDown }}, zap.NewNop(), nil)
				if err := ps.Apply([]*promconfig.ScrapeConfig{job(b, keepIstio)}); err != nil {
					b.Fatal(err)
				}
				r := &rig{Pools: ps}
				found := []*targetgroup.Group{{Source: "0", Targets: []model.LabelSet{at("a:1")}}}
				r.Update(map[string][]*targetgroup.Group{"envoy": found})
				l := r.inTurn()[0]
				for range wholeEvery + 2 {
					l.scrape(b.Context(), nil)
				}
				for b.Loop() {
					for range wholeEvery {
						l.scrape(b.Context(), nil)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*wholeEvery), "µs/scrape")
			})
		}
	}
}
