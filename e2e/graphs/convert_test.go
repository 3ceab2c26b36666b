package graphs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
)

// answers is a Prometheus that has an answer for some expressions. An expression without one has no data.
type answers map[string]model.Vector

func (a answers) Query(_ context.Context, expr string) (model.Vector, error) {
	if strings.Contains(expr, "refused") {
		return nil, errors.New("parse error")
	}
	return a[expr], nil
}

// metrics makes one sample for each set of labels.
func metrics(all ...model.Metric) model.Vector {
	var v model.Vector
	for _, m := range all {
		v = append(v, &model.Sample{Metric: m, Value: 1})
	}
	return v
}

// write puts a file into a new folder and returns the folder.
func write(t *testing.T, name, content string) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return folder
}

// workloads has a variable of each kind, a text, a table, and panels behind and in rows.
const workloads = `{
  "title": "Workloads",
  "templating": {"list": [
    {"name": "datasource", "type": "datasource", "query": "prometheus"},
    {"name": "namespace", "type": "query", "query": {"query": "label_values(requests, namespace)"}},
    {"name": "workload", "type": "query", "regex": "/.*workload=\"([^\"]*).*/",
     "query": "query_result(sum(requests{namespace=\"$namespace\"}) by (workload))"},
    {"name": "from", "type": "query", "query": "label_values(requests{workload=\"$workload\"}, source)",
     "multi": true, "includeAll": true, "current": {"value": "$__all"}},
    {"name": "reporter", "type": "custom", "query": "source, destination", "multi": true,
     "current": {"value": ["destination"]}}
  ]},
  "panels": [
    {"type": "text", "title": "words"},
    {"type": "stat", "title": "Success of $workload", "gridPos": {"w": 8},
     "fieldConfig": {"defaults": {"unit": "percentunit"}},
     "targets": [{"expr": "ok{workload=\"$workload\"}"}]},
    {"type": "row", "title": "Sources"},
    {"type": "timeseries", "title": "Requests", "description": "by source", "gridPos": {"w": 24},
     "fieldConfig": {"defaults": {"unit": "reqps"}},
     "targets": [
       {"expr": "rate(requests{source=~\"${from}\",reporter=~\"[[reporter]]\"}[$__rate_interval])",
        "legendFormat": "{{ source }} ({{code}})"}]},
    {"type": "row", "title": "Folded", "panels": [
      {"type": "table", "title": "All", "gridPos": {"w": 24},
       "fieldConfig": {"overrides": [{"matcher": {"id": "byName", "options": "Value #p50"}, "properties": [
         {"id": "displayName", "value": "Median"}, {"id": "unit", "value": "ms"}, {"id": "decimals", "value": 2}]}]},
       "targets": [{"refId": "p50", "expr": "median"},
	    {"refId": "n", "expr": "label_replace(n, \"a\", \"$1\", \"b\", \"\")"}]}
    ]}
  ]
}`

func TestConvert(t *testing.T) {
	world := answers{
		"group by (namespace) (requests)": metrics(model.Metric{"namespace": "shop"}),
		`sum(requests{namespace="shop"}) by (workload)`: metrics(model.Metric{"workload": "web"},
			model.Metric{"workload": "cart"}, model.Metric{}),
		`group by (source) (requests{workload="web"})`: metrics(model.Metric{"source": "a.b"},
			model.Metric{"source": "c"}),
		`100 * (ok{workload="web"})`:                                      metrics(model.Metric{}),
		`rate(requests{source=~"(a\\.b|c)",reporter=~"destination"}[1m])`: metrics(model.Metric{}),
		"median": metrics(model.Metric{}), // without a workload, so of both
	}
	got, err := Dashboards(t.Context(), world, []string{write(t, "workloads.json", workloads)})
	if err != nil {
		t.Fatal(err)
	}
	median := Panel{Title: "All: Median", Unit: "ms", Expr: []string{"median"}, Alias: []string{""},
		ShowLegend: true, Width: 4}
	want := []Dashboard{{Title: "Workloads", Rows: []Row{
		{Title: "namespace=shop, workload=web", Panels: []Panel{
			{Title: "Success of web", Unit: "%", Expr: []string{`100 * (ok{workload="web"})`},
				Alias: []string{"Success of web"}, ShowLegend: true, Width: 4},
			{Title: "Requests", Description: "by source", Unit: "req/s",
				Expr:  []string{`rate(requests{source=~"(a\\.b|c)",reporter=~"destination"}[1m])`},
				Alias: []string{"{{source}} ({{code}})"}, ShowLegend: true, Width: 12},
			median,
		}},
		{Title: "namespace=shop, workload=cart", Panels: []Panel{median}},
	}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

func TestRowsStay(t *testing.T) {
	const text = `{"title": "Rows", "panels": [
	  {"type": "stat", "title": "first", "targets": [{"expr": "a"}]},
	  {"type": "row", "title": "more"},
	  {"type": "timeseries", "title": "second", "targets": [{"expr": "b"}]},
	  {"type": "timeseries", "title": "third", "targets": [{"expr": "refused"}, {"expr": "nothing"}]},
	  {"type": "row", "title": "empty"},
	  {"type": "timeseries", "title": "fourth", "targets": [{"expr": "nothing"}]}]}`
	world := answers{"a": metrics(model.Metric{}), "b": metrics(model.Metric{})}
	got, err := Dashboards(t.Context(), world, []string{write(t, "rows.json", text)})
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, r := range got[0].Rows {
		row := r.Title + ":"
		for _, p := range r.Panels {
			row += " " + p.Title
		}
		rows = append(rows, row)
	}
	want := []string{"Overview: first", "more: second third"} // vmui shows why the query of third is refused
	if !reflect.DeepEqual(rows, want) {
		t.Errorf("got %q, want %q", rows, want)
	}
}

func TestDashboardsWithoutDataAreLeftOut(t *testing.T) {
	folder := write(t, "a.json", `{"title": "A", "panels": [{"type": "stat", "targets": [{"expr": "nothing"}]}]}`)
	got, err := Dashboards(t.Context(), answers{}, []string{folder})
	if err != nil || len(got) != 0 {
		t.Errorf("got %+v, %v, want none", got, err)
	}
}

func TestBadDashboards(t *testing.T) {
	for name, tc := range map[string]struct{ file, content, want string }{
		"no JSON":       {"a.json", "{", "unexpected end"},
		"another JSON":  {"a.json", `{"kind": "Pod"}`, "not a Grafana dashboard"},
		"an empty list": {"a.txt", "", "has no dashboards"},
		"an unknown query": {"a.json", `{"title": "A", "panels": [{}], "templating": {"list": [
			{"name": "x", "type": "query", "query": "metrics(up)"}]}}`, "A: variable x: neither label_values"},
		"a bad expression": {"a.json", `{"title": "A", "panels": [{}], "templating": {"list": [
			{"name": "x", "type": "query", "query": "label_values(up, job)", "regex": "/(/"}]}}`, "missing closing )"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Dashboards(t.Context(), answers{}, []string{write(t, tc.file, tc.content)})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q in it", err, tc.want)
			}
		})
	}
}
