package cost

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"
)

func parseForm(text string) (url.Values, error) { return url.ParseQuery(text) }

// TestVariablesAreFilledIn: what a variable of Grafana stands for follows from its place.
func TestVariablesAreFilledIn(t *testing.T) {
	for expr, want := range map[string]struct{ names, patterns string }{
		`rate(a_total{x=~"$x"}[$__rate_interval])`:                 {names: "a_total"},
		`rate(a_total[$__interval]) > $threshold`:                  {names: "a_total"},
		`sum by ($group) (rate(a_total[${window}]))`:               {names: "a_total"},
		`topk($n, a offset $before)`:                               {names: "a"},
		`histogram_quantile($q, sum by (le) (rate(a_bucket[5m])))`: {names: "a_bucket"},
		`${prefix}_requests_total{x="[[y:regex]]"}`:                {patterns: ".*_requests_total"},
		`$metric{a="b"}`:               {patterns: ".*"},
		`sum($metric)`:                 {patterns: ".*"},
		`[[metric]]{a="b"}`:            {patterns: ".*"},
		`{__name__=~"istio_.*|$more"}`: {patterns: "istio_.*|.*"},
		`{__name__="x"}`:               {names: "x"},
		`{job="a"}`:                    {patterns: ".+"},
		`a{b="$c$d"} / on(e) group_left(f) g{b!~'[[c]]'}`:            {names: "a g"},
		`label_replace(a, "x", "$1", "y", "(.*)")`:                   {names: "a"},
		`rate(a[$__range]) * $__range_s + b @ ${__from}`:             {names: "a b"},
		`increase(a[$__rate_interval:$__interval])`:                  {names: "a"},
		`sum(rate(a_total{r=~"${r:pipe}"}[${__rate_interval}])) > 0`: {names: "a_total"},
	} {
		var u Usage
		u.expr("f", "w", expr)
		slices.Sort(u.Names)
		if names, patterns := strings.Join(u.Names, " "), strings.Join(u.Patterns, " "); names != want.names ||
			patterns != want.patterns || len(u.Problems) > 0 {
			t.Errorf("%s: names %q, patterns %q, problems %q; want %q, %q", expr, names, patterns, u.Problems,
				want.names, want.patterns)
		}
	}
}

const classicRows = `{"dashboard": {"title": "old", "rows": [{"panels": [
 {"title": "p", "targets": [{"expr": "rate(a_total{code=~\"$code\"}[5m])", "legendFormat": "{{ zone }}"}]}]}],
 "templating": {"list": [
  {"type": "query", "query": "label_values(b{x=\"y\"}, code)"},
  {"type": "query", "query": {"query": "query_result(sum(c) by (place))", "refId": "x"}},
  {"type": "query", "query": "label_values(only_label)"},
  {"type": "custom", "query": "one,two"}, {"type": "datasource", "query": "prometheus"}]},
 "annotations": {"list": [{"datasource": {"type": "loki"}, "expr": "{app=\"x\"} |= \"y\""}]}}}`

const nestedPanels = `{"panels": [{"type": "row", "panels": [{"targets": [{"expr": "d"}, {"expr": ""}]}]}]}`

const ruleFile = `
groups:
- name: g
  rules:
  - {record: "job:a:rate5m", expr: "sum by (job) (rate(a_total[5m]))"}
  - {alert: A, expr: "job:a:rate5m > 1 or up == 0"}
---
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
spec: {groups: [{name: h, rules: [{alert: B, expr: "e > 0"}]}]}
`

const configMap = "apiVersion: v1\nkind: ConfigMap\ndata:\n  board.json: |\n    " +
	`{"panels": [{"targets": [{"expr": "f"}]}]}` + "\n"

