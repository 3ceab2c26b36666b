//go:build unix

package wire

import (
	"fmt"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire/wiretest"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// BenchmarkAppendColumn writes and reads the values of a page.
func BenchmarkAppendColumn(b *testing.B) {
	table := series.NewTable()
	for _, size := range []int{500, 2000} {
		batch := wiretest.Mesh(table, 1, 1, size)
		b.Run(fmt.Sprint("append ", size), func(b *testing.B) {
			var out []byte
			report := cpuPerSample(b, batch.Len())
			for b.Loop() {
				out = AppendColumn(out[:0], batch.Time, batch.Values)
			}
			report()
			b.ReportMetric(float64(len(out))/float64(batch.Len()), "B/sample")
		})
		b.Run(fmt.Sprint("read ", size), func(b *testing.B) {
			data := AppendColumn(nil, batch.Time, batch.Values)
			values := make([]float64, batch.Len())
			report := cpuPerSample(b, batch.Len())
			for b.Loop() {
				c, err := parseColumn(data)
				if err == nil {
					err = c.read(values)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			report()
		})
	}
}

// BenchmarkLayout writes the layout of a page.
func BenchmarkLayout(b *testing.B) {
	table := series.NewTable()
	for _, size := range []int{500, 2000} {
		batch := wiretest.Mesh(table, 1, 1, size)
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			var layout *Layout
			report := cpuPerSample(b, batch.Len())
			for b.Loop() {
				layout = layoutOf(b, table, batch)
			}
			report()
			b.ReportMetric(float64(len(layout.Head)+len(layout.Tail))/float64(batch.Len()), "B/series")
		})
	}
}
