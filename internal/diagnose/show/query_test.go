package show

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/diagnose"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func someRows() diagnose.Report {
	target := func(job string, ago, took time.Duration, bytes int64, samples int) *diagnose.Target {
		return &diagnose.Target{Job: job, LastScrape: noon.Add(-ago), Duration: took, PageBytes: bytes,
			Samples: samples}
	}
	return diagnose.Report{At: noon, Rows: []diagnose.Row{
		{Namespace: "shop", Pod: "cart-1", Node: "node-2", IP: "10.0.0.2", Verdict: diagnose.Down,
			Reason: diagnose.Reason{Cause: "refused", Job: "mesh"}, Target: target("mesh", time.Minute, 1, 0, 0)},
		{Namespace: "pay", Pod: "api-0", Node: "node-1", IP: "10.0.0.3", Verdict: diagnose.NotATarget,
			Reason: diagnose.Reason{Cause: "rule:mesh:1", Job: "mesh"}},
		{Namespace: "pay", Pod: "api-1", Verdict: diagnose.NotReady, Reason: diagnose.Reason{Cause: "new"},
			Target: &diagnose.Target{Job: "mesh"}},
		{Namespace: "shop", Pod: "cart-0", Node: "node-1", IP: "10.0.0.1", Workload: "StatefulSet/cart",
			Verdict: diagnose.Scraped, Target: target("mesh", time.Second, 30, 900, 100)},
		{Namespace: "shop", Pod: "cart-2", Node: "node-1", IP: "10.0.0.4", Verdict: diagnose.Scraped,
			Target: target("other", 2*time.Second, 20, 1000, 50)},
	}}
}

func TestQuerySelects(t *testing.T) {
	report := someRows()
	for query, want := range map[string]string{
		"":                            "cart-1 api-0 api-1 cart-0 cart-2",
		"search=CART":                 "cart-1 cart-0 cart-2",
		"search=shop/cart-0":          "cart-0",
		"search=node-2":               "cart-1",
		"search=10.0.0.3":             "api-0",
		"search=statefulset":          "cart-0",
		"namespace=pay":               "api-0 api-1",
		"node=node-1&job=mesh":        "api-0 cart-0",
		"verdict=NOT+A+TARGET":        "api-0",
		"cause=rule:mesh:1":           "api-0",
		"cause=none":                  "",
		"sort=last":                   "cart-1 cart-2 cart-0 api-0 api-1",
		"sort=last&order=asc":         "cart-0 cart-2 cart-1 api-0 api-1",
		"sort=took":                   "cart-0 cart-2 cart-1 api-0 api-1",
		"sort=bytes":                  "cart-2 cart-0 cart-1 api-0 api-1",
		"sort=samples&order=asc":      "cart-1 cart-2 cart-0 api-0 api-1",
		"sort=nonsense":               "cart-1 api-0 api-1 cart-0 cart-2",
		"search=" + "%20%20cart-0%20": "cart-0",
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, r := range ParseQuery(values).Select(&report).Rows {
			names = append(names, r.Pod)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
}

// TestFacetsCountTheOthers: the number beside a value is how many rows one gets by choosing it.
func TestFacetsCountTheOthers(t *testing.T) {
	report := someRows()
	all := Query{Page: 1}
	for name, q := range map[string]Query{
		"all": all, "namespace": {Namespace: "shop"}, "verdict": {Verdict: "SCRAPED"},
		"several": {Namespace: "shop", Job: "mesh", Search: "cart"},
	} {
		selected := q.Select(&report)
		for _, f := range []struct {
			counts map[string]int
			with   func(Query, string) Query
		}{
			{selected.Namespaces, func(q Query, v string) Query { q.Namespace = v; return q }},
			{selected.Nodes, func(q Query, v string) Query { q.Node = v; return q }},
			{selected.Jobs, func(q Query, v string) Query { q.Job = v; return q }},
			{selected.Verdicts, func(q Query, v string) Query { q.Verdict = v; return q }},
		} {
			for value, n := range f.counts {
				if got := len(f.with(q, value).Select(&report).Rows); got != n {
					t.Errorf("%s: %s has the number %d, but chooses %d rows", name, value, n, got)
				}
			}
		}
	}
}

func TestQueryIsItsLink(t *testing.T) {
	q := Query{Search: "a&b", Namespace: "shop", Node: "n", Job: "j", Verdict: "NOT A TARGET", Cause: "rule:j:1",
		Sort: ByTook, Ascending: true, Rows: ManyRows, Page: 3, Pod: "shop/cart-0"}
	values, err := url.ParseQuery(strings.TrimPrefix(q.Link(), "?"))
	if err != nil {
		t.Fatal(err)
	}
	if got := ParseQuery(values); got != q {
		t.Errorf("got %+v, want %+v", got, q)
	}
	for _, text := range []string{"rows=7", "rows=-1", "page=0", "page=x", "order=asc&sort=none"} {
		values, _ := url.ParseQuery(text)
		if got := ParseQuery(values); got != (Query{Page: 1}) {
			t.Errorf("%s: got %+v", text, got)
		}
	}
	long, _ := url.ParseQuery("search=" + strings.Repeat("%C3%A4", 1000))
	if got := ParseQuery(long).Search; len(got) > maxSearch || !strings.HasSuffix(got, "ä") {
		t.Errorf("a long search is %d bytes", len(got))
	}
}

func TestSortTurns(t *testing.T) {
	q := Query{Page: 3}
	var orders []string
	for range 3 {
		q = q.WithSort(ByBytes)
		orders = append(orders, q.Link())
	}
	if want := []string{"?sort=bytes", "?order=asc&sort=bytes", "?sort=bytes"}; !slices.Equal(orders, want) {
		t.Errorf("got %q, want %q", orders, want)
	}
}
