package exposition

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// TestGrowthLimit reads pages whose new series take more memory than the limit. Each page fails soon after the limit.
// The memory held does not grow with the number of such pages. A page that needs less is read afterwards.
func TestGrowthLimit(t *testing.T) {
	const limit = mb
	for name, contentType := range map[string]string{"text": plain, "OpenMetrics": openMetrics} {
		t.Run(name, func(t *testing.T) {
			l := newLearner()
			p := NewPage(l.layouts, l, Options{GrowthLimit: limit})
			before := memory()
			most := 0.0
			for round := range 8 {
				var page strings.Builder
				for n := 0; page.Len() < mb; n++ {
					fmt.Fprintf(&page, "m{a=\"%d.%d\",b=\"%d,%d\"} 1\n", n, round, n, round)
				}
				page.WriteString("# EOF\n")
				var b series.Batch
				b.Reset(l.target, int64(round))
				began := l.table.Grown(l.target)
				_, err := p.Read(strings.NewReader(page.String()), contentType, math.MaxInt64, &b)
				if !errors.Is(err, ErrGrowthLimit) {
					t.Fatalf("round %d: error %v, want %v", round, err, ErrGrowthLimit)
				}
				if grown := l.table.Grown(l.target) - began; grown < limit || grown > limit+limit/2 {
					t.Errorf("round %d: the table grew by %d bytes, want little more than %d", round, grown, limit)
				}
				p.Abandon()
				b = series.Batch{}
				page.Reset()
				most = max(most, float64(memory().HeapAlloc)-float64(before.HeapAlloc))
			}
			if most > 3*limit {
				t.Errorf("%.1f MB held after failed pages, want at most three times the limit", most/mb)
			}
			var b series.Batch
			b.Reset(l.target, 100)
			c, err := p.Read(strings.NewReader("a 1\n# EOF\n"), contentType, math.MaxInt64, &b)
			if err != nil || c.Added != 1 {
				t.Errorf("small page: %+v, %v", c, err)
			}
			p.Commit(Shown{}).Release()
			p.Forget()
			if n := l.table.Len() + l.table.SymbolCount(); n != 0 {
				t.Errorf("%d series and strings left", n)
			}
		})
	}
}

// TestGrowthIsAtMostWhatIsCounted compares the estimate of Table.Grown with the memory that the table really takes.
func TestGrowthIsAtMostWhatIsCounted(t *testing.T) {
	for name, kind := range worstPages() {
		if !strings.HasPrefix(name, "symbols") && !strings.HasPrefix(name, "entries") &&
			!strings.HasPrefix(name, "stems") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			var page strings.Builder
			for n := 0; page.Len() < mb; n++ {
				page.WriteString(kind.line(3, n))
			}
			l := newLearner()
			p := NewPage(l.layouts, l, Options{})
			before := memory()
			var b series.Batch
			b.Reset(l.target, 1)
			if _, err := p.Read(strings.NewReader(page.String()), kind.contentType, math.MaxInt64, &b); err != nil {
				t.Fatal(err)
			}
			b = series.Batch{}
			p.Commit(Shown{}).Release()
			held, counted := float64(memory().HeapAlloc)-float64(before.HeapAlloc), float64(l.table.Grown(l.target))
			lines := 14 * float64(len(p.layout.hashes)) // the layout, bounded by sample_limit
			t.Logf("%.2f MB held, %.2f MB counted, %.2f MB of lines", held/mb, counted/mb, lines/mb)
			if held > counted+lines+0.3*mb {
				t.Errorf("%.2f MB held beside %.2f MB of lines, %.2f MB counted", held/mb, lines/mb, counted/mb)
			}
			p.Forget()
		})
	}
}
