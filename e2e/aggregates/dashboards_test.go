package aggregates

import (
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/graphs"
	"github.com/envoy-scraper/envoy-scraper/e2e/receiver"
)

// forms are how each query is asked: over 1, 5 and 10 minutes of a job that scrapes every 15 s.
var forms = []form{
	{"irate", time.Minute / scale}, {"rate", time.Minute / scale}, {"rate", 5 * time.Minute / scale},
	{"rate", 10 * time.Minute / scale}, {"increase", 5 * time.Minute / scale},
}

// longest is the longest window.
const longest = 10 * time.Minute / scale

// folders returns the folders with dashboards: our own, and those that the mesh's project publishes.
func folders(t *testing.T) []string {
	t.Helper()
	folder := os.Getenv("DEMO_DASHBOARDS")
	if folder == "" {
		folder = "../../../shared/data/dashboards"
	}
	own := "../../deploy/mixin/dashboards"
	if found, err := filepath.Glob(filepath.Join(folder, "*.json")); err == nil && len(found) > 0 {
		return []string{folder, own}
	}
	t.Run("the mesh's own dashboards", func(t *testing.T) {
		t.Skip("SKIPPED: they are not beside the checkout (../shared/data/dashboards), and DEMO_DASHBOARDS names no " +
			"folder with them")
	})
	return []string{own}
}

// TestDashboards compares what dashboards show of sums with what they show of the series of the pods, and with the
// truth.
func TestDashboards(t *testing.T) {
	if testing.Short() {
		t.Skip("real parts are not for -short")
	}
	w := newWorld(t)
	truth := w.scrapeTruth()
	begin := time.Now()
	raw := w.scrape("raw", w.pages(), "", receiver.Config{})
	sums := w.scrape("sums", w.pages(), sumsBlock(), receiver.Config{})
	lean := w.scrape("lean", w.pages(), sumsBlock(leanLabels...), receiver.Config{})
	w.sleep(5*interval + longest + 32*interval)
	restarting := time.Now()
	w.restartAll(3 * interval / 2)
	w.sleep(12 * interval)
	end := time.Now()
	for _, s := range []*store{truth, raw, sums, lean} {
		s.arrived(end, "istio_requests_total")
	}
	steady := moments(restarting.Add(-31*interval), restarting.Add(-interval))
	rolling := moments(restarting, end.Add(-interval))

	queries := w.queries(raw, sums)
	t.Run("steady", func(t *testing.T) { testSteady(t, queries, forms, steady, sums, raw, truth) })
	t.Run("fewer labels", func(t *testing.T) { testSteady(t, queries, forms[2:3], steady, lean, raw) })
	t.Run("restarts", func(t *testing.T) { testRestarts(t, queries, rolling, sums, raw, truth) })
	whole := moments(begin, end.Add(-interval))
	t.Run("never more than the truth", func(t *testing.T) { testNeverMore(t, whole, sums, truth) })
	t.Run("histograms", func(t *testing.T) { testHistograms(t, span{steady.begin, 60}, sums) })
}

// queries returns the queries of all dashboards about the mesh whose results can be equal, and logs the others. Both
// stores must offer the same values for the variables.
func (w *world) queries(raw, sums *store) []string {
	w.Helper()
	from := folders(w.T)
	all, err := graphs.Queries(w.Context(), raw, from)
	if err != nil {
		w.Fatal(err)
	}
	ofSums, err := graphs.Queries(w.Context(), sums, from)
	if err != nil {
		w.Fatal(err)
	}
	same := slices.EqualFunc(all, ofSums, func(a, b graphs.Query) bool { return slices.Equal(a.Exprs, b.Exprs) })
	if !same {
		w.Error("the variables of a dashboard have other values over sums")
	}
	for i, q := range all {
		all[i].Exprs = slices.DeleteFunc(q.Exprs, func(expr string) bool { return !strings.Contains(expr, "istio_") })
	}
	equal, named := split(w.T, all)
	w.Logf("%d queries of %d panels can be equal", len(equal), len(all))
	for _, why := range slices.Compact(slices.Sorted(maps.Values(named))) {
		w.Logf("cannot be equal: %s", why)
	}
	if len(equal) < 100 {
		w.Errorf("%d queries are too few", len(equal))
	}
	return equal
}

