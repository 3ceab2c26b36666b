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

// ask is a query of a panel.
type ask struct {
	dashboard, panel string
	exprs            []string // one for each choice of values; one of them must return data
}

// testQueries checks that each query of each dashboard returns data for at least one choice of the variables' values.
// It repeats the queries for two minutes: a rate needs two samples of a series that may be new.
func testQueries(t *testing.T, w *world) {
	asks := w.asks(t)
	all := len(asks)
	deadline := time.NewTimer(2 * time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		asks = slices.DeleteFunc(asks, func(a ask) bool {
			return (&Panel{Expr: a.exprs}).hasData(t.Context(), w.prometheus)
		})
		if !slices.ContainsFunc(asks, func(a ask) bool { return reason(a) == "" }) {
			break
		}
		select {
		case <-tick.C:
			continue
		case <-deadline.C:
		}
		break
	}
	empty := map[string]int{} // how many, by reason
	for _, a := range asks {
		why := reason(a)
		empty[why]++
		if why == "" {
			t.Errorf("%s: %s: no data for %s", a.dashboard, a.panel, a.exprs[0])
		}
	}
	t.Logf("%d queries, %d of them with data", all, all-len(asks))
	for _, why := range slices.Sorted(maps.Keys(empty)) {
		t.Logf("%d without, because %s", empty[why], why)
	}
}

// asks returns the queries of all dashboards.
func (w *world) asks(t *testing.T) []ask {
	t.Helper()
	dashboards, err := readFolders(w.folders)
	if err != nil {
		t.Fatal(err)
	}
	var all []ask
	for _, d := range dashboards {
		choices, err := d.choices(t.Context(), w.prometheus)
		if err != nil || len(choices) == 0 {
			t.Fatalf("%s: %d choices of values, error %v", d.Title, len(choices), err)
		}
		first := len(all) // the queries of all choices have the same order
		for _, c := range choices {
			next := first
			for _, r := range d.rows(c.values) {
				for _, p := range r.Panels {
					for _, expr := range p.Expr {
						if next == len(all) {
							all = append(all, ask{dashboard: d.Title, panel: p.Title})
						}
						all[next].exprs = append(all[next].exprs, expr)
						next++
					}
				}
			}
		}
	}
	return all
}

// reason says why a query may have no data, or "" if it must have some.
func reason(a ask) string {
	for _, e := range mayBeEmpty {
		in := func(part string) bool { return strings.Contains(a.exprs[0], part) }
		if e.dashboard == a.dashboard && (e.panel == "" || e.panel == a.panel) &&
			!slices.ContainsFunc(e.expr, func(part string) bool { return !in(part) }) {
			return e.why
		}
	}
	return ""
}
