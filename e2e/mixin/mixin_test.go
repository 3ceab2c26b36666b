// Package mixin tests deploy/mixin, the alerts and dashboards. promtool checks the alerts and runs their unit tests.
// Then envoy-scraper scrapes the simulated mesh and a real Envoy into a real Prometheus, and every query of every
// alert, panel and dashboard variable must return data.
//
// To run it alone:
//
//	cd e2e && go test -count=1 -v ./mixin
package mixin

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"

	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

const folder = "../../deploy/mixin"

// mayBeEmpty holds the panels and alerts that return no data when everything works, with the reason.
var mayBeEmpty = map[string]string{
	"envoy-scraper/Time to full": "the queue does not grow, or only at first",
}

// needEnvoy holds the panels for which the simulated mesh has no data.
var needEnvoy = map[string]bool{"envoy-scraper-envoy/Connections from clients": true}

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

// ask is a query that must return data.
type ask struct {
	name string
	// exprs holds the same expression for each value of the dashboard's variables. At least one must return data.
	exprs []string
}

func TestQueries(t *testing.T) {
	if testing.Short() {
		t.Skip("real parts are not for -short")
	}
	w := newWorld(t, parts.Tools(t, "prometheus", "promtool"))
	w.await(t, `count(count_over_time(up{job="envoy-stats"}[1m]) >= 8) >= 7`)
	w.await(t, `count_over_time(envoy_scraper_build_info[1m]) >= 8`)
	w.await(t, `sum(envoy_scraper_remotewrite_samples_accepted_total) > 0`)

	asks := alertAsks(t)
	for _, d := range readDashboards(t) {
		asks = append(asks, d.asks(t, w)...)
	}
	unanswered := w.askAll(t, asks)
	for _, a := range unanswered {
		switch why, may := mayBeEmpty[a.name]; {
		case w.envoy == nil && needEnvoy[a.name]:
			t.Logf("%s: no data without a real Envoy", a.name)
		case may:
			t.Logf("%s: no data, because %s", a.name, why)
		default:
			t.Errorf("%s: no data for %s", a.name, a.exprs[0])
		}
	}
	t.Logf("%d queries, %d of them with data", len(asks), len(asks)-len(unanswered))
}

// askAll repeats the queries until all have data, except those that may be empty, for at most two minutes. A rate needs
// two samples of a series that may be new, and a busy machine misses scrapes. askAll returns the queries without data.
func (w *world) askAll(t *testing.T, asks []ask) []ask {
	t.Helper()
	deadline := time.NewTimer(2 * time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		var open []ask
		wait := false
		for _, a := range asks {
			answered, err := w.answers(t, a)
			if err != nil {
				t.Fatalf("%s: %v", a.name, err)
			}
			if !answered {
				open = append(open, a)
				wait = wait || mayBeEmpty[a.name] == "" && !(w.envoy == nil && needEnvoy[a.name])
			}
		}
		if asks = open; !wait {
			return open
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return open
		}
	}
}

// answers reports whether one of a's expressions returns a number.
func (w *world) answers(t *testing.T, a ask) (bool, error) {
	for _, expr := range a.exprs {
		vector, err := w.prometheus.Query(t.Context(), expr)
		if err != nil {
			return false, err
		}
		for _, s := range vector {
			if !math.IsNaN(float64(s.Value)) {
				return true, nil
			}
		}
	}
	return false, nil
}

// await waits until expr has data. Each poll sends a request through the real Envoy.
func (w *world) await(t *testing.T, expr string) {
	t.Helper()
	deadline := time.NewTimer(2 * time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		if w.envoy != nil {
			if err := w.envoy.Request(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		vector, err := w.prometheus.Query(t.Context(), expr)
		if err == nil && len(vector) > 0 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not in time: %s (%v)", expr, err)
		}
	}
}

// alertAsks returns the alerts' expressions without their comparisons: the compared series must exist, whether or not
// the alert fires.
func alertAsks(t *testing.T) []ask {
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
	var asks []ask
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			expr, err := parser.NewParser(parser.Options{}).ParseExpr(r.Expr)
			if err != nil {
				t.Errorf("%s: %v", r.Alert, err)
				continue
			}
			asks = append(asks, compared(r.Alert, expr)...)
		}
	}
	if len(asks) == 0 {
		t.Fatal("no alerts")
	}
	return asks
}

// compared splits an expression into the sides of its comparisons.
func compared(name string, expr parser.Expr) []ask {
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
	return []ask{{name: name, exprs: []string{expr.String()}}}
}

type dashboard struct {
	UID        string
	Templating struct {
		List []struct{ Name, Type, Query, Regex string }
	}
	Panels []struct {
		Title   string
		Targets []struct{ Expr string }
	}
}

func readDashboards(t *testing.T) []dashboard {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "dashboards", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no dashboards: %v", err)
	}
	var ds []dashboard
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard
		if err := json.Unmarshal(content, &d); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		ds = append(ds, d)
	}
	return ds
}

// asks returns the queries of all panels, for each value of the variables that Grafana would offer.
func (d dashboard) asks(t *testing.T, w *world) []ask {
	choices := []map[string]string{{"__rate_interval": "1m"}}
	for _, v := range d.Templating.List {
		var more []map[string]string
		offered := map[string]bool{}
		for _, c := range choices {
			values := strings.Split(v.Query, ",")
			switch v.Type {
			case "datasource":
				values = []string{"prometheus"}
			case "query":
				values = w.values(t, fill(v.Query, c), v.Regex)
			}
			for _, value := range values {
				offered[value] = true
				with := map[string]string{v.Name: value}
				for name, old := range c {
					with[name] = old
				}
				more = append(more, with)
			}
		}
		if len(offered) == 0 {
			t.Fatalf("%s: the variable %s has no values: %s", d.UID, v.Name, v.Query)
		}
		choices = more
	}
	var asks []ask
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			a := ask{name: d.UID + "/" + p.Title}
			for _, c := range choices {
				a.exprs = append(a.exprs, fill(q.Expr, c))
			}
			asks = append(asks, a)
		}
	}
	return asks
}

var variable = regexp.MustCompile(`\$\w+`)

func fill(text string, values map[string]string) string {
	return variable.ReplaceAllStringFunc(text, func(name string) string { return values[name[1:]] })
}

var (
	labelValues = regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)
	queryResult = regexp.MustCompile(`^query_result\((.+)\)$`)
)

// values returns the values that Grafana would offer for a variable's query.
func (w *world) values(t *testing.T, query, regex string) (values []string) {
	t.Helper()
	var expr string
	var choose func(model.Metric) string
	if m := labelValues.FindStringSubmatch(query); m != nil {
		expr = fmt.Sprintf("group by (%s) (%s)", m[2], m[1])
		choose = func(metric model.Metric) string { return string(metric[model.LabelName(m[2])]) }
	} else if m := queryResult.FindStringSubmatch(query); m != nil {
		re := regexp.MustCompile(strings.Trim(regex, "/"))
		expr = m[1]
		choose = func(metric model.Metric) string {
			if found := re.FindStringSubmatch(metric.String()); found != nil {
				return found[1]
			}
			return ""
		}
	} else {
		t.Fatalf("unsupported variable query: %s", query)
	}
	vector, err := w.prometheus.Query(t.Context(), expr)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range vector {
		if value := choose(s.Metric); value != "" {
			values = append(values, value)
		}
	}
	return values
}