// concurrently calls do for each query, several at a time.
func concurrently(queries []string, do func(expr string)) {
	work := make(chan string)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for expr := range work {
				do(expr)
			}
		})
	}
	for _, expr := range queries {
		work <- expr
	}
	close(work)
	all.Wait()
}

// mostListed is how many problems a test lists.
const mostListed = 20

// problems collects what is wrong.
type problems struct {
	sync.Mutex
	count int
	lines []string
}

func (p *problems) add(what string, lines []string) {
	p.Lock()
	defer p.Unlock()
	p.count += len(lines)
	for _, line := range lines {
		if len(p.lines) < mostListed {
			p.lines = append(p.lines, what+": "+line)
		}
	}
}

func (p *problems) report(t *testing.T) {
	t.Helper()
	for _, line := range p.lines {
		t.Error(line)
	}
	if p.count > len(p.lines) {
		t.Errorf("and %d more", p.count-len(p.lines))
	}
}

// testSteady asserts that sums show the same as other stores, within 1 %.
func testSteady(t *testing.T, queries []string, forms []form, at span, sums *store, others ...*store) {
	for _, f := range forms {
		var bad problems
		var mu sync.Mutex
		compared := 0
		concurrently(queries, func(expr string) {
			expr = f.apply(expr)
			got, err := sums.query(expr, at)
			if err != nil {
				bad.add(expr, []string{err.Error()})
				return
			}
			for _, other := range others {
				want, err := other.query(expr, at)
				if err != nil {
					bad.add(expr, []string{err.Error()})
					continue
				}
				if other.name == "truth" && strings.Contains(expr, "istio_build") {
					continue // a gauge: the truth has one page
				}
				n, lines := unequal(got, want, 0.01)
				bad.add(fmt.Sprintf("beside %s: %s", other.name, expr), lines)
				mu.Lock()
				compared += n
				mu.Unlock()
			}
		})
		t.Logf("%v: %d figures compared, %d differ by more than 1 %%", f, compared, bad.count)
		bad.report(t)
		if compared < 200 {
			t.Errorf("%v: that is too little to compare", f)
		}
	}
}

// isSum reports whether a query is a sum of rates, so that a lost or invented request lowers or raises it.
func isSum(expr string) bool {
	return rates.MatchString(expr) && !strings.Contains(expr, "/") && !strings.Contains(expr, "histogram_quantile")
}

// testRestarts asserts that no restart makes a spike or a hole. A window of sums has at most what happened in a window
// that is one interval longer. Each restart may lose what the process did after its last scrape, and a new one before
// its first.
func testRestarts(t *testing.T, queries []string, at span, sums, raw, truth *store) {
	plain, derived := []string{}, []string{}
	for _, expr := range queries {
		switch {
		case isSum(expr):
			plain = append(plain, expr)
		case rates.MatchString(expr):
			derived = append(derived, expr)
		}
	}
	for _, f := range forms {
		if f.function != "rate" {
			continue
		}
		high := 1.01 + float64(interval+sums.w.late())/float64(f.window)
		low := 0.99 - float64(sums.w.lostByRestarts())/float64(f.window)
		few := fewRequests / f.window.Seconds()
		of := extremes(t, plain, f, few, at, truth, sums, raw)
		t.Logf("%v: %d sums of rates: %v of the truth (bound: %.3f to %.3f), %v with raw series", f, len(plain),
			of[0], low, high, of[1])
		if of[0].low < low || of[0].high > high {
			t.Errorf("sums are %v of the truth: lowest %s, highest %s", of[0], of[0].lowest, of[0].highest)
		}
		// A quantile that lies in a gap between two buckets jumps with raw series, too.
		of = extremes(t, derived, f, 0, at, truth, sums, raw)
		t.Logf("%v: %d shares and quantiles: %v of the truth, %v with raw series", f, len(derived), of[0], of[1])
		if of[0].low < of[1].low*0.7 || of[0].high > of[1].high*1.4 {
			t.Errorf("shares and quantiles are farther from the truth than with raw series: at the lowest %s, at the "+
				"highest %s", of[0].lowest, of[0].highest)
		}
	}
	if len(plain) < 30 || len(derived) < 30 {
		t.Errorf("%d and %d queries are too few", len(plain), len(derived))
	}
}