func TestUsageOfFiles(t *testing.T) {
	for name, tc := range map[string]struct{ text, names, labels string }{
		"classic rows":     {classicRows, "a_total b c", "code only_label place x zone"},
		"nested panels":    {nestedPanels, "d", ""},
		"rules":            {ruleFile, "a_total e job:a:rate5m up", "job"},
		"a ConfigMap":      {configMap, "f", ""},
		"with a BOM":       {"\ufeff" + nestedPanels, "d", ""},
		"a list of panels": {"[" + nestedPanels + "]", "d", ""},
	} {
		var u Usage
		if err := u.ParseUsage("f", []byte(tc.text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		slices.Sort(u.Names)
		slices.Sort(u.Labels)
		if got := strings.Join(u.Names, " "); got != tc.names || len(u.Problems) > 0 {
			t.Errorf("%s: names %q, want %q; problems %q", name, got, tc.names, u.Problems)
		}
		if got := strings.Join(u.Labels, " "); got != tc.labels {
			t.Errorf("%s: labels %q, want %q", name, got, tc.labels)
		}
	}
}

// TestBadUsage: a file that is no dashboard is refused with one sentence that says what to give.
func TestBadUsage(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "f is empty: give a dashboard",
		"<!DOCTYPE html><html>":    "f is a web page, not a dashboard: give the JSON that Grafana exports",
		`{"panels": [`:             "f begins like JSON, but",
		`{"panels": []}`:           "f is no dashboard and has no rules",
		"a: [":                     "f is neither JSON nor YAML",
		"just a sentence":          "f is no dashboard and has no rules",
		"\x00\x01":                 "f is not text",
		strings.Repeat("[", 20000): "f begins like JSON, but",
	} {
		var u Usage
		err := u.ParseUsage("f", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.30q: %v, want %q", text, err, want)
		}
	}
	var u Usage
	broken := `{"panels": [{"title": "p", "targets": [{"expr": "sum("}, {"expr": "a"}]}]}`
	if err := u.ParseUsage("f", []byte(broken)); err != nil || len(u.Problems) != 1 ||
		!strings.Contains(u.Problems[0], "f, p: sum(") {
		t.Errorf("%v, problems %q, want the place of the expression", err, u.Problems)
	}
	big := make([]byte, MaxUsageFile+1)
	if err := u.ParseUsage("f", big); err == nil || !strings.Contains(err.Error(), "larger than 32.0 MiB") {
		t.Errorf("%v", err)
	}
}

// TestOwnDashboards: every expression of our own dashboards and rules is read.
func TestOwnDashboards(t *testing.T) {
	files, err := filepath.Glob("../../deploy/mixin/dashboards/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(err, "no dashboards")
	}
	for _, file := range append(files, "../../deploy/mixin/alerts.yaml") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var u Usage
		if err := u.ParseUsage(file, text); err != nil || len(u.Problems) > 0 || len(u.Names) < 3 {
			t.Errorf("%v, problems %q, names %q", err, u.Problems, u.Names)
		}
	}
}

