package main

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// chartFiles is the folder of the Helm chart with copies of the alerts and dashboards.
const chartFiles = "../helm/envoy-scraper/files"

// maxConfigMap is the size limit of a ConfigMap. The chart makes one of each dashboard.
const maxConfigMap = 1 << 20

func TestDashboardsAreCurrent(t *testing.T) {
	var want []string
	for _, d := range dashboards() {
		content, err := encode(d)
		if err != nil {
			t.Fatal(err)
		}
		if len(content) > maxConfigMap {
			t.Errorf("%s has %d bytes, more than the %d of a ConfigMap", d.UID, len(content), maxConfigMap)
		}
		want = append(want, d.UID+".json")
		for _, dir := range []string{"dashboards", chartFiles + "/dashboards"} {
			checkCurrent(t, filepath.Join(dir, d.UID+".json"), content)
		}
	}
	slices.Sort(want)
	for _, dir := range []string{"dashboards", chartFiles + "/dashboards"} {
		entries, err := os.ReadDir(dir)
		var got []string
		for _, e := range entries {
			got = append(got, e.Name())
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("the folder %s holds %v, want %v (%v)", dir, got, want, err)
		}
	}
}

func TestChartsAlertsAreCurrent(t *testing.T) {
	checkCurrent(t, chartFiles+"/alerts.yaml", alerts)
}

func checkCurrent(t *testing.T, file string, want []byte) {
	t.Helper()
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not current (%v): make mixin writes it", file, err)
	}
}

// variableUsed matches the variables in a query or a title. Grafana's own begin with two underscores.
var variableUsed = regexp.MustCompile(`\$\{?(\w+)\}?`)

func TestDashboardsHoldTogether(t *testing.T) {
	uids := map[string]bool{}
	for _, d := range dashboards() {
		if uids[d.UID] {
			t.Errorf("uid %s twice", d.UID)
		}
		uids[d.UID] = true
		used := map[string]bool{"datasource": false}
		for _, v := range d.Templating.List {
			used[v.Name] = false
		}
		use := func(where, text string) {
			for _, m := range variableUsed.FindAllStringSubmatch(text, -1) {
				if _, known := used[m[1]]; !known && m[1] != "__rate_interval" {
					t.Errorf("%s: %s uses the variable %s, which is not there", d.UID, where, m[1])
				}
				used[m[1]] = true
			}
		}
		for _, v := range d.Templating.List {
			use("variable "+v.Name, v.Query)
			if v.Type == "query" {
				use("variable "+v.Name, v.Source.UID)
			}
		}
		checkPanels(t, d, use)
		for name, is := range used {
			if !is {
				t.Errorf("%s: nothing uses the variable %s", d.UID, name)
			}
		}
	}
}

func checkPanels(t *testing.T, d dashboard, use func(where, text string)) {
	ids := map[int]bool{}
	for i, p := range d.Panels {
		if p.ID == 0 || ids[p.ID] || p.Title == "" {
			t.Errorf("%s: panel %q has the id %d, which is 0 or taken, or no title", d.UID, p.Title, p.ID)
		}
		ids[p.ID] = true
		for _, q := range d.Panels[:i] {
			if overlap(p.GridPos, q.GridPos) || p.GridPos.X+p.GridPos.W > 24 {
				t.Errorf("%s: panel %q lies on %q, or beyond the edge", d.UID, p.Title, q.Title)
			}
		}
		if p.Type == "row" {
			continue
		}
		if len(p.Targets) == 0 {
			t.Errorf("%s: panel %q asks for nothing", d.UID, p.Title)
		}
		for _, q := range p.Targets {
			use("panel "+p.Title, q.Expr)
			if q.Source != fromVariable || *p.Source != fromVariable {
				t.Errorf("%s: panel %q names a data source", d.UID, p.Title)
			}
		}
		use("panel "+p.Title, p.Source.UID)
	}
}

func overlap(a, b place) bool {
	return a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H
}

type alert struct {
	Name        string            `yaml:"alert"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

func readAlerts(t *testing.T) []alert {
	t.Helper()
	content, err := os.ReadFile("alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []alert `yaml:"rules"`
		} `yaml:"groups"`
	}
	if err := yaml.Unmarshal(content, &file); err != nil {
		t.Fatal(err)
	}
	var alerts []alert
	for _, g := range file.Groups {
		alerts = append(alerts, g.Rules...)
	}
	if len(alerts) == 0 {
		t.Fatal("no alerts")
	}
	return alerts
}

func TestAlertsSayWhatToDo(t *testing.T) {
	const runbook = "https://github.com/envoy-scraper/envoy-scraper/blob/main/docs/runbook.md#"
	for _, a := range readAlerts(t) {
		if s := a.Labels["severity"]; s != "critical" && s != "warning" && s != "info" {
			t.Errorf("%s: severity %q", a.Name, s)
		}
		if want := runbook + strings.ToLower(a.Name); a.Annotations["runbook_url"] != want {
			t.Errorf("%s: runbook_url %q, want %q", a.Name, a.Annotations["runbook_url"], want)
		}
		if a.Annotations["summary"] == "" || a.Annotations["description"] == "" {
			t.Errorf("%s: no summary or no description", a.Name)
		}
	}
}

// TestRunbookHasEachAlert fails if an alert has no complete section in the runbook, or a section has no alert.
func TestRunbookHasEachAlert(t *testing.T) {
	text, err := os.ReadFile("../../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for _, section := range strings.Split(string(text), "\n## ")[1:] {
		name, body, _ := strings.Cut(section, "\n")
		sections[name] = body
	}
	for _, a := range readAlerts(t) {
		body, ok := sections[a.Name]
		for _, part := range []string{"**Means:**", "**Look at:**", "**Do:**"} {
			if !ok || !strings.Contains(body, part) {
				t.Errorf("docs/runbook.md, section %s: no %s", a.Name, part)
			}
		}
		delete(sections, a.Name)
	}
	for name := range maps.Keys(sections) {
		t.Errorf("docs/runbook.md has the section %s, but there is no such alert", name)
	}
}

// TestEachAlertHasAUnitTest fails if alerts_test.yaml, which e2e/mixin runs, lacks a case in which an alert fires, or
// a case in which it does not.
func TestEachAlertHasAUnitTest(t *testing.T) {
	content, err := os.ReadFile("alerts_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Tests []struct {
			Checks []struct {
				Alert string `yaml:"alertname"`
				Fires []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		} `yaml:"tests"`
	}
	if err := yaml.Unmarshal(content, &file); err != nil {
		t.Fatal(err)
	}
	fires, quiet := map[string]bool{}, map[string]bool{}
	for _, test := range file.Tests {
		for _, c := range test.Checks {
			fires[c.Alert] = fires[c.Alert] || len(c.Fires) > 0
			quiet[c.Alert] = quiet[c.Alert] || len(c.Fires) == 0
		}
	}
	for _, a := range readAlerts(t) {
		if !fires[a.Name] || !quiet[a.Name] {
			t.Errorf("%s: a test where it fires %v, one where it does not %v, want both", a.Name, fires[a.Name],
				quiet[a.Name])
		}
	}
}