// extreme is the range of the shares of the truth that a store shows.
type extreme struct {
	low, high       float64
	lowest, highest string // queries
}

func (e extreme) String() string { return fmt.Sprintf("%.3f to %.3f", e.low, e.high) }

// extremes returns the range of each store, for all queries together. It leaves out moments at which the truth is less
// than few.
func extremes(t *testing.T, queries []string, f form, few float64, at span, truth *store, stores ...*store) []extreme {
	t.Helper()
	var bad problems
	var mu sync.Mutex
	found := slices.Repeat([]extreme{{low: math.Inf(1)}}, len(stores))
	concurrently(queries, func(expr string) {
		expr = f.apply(expr)
		want, err := truth.query(expr, at)
		for i, s := range stores {
			var got figures
			if err == nil {
				got, err = s.query(expr, at)
			}
			if err != nil {
				bad.add(expr, []string{err.Error()})
				return
			}
			low, high := shares(got, want, few)
			mu.Lock()
			if e := &found[i]; low < e.low {
				e.low, e.lowest = low, expr
			}
			if e := &found[i]; high > e.high {
				e.high, e.highest = high, expr
			}
			mu.Unlock()
		}
	})
	bad.report(t)
	return found
}

// fewRequests is how many requests in a window are too few for a share of them.
const fewRequests = 20

// testNeverMore asserts for each summed series that it does not grow more than the truth did, from any moment to the
// end. The first moment is before the agent sums starts, so what the pods did before that must not be counted.
func testNeverMore(t *testing.T, at span, sums, truth *store) {
	const keepName = `{__name__=~"istio_.*", __name__!="istio_build"}`
	grown, actual := byName(sums.mustQuery(keepName, at)), byName(truth.mustQuery(keepName, at))
	compared, late := 0, sums.w.late().Seconds()
	var bad problems
	for series, line := range grown {
		want := actual[series]
		if want == nil {
			bad.add(series, []string{"the truth has no such series"})
			continue
		}
		last := len(line) - 1
		for i := 1; i < last; i++ {
			if math.IsNaN(line[i]) || math.IsNaN(want[i-1]) {
				continue // not written yet
			}
			compared++
			// A page that is scraped right after a tick comes with the next one, so a sum may lack an interval.
			got, most := line[last]-line[i], want[last]-want[i-1]
			if got > most*(1+1e-6)+late*rateOf(want) {
				bad.add(series, []string{fmt.Sprintf("grew by %v since moment %d, the truth by %v", got, i, most)})
				break
			}
		}
	}
	bad.report(t)
	t.Logf("%d series, %d times compared", len(grown), compared)
	if compared < 10_000 {
		t.Error("that is too little to compare")
	}
}

// rateOf is how much a series of the truth grows in a second.
func rateOf(line []float64) float64 {
	return (line[len(line)-1] - line[0]) / (float64(len(line)-1) * step.Seconds())
}

// testHistograms asserts that the parts of each histogram belong together at each tick.
func testHistograms(t *testing.T, at span, sums *store) {
	const bucket, count = `{__name__=~"istio_.*_bucket", le="+Inf"}`, `{__name__=~"istio_.*_count"}`
	counts := sums.mustQuery(count, at)
	compared := 0
	var bad problems
	for series, line := range sums.mustQuery(bucket, at) {
		of := counts[strings.Replace(strings.Replace(series, "_bucket{", "_count{", 1), `, le="+Inf"`, "", 1)]
		for i, v := range line {
			switch {
			case math.IsNaN(v):
			case of == nil || of[i] != v:
				bad.add(series, []string{fmt.Sprintf("moment %d: %v, another count", i, v)})
			default:
				compared++
			}
		}
	}
	bad.report(t)
	if compared < 1000 {
		t.Errorf("%d buckets compared, which is too little", compared)
	}
}

// withoutInstance finds the label instance in a printed series.
var withoutInstance = regexp.MustCompile(`(?:, )?instance="[^"]*"`)

// byName removes the labels in which the stores differ.
func byName(all figures) figures {
	found := figures{}
	for labels, line := range all {
		found[withoutInstance.ReplaceAllString(labels, "")] = line
	}
	return found
}