func TestKeepUsed(t *testing.T) {
	m := newMesh(t, "", shop())
	var u Usage
	for file, text := range map[string]string{
		"board.json": `{"panels": [{"targets": [{"expr": "rate(istio_requests_total{response_code=\"$c\"}[5m])"},
			{"expr": "rate(istio_request_bytes_sum[5m]) + container_memory + up"}]}]}`,
		"rules.yml": "groups: [{rules: [{record: 'a:b', expr: 'sum(envoy_server_uptime)'}, " +
			"{alert: A, expr: 'a:b > 1'}]}]",
	} {
		if err := u.ParseUsage(file, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	form := u.Values()
	form.Set("by", "family")
	q, err := ParseQuery(form)
	if err != nil {
		t.Fatal(err)
	}
	w := m.report(t, Query{Used: q.Used}).WhatIf[0]
	if w.Gone.Series != 44+4 || w.Left.Series != 74-48 || !w.Safe {
		t.Errorf("%+v, want 48 series gone", w)
	}
	if got := fmt.Sprint(w.Missing); got != "[container_memory]" {
		t.Errorf("missing: %s, want container_memory alone", got)
	}
	if got, want := fmt.Sprint(w.Families), "[istio_request_bytes_bucket istio_request_bytes_count "+
		"envoy_cluster_upstream_rq_timeout]"; got != want {
		t.Errorf("would go: %s, want %s", got, want)
	}
	if !slices.Contains(w.UnusedLabels, "source_principal") || slices.Contains(w.UnusedLabels, "response_code") {
		t.Errorf("unused labels: %v", w.UnusedLabels)
	}
}

// TestPatternsAreBounded: a short pattern can ask for gigabytes.
func TestPatternsAreBounded(t *testing.T) {
	m := newMesh(t, "", shop())
	for name, tc := range map[string]struct {
		patterns []string
		want     string
	}{
		"repeated":        {[]string{strings.Repeat("x{1000}", 3300)}, "repeated more than 20 times"},
		"nested":          {[]string{"(?:(?:x{5}){5}){2,}"}, "repeated more than 20 times"},
		"Unicode classes": {[]string{strings.Repeat(`\pL`, 20_000)}, "classes of Unicode are too large"},
		"long":            {[]string{strings.Repeat("x", 40<<10), strings.Repeat("y", 40<<10)}, "at most 64.0 KiB"},
		"broken":          {[]string{"("}, "missing closing )"},
	} {
		form := url.Values{"used_file": {"f"}, "used_pattern": tc.patterns}
		q, err := ParseQuery(form)
		if err == nil {
			_, err = m.costs().Report(t.Context(), q)
		}
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
		var u Usage // of a file, such a pattern keeps everything
		for _, p := range tc.patterns {
			u.pattern(p)
		}
		if !slices.Contains(u.Patterns, everything) || bytesOf(u.Patterns) > maxPattern {
			t.Errorf("%s: %.100q do not keep everything", name, u.Patterns)
		}
	}
	for p, want := range map[string]int{"a(b{2}){1,3}": 6, "x*": 1, "(x{3}|y{4})z": 4, "(a{3,}){2}": 6} {
		re, err := syntax.Parse(p, syntax.Perl)
		if err != nil {
			t.Fatal(err)
		}
		if got := repeats(re); got != want {
			t.Errorf("%s: %d repeats, want %d", p, got, want)
		}
	}
}

// TestQueriesOfPanels: the field query has PromQL in some panels, and other languages in others.
func TestQueriesOfPanels(t *testing.T) {
	for name, tc := range map[string]struct{ query, names, labels string }{
		"PromQL that ends like a call": {`{"refId": "A", "query": "sum by (zone) (rate(a_total[5m]))"}`, "a_total",
			"zone"},
		"PromQL":          {`{"refId": "A", "query": "rate(a_total[5m]) > 1"}`, "a_total", ""},
		"a call":          {`{"refId": "A", "query": "rate(a_total[5m])"}`, "a_total", ""},
		"names of labels": {`{"refId": "A", "query": "label_names()"}`, "", ""},
		"Loki": {`{"refId": "A", "datasource": {"type": "loki"}, "query": "count_over_time({app=\"x\"}[5m])"}`, "",
			""},
		"Loki's labels": {`{"datasource": {"type": "loki"}, "definition": "label_values(app)"}`, "", ""},
	} {
		var u Usage
		if err := u.ParseUsage("f", []byte(`{"targets": [{"expr": "z"}, `+tc.query+`]}`)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		names := slices.DeleteFunc(u.Names, func(name string) bool { return name == "z" })
		if strings.Join(names, " ") != tc.names || strings.Join(u.Labels, " ") != tc.labels || len(u.Problems) > 0 {
			t.Errorf("%s: names %q, labels %q, problems %q", name, names, u.Labels, u.Problems)
		}
	}
}

// TestTooManyNamesKeepEverything: no name is lost silently.
func TestTooManyNamesKeepEverything(t *testing.T) {
	u := Usage{Names: make([]string, maxNames)}
	u.name("")
	if len(u.Patterns) > 0 {
		t.Errorf("patterns: %q for a name that is known", u.Patterns)
	}
	if u.name("one_more"); len(u.Names) != maxNames || !slices.Contains(u.Patterns, everything) {
		t.Errorf("%d names, patterns %q", len(u.Names), u.Patterns)
	}
}

// TestProblemsAreShown: an answer that rests on unread expressions lists them.
func TestProblemsAreShown(t *testing.T) {
	var u Usage
	dashboard := `{"panels": [{"title": "p", "targets": [{"expr": "sum("}, {"expr": "a"}]}]}`
	if err := u.ParseUsage("f", []byte(dashboard)); err != nil {
		t.Fatal(err)
	}
	r := newMesh(t, "", shop()).report(t, Query{Used: &u})
	var text strings.Builder
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text.String(), "  Could not be read:\n    f, p: sum(") || r.WhatIf[0].Safe {
		t.Errorf("%s", text.String())
	}
}

// TestSlowPatternsEnd: matching ends with the context.
func TestSlowPatternsEnd(t *testing.T) {
	m := newMesh(t, "", shop())
	u := Usage{Files: []string{"f"}, Patterns: []string{"x"}}
	matcher, err := u.matcher()
	if err != nil {
		t.Fatal(err)
	}
	pages, _ := m.pools.LastPages()
	defer func() {
		for i := range pages {
			pages[i].Release()
		}
	}()
	tally := count(pages, &tableReader{table: m.table}, nil, nil, nil, false)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tally.keepUsed(ctx, &u, matcher); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}
