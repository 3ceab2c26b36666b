// Package mixin tests deploy/mixin, the alerts and dashboards. promtool checks the alerts and runs their unit tests.
// Then envoy-scraper scrapes the simulated mesh and a real Envoy into a real Prometheus, and every query of every
// alert, panel and dashboard variable must return data.
//
// To run it alone:
//
//	cd e2e && go test -count=1 -v ./mixin
package mixin

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"

	"github.com/envoy-scraper/envoy-scraper/e2e/graphs"
	"github.com/envoy-scraper/envoy-scraper/e2e/meshtest"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

const folder = "../../deploy/mixin"

// mayBeEmpty holds the panels that return no data when everything works, with the reason.
var mayBeEmpty = map[string]string{
	"envoy-scraper: Time to full": "the queue does not grow, or only at first",
}

// needEnvoy is the panel for which the simulated mesh has no data.
const needEnvoy = "Envoy: Connections from clients"

func TestPromtool(t *testing.T) {
	if testing.Short() {
		t.Skip("real parts are not for -short")
	}
	promtool := filepath.Join(parts.Tools(t, "prometheus", "promtool"), "promtool")
	for _, args := range [][]string{
		{"check", "rules", "--lint-fatal", "alerts.yaml"},
		{"test", "rules", "alerts_test.yaml"},
	} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = folder
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

func TestQueries(t *testing.T) {
	if testing.Short() {
		t.Skip("real parts are not for -short")
	}
	w := newWorld(t)
	w.await(t, `count(count_over_time(up{job="envoy-stats"}[1m]) >= 3) >= 8`)
	w.await(t, `count_over_time(envoy_scraper_build_info[1m]) >= 3`)
	w.await(t, `sum(envoy_scraper_remotewrite_samples_accepted_total) > 0`)

	queries, err := graphs.Queries(t.Context(), w.prometheus, []string{filepath.Join(folder, "dashboards")})
	if err != nil {
		t.Fatal(err)
	}
	queries = append(queries, alertQueries(t)...)
	unanswered, err := graphs.Unanswered(t.Context(), w.prometheus, queries, 2*time.Minute,
		func(q graphs.Query) bool { return w.reason(q) != "" })
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range unanswered {
		if why := w.reason(q); why != "" {
			t.Logf("%s: no data, because %s", name(q), why)
		} else {
			t.Errorf("%s: no data for %s", name(q), q.Exprs[0])
		}
	}
	t.Logf("%d queries, %d of them with data", len(queries), len(queries)-len(unanswered))
}

func name(q graphs.Query) string { return q.Dashboard + ": " + q.Panel }

// reason says why a query may have no data, or "" if it must have some.
func (w *world) reason(q graphs.Query) string {
	if w.envoy == nil && name(q) == needEnvoy {
		return "there is no real Envoy here"
	}
	return mayBeEmpty[name(q)]
}

// await waits until expr has data. Each poll sends a request through the real Envoy.
func (w *world) await(t *testing.T, expr string) {
	t.Helper()
	parts.Eventually(t, 2*time.Minute, expr, func() error {
		if w.envoy != nil {
			if err := w.envoy.Request(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		return meshtest.HasData(t.Context(), w.prometheus, expr)
	})
}

// alertQueries returns the alerts' expressions without their comparisons: the compared series must exist, whether the
// alert fires or not.
func alertQueries(t *testing.T) []graphs.Query {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(folder, "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
			}
		}
	}
	if err := yaml.Unmarshal(content, &file); err != nil {
		t.Fatal(err)
	}
	var queries []graphs.Query
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			expr, err := parser.NewParser(parser.Options{}).ParseExpr(r.Expr)
			if err != nil {
				t.Errorf("%s: %v", r.Alert, err)
				continue
			}
			queries = append(queries, compared(r.Alert, expr)...)
		}
	}
	if len(queries) == 0 {
		t.Fatal("no alerts")
	}
	return queries
}

// compared splits an expression into the sides of its comparisons.
func compared(name string, expr parser.Expr) []graphs.Query {
	switch e := expr.(type) {
	case *parser.ParenExpr:
		return compared(name, e.Expr)
	case *parser.BinaryExpr:
		if e.Op.IsSetOperator() && e.Op != parser.LUNLESS {
			return append(compared(name, e.LHS), compared(name, e.RHS)...)
		}
		if e.Op.IsComparisonOperator() {
			return compared(name, e.LHS)
		}
	case *parser.Call:
		if e.Func.Name == "absent" {
			return compared(name, e.Args[0])
		}
	}
	return []graphs.Query{{Dashboard: "alert", Panel: name, Exprs: []string{expr.String()}}}
}
