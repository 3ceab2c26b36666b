package aggregate

import (
	"runtime"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// TestWhatASourceCosts: 16 bytes for a series that is summed, if no replica shares its layout, and 9 with ten replicas.
// The aggregates themselves are not in it: a page with the same series is summed before.
func TestWhatASourceCosts(t *testing.T) {
	const samples = 10_000
	for name, tc := range map[string]struct {
		replicas int
		shares   bool
		most     float64
	}{
		"alone":      {replicas: 10, most: 16.5},
		"ten shared": {replicas: 10, shares: true, most: 9.5},
	} {
		t.Run(name, func(t *testing.T) {
			table := series.NewTable()
			a := New(table, nowhere{}, zap.NewNop(), prometheus.NewRegistry())
			a.Apply([]Block{istio()})
			var pages []*series.Batch
			for r := range tc.replicas {
				p := page(table, r, samples, a)
				if !tc.shares { // each page begins with another series, so each has a layout of its own
					p.Series[0], p.Series[r] = p.Series[r], p.Series[0]
				}
				pages = append(pages, p)
			}
			first := page(table, tc.replicas, samples, a)
			first.Series[0], first.Series[samples-1] = first.Series[samples-1], first.Series[0]
			if err := a.Append(first); err != nil {
				t.Fatal(err)
			}
			before := heap()
			for _, p := range pages {
				if err := a.Append(p); err != nil {
					t.Fatal(err)
				}
			}
			used := float64(heap()-before) / float64(tc.replicas*samples)
			if used > tc.most {
				t.Errorf("%.1f bytes a series, want at most %.1f", used, tc.most)
			}
			runtime.KeepAlive(a)
			runtime.KeepAlive(pages)
			t.Logf("%.1f bytes a series", used)
		})
	}
}

// heap returns the bytes in use after a garbage collection.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
