package exposition

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// worstPages returns kinds of pages of one pod that make the tables of this process grow most, each kind another table.
// Every round has a page of a quarter of a megabyte, with no line of another round unless the kind says so. held is how
// many bytes may be held at most per byte of a page that was read and committed. (The bound of HELP texts, 4 MiB per
// target, is larger than the page.)
func worstPages() map[string]struct {
	line        func(round, n int) string
	contentType string
	held        float64
} {
	type kind = struct {
		line        func(round, n int) string
		contentType string
		held        float64
	}
	random := rand.New(rand.NewPCG(1, 2))
	return map[string]kind{
		"symbols: short strings that are all different": {func(round, n int) string {
			return fmt.Sprintf("m{a=\"%d.%d\",b=\"%d,%d\",c=\"%d;%d\",d=\"%d:%d\"} 1\n", n, round, n, round, n, round,
				n, round)
		}, plain, 14},
		"symbols: one label with a long value": {func(round, n int) string {
			return fmt.Sprintf("m{a=\"%d.%d.%s\"} 1\n", round, n, strings.Repeat("v", 1000))
		}, plain, 3},
		"symbols: strings of other lengths on each page": {func(round, n int) string {
			return fmt.Sprintf("m{a=\"%d.%d.%s\"} 1\n", round, n, strings.Repeat("v", 16*round))
		}, plain, 15},
		"entries: short names": {func(round, n int) string { return fmt.Sprintf("%c%x 1\n", 'a'+round, n) }, plain, 20},
		"entries and stems: a label more on each page": {func(round, n int) string {
			return fmt.Sprintf("m{x=\"%d\"%s} 1\n", n, manyLabels(round+1))
		}, plain, 14},
		"stems: many labels, none new": {func(round, n int) string {
			return fmt.Sprintf("m{x=\"%d\",y=\"%d\"%s} 1\n", n, round, manyLabels(300))
		}, plain, 3},
		"stems: some of every page stay, the others are longer each time": {func(round, n int) string {
			if old := n / 100; n%100 == 0 && old < 10*round { // 10 lines of every page before, unchanged
				return fmt.Sprintf("m{x=\"%d_%d\"%s} 1\n", old/10, old%10*500, manyLabels(old/10+1))
			}
			return fmt.Sprintf("m{x=\"%d_%d\"%s} 1\n", round, n, manyLabels(round+1))
		}, plain, 16},
		"metas: HELP of many families": {func(round, n int) string {
			return fmt.Sprintf("# HELP a%d_%d h%d\na%d_%d 1\n", round, n, n, round, n)
		}, plain, 40},
		"layouts: comments": {func(round, n int) string { return fmt.Sprintf("#%d.%d\n", round, n) }, plain, 3},
		"layouts: order": {func(_, n int) string { return fmt.Sprintf("a%d 1\n", random.Uint32N(1<<20)) }, plain,
			25},
		"layouts: families": {func(round, n int) string { return fmt.Sprintf("# TYPE a%d_%d gauge\n", round, n) },
			plain, 3},
		"exemplars": {func(round, n int) string {
			return fmt.Sprintf("a%d_total 1 # {a=\"%d.%s\"} 1\n", n, round, strings.Repeat("é", 100))
		}, "application/openmetrics-text; version=1.0.0", 4},
		"long lines": {func(round, n int) string {
			return fmt.Sprintf("m{a=\"%d.%d.%s\"} 1\n", round, n, strings.Repeat("v", maxLineBytes/16))
		}, plain, 3},
	}
}

func manyLabels(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, ",%c%c=\"1\"", 'a'+i/26, 'a'+i%26)
	}
	return b.String()
}

// TestWhatOnePodMadeGrowIsGivenBack reads the pages of a pod that changes its whole page at each scrape, and the pages
// of a neighbour that has a few new series each time. However many pages there are, the size of one page bounds the
// memory held. When the pod is gone, at most half a megabyte is left.
func TestWhatOnePodMadeGrowIsGivenBack(t *testing.T) {
	const rounds, pageBytes = 8, mb / 4
	for name, kind := range worstPages() {
		t.Run(name, func(t *testing.T) {
			l := newLearner()
			pod, neighbour := NewPage(l.layouts, l, Options{SampleLimit: 500_000}), NewPage(l.layouts, l, Options{})
			var shown, shownBeside Shown
			read := func(p *Page, contentType, text string, before Shown) Shown {
				var b series.Batch
				if _, err := p.Read(strings.NewReader(text), contentType, math.MaxInt64, &b); err != nil {
					t.Fatal(err)
				}
				return p.Commit(before)
			}
			before := memory()
			most, size := 0.0, 0
			for round := range rounds {
				var page, beside strings.Builder
				for n := 0; page.Len() < pageBytes; n++ {
					page.WriteString(kind.line(round, n))
				}
				if strings.Contains(kind.contentType, "openmetrics") {
					page.WriteString("# EOF\n")
				}
				for n := range 50 {
					fmt.Fprintf(&beside, "neighbour{a=\"%d\"} 1\n", max(n, round))
				}
				size = max(size, page.Len())
				shown = read(pod, kind.contentType, page.String(), shown)
				shownBeside = read(neighbour, plain, beside.String(), shownBeside)
				page.Reset()
				most = max(most, float64(memory().HeapAlloc)-float64(before.HeapAlloc))
			}
			alive := l.table.Len()
			shown.Release()
			pod.Forget()
			left := float64(memory().HeapAlloc) - float64(before.HeapAlloc)
			t.Logf("pages of %d bytes: %d series, at most %.1f MB held, %.1f times a page; %.2f MB when it is gone",
				size, alive, most/mb, most/float64(size), left/mb)
			if most > kind.held*float64(size) {
				t.Errorf("%.1f MB held after %d pages of %d bytes, want at most %.0f times a page", most/mb, rounds,
					size, kind.held)
			}
			if left > 0.5*mb {
				t.Errorf("%.2f MB held when the pod is gone, want at most 0.5", left/mb)
			}
			shownBeside.Release()
			neighbour.Forget()
			if n, strs, layouts := l.table.Len(), l.table.SymbolCount(), l.layouts.Len(); n+strs+layouts != 0 {
				t.Errorf("%d series, %d strings, %d layouts left", n, strs, layouts)
			}
			runtime.KeepAlive(pod)
		})
	}
}
