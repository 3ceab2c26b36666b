package chart

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

const mixinDir = "../../deploy/mixin"

// TestRule checks that the PrometheusRule holds the alerts file unchanged, with its templates not evaluated by Helm,
// and that promtool's tests of it pass.
func TestRule(t *testing.T) {
	tl := newTools(t, false)
	promtool := filepath.Join(parts.Tools(t, "prometheus", "promtool"), "promtool")
	r := tl.render(t, "x", "x", "-f", valuesFiles(t, "good")["everything"],
		"--set", "prometheusRule.namespace=monitoring")
	rule := r.find("PrometheusRule")
	if got := rule.GetNamespace(); got != "monitoring" || rule.GetLabels()["release"] != "prometheus" {
		t.Errorf("namespace %q, labels %v", got, rule.GetLabels())
	}
	content, err := os.ReadFile(filepath.Join(mixinDir, "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]any
	if err := yaml.Unmarshal(content, &want); err != nil {
		t.Fatal(err)
	}
	if got := rule.Object["spec"]; !reflect.DeepEqual(got, any(want)) {
		t.Errorf("the rule is %v\nwant %v", got, want)
	}
	dir := t.TempDir()
	spec, err := json.Marshal(rule.Object["spec"])
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile(filepath.Join(mixinDir, "alerts_test.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"alerts.yaml": spec, "alerts_test.yaml": tests} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"check", "rules", "--lint-fatal", "alerts.yaml"},
		{"test", "rules", "alerts_test.yaml"}} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

// TestDashboards checks that each dashboard is unchanged in its own ConfigMap, with the label that the sidecar of
// Grafana's chart looks for by default.
func TestDashboards(t *testing.T) {
	tl := newTools(t, false)
	r := tl.render(t, "x", "x", "--set", "remoteWrite[0].url=http://x.example/write",
		"--set", "dashboards.enabled=true",
		"--set", "dashboards.annotations.grafana_folder=Envoy")
	got := map[string]string{}
	for _, o := range r.objects {
		if o.GetKind() != "ConfigMap" || o.GetName() == "x-envoy-scraper" {
			continue
		}
		if o.GetNamespace() != "x" || o.GetLabels()["grafana_dashboard"] != "1" ||
			o.GetAnnotations()["grafana_folder"] != "Envoy" {
			t.Errorf("%s: namespace %q, labels %v, annotations %v", o.GetName(), o.GetNamespace(), o.GetLabels(),
				o.GetAnnotations())
		}
		data, _, err := unstructured.NestedStringMap(o.Object, "data")
		if err != nil || len(data) != 1 {
			t.Errorf("%s holds %d files (%v), want 1", o.GetName(), len(data), err)
		}
		maps.Copy(got, data)
	}
	files, err := filepath.Glob(filepath.Join(mixinDir, "dashboards", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no dashboards: %v", err)
	}
	for _, file := range files {
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if name := filepath.Base(file); got[name] != string(want) {
			t.Errorf("the ConfigMap's copy of %s differs:\n%s", file, got[name])
		}
	}
	if len(got) != len(files) {
		t.Errorf("the ConfigMaps hold %v, want %d dashboards", slices.Collect(maps.Keys(got)), len(files))
	}
}
