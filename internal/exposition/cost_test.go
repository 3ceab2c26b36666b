package exposition

import (
	"math"
	"strings"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// TestAllocationsPerPage bounds the allocations of reading and committing a page of 1,000 lines: none while the page
// has the same lines, a layout where their order changes.
func TestAllocationsPerPage(t *testing.T) {
	families := oddFamilies(1000, 100)
	for kind, most := range map[string]float64{
		"as expected": 0, "blank lines": 0, "TYPE repeated": 0, "ungrouped": 0, "each line twice": 0,
		"20 digits": 0, "32 digits": 0,
		"random order": 16, // 12 without the race detector, which makes pools lose what they keep
	} {
		t.Run(kind, func(t *testing.T) {
			var pages []string
			for round := range 8 {
				pages = append(pages, printOdd(kind, oddPages()[kind], round, families))
			}
			l := newLearner()
			always := &draft{} // see above
			l.layouts.drafts.New = func() any { return always }
			p := NewPage(l.layouts, l, Options{})
			var b series.Batch
			body := strings.NewReader("")
			round := 0
			read := func() {
				body.Reset(pages[round%len(pages)])
				round++
				b.Reset(l.target, 1)
				if _, err := p.Read(body, plain, math.MaxInt64, &b); err != nil {
					t.Fatal(err)
				}
				p.Commit(Shown{}).Release()
			}
			for range 2 * len(pages) {
				read()
			}
			if n := testing.AllocsPerRun(60, read); n > most {
				t.Errorf("%v allocations per page, want at most %v", n, most)
			}
		})
	}
}
