package aggregates

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/envoy-scraper/envoy-scraper/e2e/graphs"
)

// podLabels are the labels that sums do not have, or have with another value.
var podLabels = []string{"instance", "namespace", "pod", "pod_name"}

// form is a way to write the rates of a dashboard's query.
type form struct {
	function string
	window   time.Duration
}

func (f form) String() string { return fmt.Sprintf("%s over %v", f.function, f.window) }

var rates = regexp.MustCompile(`\b(?:irate|rate|increase)\(`)

// apply returns the query with the form's function and window. Dashboards have the window of Grafana's
// $__rate_interval, which the package graphs fills in.
func (f form) apply(expr string) string {
	return strings.ReplaceAll(rates.ReplaceAllString(expr, f.function+"("), "[1m]", fmt.Sprintf("[%v]", f.window))
}

// podLabelsOf returns the labels of podLabels that a query names, in a selector or in a grouping.
func podLabelsOf(t *testing.T, expr string) (named []string) {
	t.Helper()
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		switch n := node.(type) {
		case *parser.VectorSelector:
			for _, m := range n.LabelMatchers {
				named = append(named, m.Name)
			}
		case *parser.AggregateExpr:
			named = append(named, n.Grouping...)
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				named = append(named, n.VectorMatching.MatchingLabels...)
			}
		}
		return nil
	})
	named = slices.DeleteFunc(named, func(l string) bool { return !slices.Contains(podLabels, l) })
	slices.Sort(named)
	return slices.Compact(named)
}

// split separates the expressions that name labels of pods, for which sums have no answer, from the others. Each
// expression is in one of the results once.
func split(t *testing.T, queries []graphs.Query) (comparable []string, named map[string]string) {
	t.Helper()
	named = map[string]string{}
	for _, q := range queries {
		for _, expr := range q.Exprs {
			if of := podLabelsOf(t, expr); len(of) > 0 {
				named[expr] = fmt.Sprintf("%s: %s: names %s", q.Dashboard, q.Panel, strings.Join(of, ", "))
			} else {
				comparable = append(comparable, expr)
			}
		}
	}
	slices.Sort(comparable)
	return slices.Compact(comparable), named
}

// unequal compares two results of a steady load. It returns how many lines were compared, and those whose means and
// medians both differ by more than the share most. A late scrape moves the mean, and jitter the median. What is wrong
// moves both.
func unequal(got, want figures, most float64) (compared int, problems []string) {
	for labels := range want {
		if got[labels] == nil {
			problems = append(problems, labels+" is missing")
		}
	}
	for labels, line := range got {
		if want[labels] == nil {
			problems = append(problems, labels+" should not be there")
			continue
		}
		g, w := median(line), median(want[labels])
		if !math.IsNaN(w) && w != 0 {
			compared++
		}
		if d := min(apart(g, w), apart(mean(line), mean(want[labels]))); d > most {
			problems = append(problems, fmt.Sprintf("%s is %v, want %v: %.2f %% apart", labels, g, w, 100*d))
		}
	}
	slices.Sort(problems)
	return compared, problems
}

// shares returns the lowest and the highest share of want that got is at any moment; 0: got has no number. It leaves
// out moments at which want is few or less: a share of a few requests says nothing.
func shares(got, want figures, few float64) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for labels, line := range want {
		for i, w := range line {
			if math.IsNaN(w) || w <= few {
				continue
			}
			share := 0.0
			if g := got[labels]; g != nil && !math.IsNaN(g[i]) {
				share = g[i] / w
			}
			low, high = min(low, share), max(high, share)
		}
	}
	return low, high
}

func TestComparison(t *testing.T) {
	want := figures{"a": {100, 100, 100}, "b": {math.NaN(), math.NaN(), math.NaN()}}
	for name, tt := range map[string]struct {
		got      figures
		problems int
	}{
		"equal":            {figures{"a": {100, 100.9, 99}, "b": want["b"]}, 0},
		"two per cent":     {figures{"a": {102, 102, 102}, "b": want["b"]}, 1},
		"missing":          {figures{"b": want["b"]}, 1},
		"additional":       {figures{"a": want["a"], "b": want["b"], "c": {1, 1, 1}}, 1},
		"number for no":    {figures{"a": want["a"], "b": {0, 0, 0}}, 1},
		"no for a number":  {figures{"a": want["b"], "b": want["b"]}, 1},
		"jitter":           {figures{"a": {103, 94, 103}, "b": want["b"]}, 0},
		"one late scrape":  {figures{"a": {100, 150, 100}, "b": want["b"]}, 0},
		"nothing for both": {figures{"a": want["a"], "b": {math.NaN(), math.NaN(), math.NaN()}}, 0},
	} {
		if compared, problems := unequal(tt.got, want, 0.01); len(problems) != tt.problems || compared > 1 {
			t.Errorf("%s: compared %d, problems %q, want %d", name, compared, problems, tt.problems)
		}
	}
	for name, tt := range map[string]struct {
		line      []float64
		low, high float64
	}{
		"within": {[]float64{91, 100, 109}, 0.91, 1.09}, "spike": {[]float64{100, 111, 100}, 1, 1.11},
		"hole": {[]float64{100, 89, 100}, 0.89, 1}, "gone": {[]float64{100, math.NaN(), 100}, 0, 1},
	} {
		if low, high := shares(figures{"a": tt.line}, want, 50); low != tt.low || high != tt.high {
			t.Errorf("%s: from %v to %v, want %v to %v", name, low, high, tt.low, tt.high)
		}
	}
	if low, high := shares(figures{}, want, 50); low != 0 || high != 0 {
		t.Errorf("nothing is from %v to %v, want 0", low, high)
	}
	if low, high := shares(figures{}, want, 100); low < high {
		t.Errorf("few requests are from %v to %v, want no share", low, high)
	}
}

func TestForms(t *testing.T) {
	const expr = `round(sum(irate(istio_requests_total{a="rate"}[1m])) by (le) / sum(rate(x[1m])), 0.001)`
	const want = `round(sum(increase(istio_requests_total{a="rate"}[20s])) by (le) / sum(increase(x[20s])), 0.001)`
	if got := (form{"increase", 20 * time.Second}).apply(expr); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for expr, want := range map[string]string{
		`sum by (source_workload_namespace) (rate(x{destination_workload="a"}[1m]))`: "",
		`sum by (pod) (x)`: "pod", `x{namespace="a"} / on (instance) y`: "instance namespace",
		`sum(x{a="pod_name"})`: "",
	} {
		if got := strings.Join(podLabelsOf(t, expr), " "); got != want {
			t.Errorf("%s names %q, want %q", expr, got, want)
		}
	}
}
