package graphs

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// mayBeEmpty holds the queries that have no data in the demo, with the reason. A query belongs to the first entry whose
// texts it all contains: the dashboard's title, the panel's, and the expression.
var mayBeEmpty = []struct {
	dashboard, panel string
	expr             []string
	why              string
}{
	{"Istio Workload Dashboard", "", []string{`reporter="source"`, `connection_security_policy="mutual_tls"`},
		"a client does not know the policy and reports it as unknown, in real meshes too"},
	{"Istio Ztunnel Dashboard", "", nil, "the demo's mesh has sidecars, no ztunnels"},
	{"envoy-scraper", "Failed scrapes by reason", nil, "no scrape fails"},
	{"envoy-scraper", "Kubernetes API server answers", nil, "a file lists the demo's pods, unless DEMO_KUBE=1"},
	{"envoy-scraper", "Time to full", nil, "the queue does not grow, or only at first"},
	{"Envoy", "Connections from clients", nil, "the simulated sidecars do not show envoy_http_downstream_cx_active"},
}

// TestGraphs runs what the demo runs. Each query of each dashboard must have data, and a browser must draw it.
func TestGraphs(t *testing.T) {
	if testing.Short() {
		t.Skip("real parts are not for -short")
	}
	w := newWorld(t)
	w.await(t, 2*time.Minute, `count(count_over_time(istio_build[1m]) >= 3) >= 8`)
	w.await(t, time.Minute, `count_over_time(envoy_scraper_build_info[1m]) >= 3`)
	t.Run("queries", func(t *testing.T) { testQueries(t, w) })
	t.Run("chromium", func(t *testing.T) { testChromium(t, w) })
}

// testQueries checks that each query of each dashboard returns data for at least one choice of the variables' values.
func testQueries(t *testing.T, w *world) {
	queries, err := Queries(t.Context(), w.prometheus, w.folders)
	if err != nil {
		t.Fatal(err)
	}
	unanswered, err := Unanswered(t.Context(), w.prometheus, queries, 2*time.Minute,
		func(q Query) bool { return reason(q) != "" })
	if err != nil {
		t.Fatal(err)
	}
	empty := map[string]int{} // how many, by reason
	for _, q := range unanswered {
		if why := reason(q); why != "" {
			empty[why]++
		} else {
			t.Errorf("%s: %s: no data for %s", q.Dashboard, q.Panel, q.Exprs[0])
		}
	}
	t.Logf("%d queries, %d of them with data", len(queries), len(queries)-len(unanswered))
	for _, why := range slices.Sorted(maps.Keys(empty)) {
		t.Logf("%d without, because %s", empty[why], why)
	}
}

// reason says why a query may have no data, or "" if it must have some.
func reason(q Query) string {
	for _, e := range mayBeEmpty {
		in := func(part string) bool { return strings.Contains(q.Exprs[0], part) }
		if e.dashboard == q.Dashboard && (e.panel == "" || e.panel == q.Panel) &&
			!slices.ContainsFunc(e.expr, func(part string) bool { return !in(part) }) {
			return e.why
		}
	}
	return ""
}
