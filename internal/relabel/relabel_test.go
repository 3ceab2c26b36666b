package relabel

import (
	"math/rand/v2"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	promrelabel "github.com/prometheus/prometheus/model/relabel"
	"go.yaml.in/yaml/v2"
)

// parseRules reads rules in the form of a configuration.
func parseRules(t testing.TB, text string) []*promrelabel.Config {
	t.Helper()
	var rules []*promrelabel.Config
	if err := yaml.UnmarshalStrict([]byte(text), &rules); err != nil {
		t.Fatalf("rules: %v", err)
	}
	for _, r := range rules {
		if err := r.Validate(model.UTF8Validation); err != nil {
			t.Fatalf("rules: %v", err)
		}
	}
	return rules
}

const referenceRules = `
- source_labels: [__meta_kubernetes_pod_container_port_name]
  action: keep
  regex: '.*-envoy-prom'
- source_labels: [__address__, __meta_kubernetes_pod_annotation_prometheus_io_port]
  action: replace
  regex: ([^:]+)(?::\d+)?;(\d+)
  replacement: $1:15090
  target_label: __address__
- action: labeldrop
  regex: __meta_kubernetes_pod_label_(.+)
- source_labels: [__meta_kubernetes_namespace]
  target_label: namespace
`

func TestExplainNamesTheRuleThatDropped(t *testing.T) {
	rules := parseRules(t, referenceRules)
	l := labels.FromStrings("__address__", "10.0.0.1:8080", "__meta_kubernetes_pod_container_port_name", "http")
	steps := Explain(l, rules)
	if len(steps) != 1 {
		t.Fatalf("steps = %d, want 1: none after the rule that dropped", len(steps))
	}
	dropped, ok := Dropped(steps)
	if !ok || dropped.Index != 0 || dropped.Kept || !dropped.Changed() {
		t.Errorf("dropped = %+v, %v, want rule 0", dropped, ok)
	}
	if want := `keep __meta_kubernetes_pod_container_port_name =~ ".*-envoy-prom"`; dropped.String() != want {
		t.Errorf("rule = %s, want %s", dropped, want)
	}
}

func TestExplainShowsTheLabelsAfterEachRule(t *testing.T) {
	rules := parseRules(t, referenceRules)
	l := labels.FromStrings(
		"__address__", "10.0.0.1:9999",
		"__meta_kubernetes_namespace", "shop",
		"__meta_kubernetes_pod_annotation_prometheus_io_port", "15020",
		"__meta_kubernetes_pod_container_port_name", "http-envoy-prom",
	)
	steps := Explain(l, rules)
	if len(steps) != len(rules) {
		t.Fatalf("steps = %d, want %d", len(steps), len(rules))
	}
	for i, want := range []bool{false, true, false, true} {
		if got := steps[i].Changed(); got != want {
			t.Errorf("rule %d (%s) changed = %v, want %v", i, steps[i], got, want)
		}
	}
	last := steps[len(steps)-1].After
	if last.Get("__address__") != "10.0.0.1:15090" || last.Get("namespace") != "shop" {
		t.Errorf("end = %s", last)
	}
	if _, ok := Dropped(steps); ok {
		t.Error("dropped, want kept")
	}
	if steps := Explain(l, nil); len(steps) != 0 {
		t.Errorf("steps without rules: %v", steps)
	}
}

func TestRulesInWords(t *testing.T) {
	for name, c := range map[string]struct{ rule, want string }{
		"keep":        {`{action: keep, source_labels: [a], regex: x}`, `keep a =~ "x"`},
		"drop of two": {`{action: drop, source_labels: [a, b], regex: x;y}`, `drop [a, b] =~ "x;y"`},
		"own separator": {`{action: keep, source_labels: [a, b], separator: "-", regex: x-y}`,
			`keep [a, b joined by "-"] =~ "x-y"`},
		"keepequal": {`{action: keepequal, source_labels: [a], target_label: b}`, `keep a == b`},
		"dropequal": {`{action: dropequal, source_labels: [a], target_label: b}`, `drop a == b`},
		"copy":      {`{source_labels: [a], target_label: b}`, `set b to a`},
		"constant":  {`{target_label: b, replacement: x}`, `set b to "x"`},
		"remove":    {`{target_label: b, replacement: ""}`, `remove label b`},
		"remove if": {`{source_labels: [a], regex: x, target_label: b, replacement: ""}`,
			`remove label b where a =~ "x"`},
		"around the value": {`{source_labels: [a], target_label: b, replacement: "x-$1"}`,
			`set b to "x-$1", $1 being a`},
		"replace": {`{source_labels: [a], regex: (.)y, target_label: b, replacement: "$1"}`,
			`set b to "$1" where a =~ "(.)y"`},
		"hashmod": {`{action: hashmod, source_labels: [a], modulus: 8, target_label: b}`,
			`set b to hash(a) mod 8`},
		"labelmap":  {`{action: labelmap, regex: x_(.+)}`, `copy labels =~ "x_(.+)" to "$1"`},
		"labeldrop": {`{action: labeldrop, regex: x}`, `remove labels =~ "x"`},
		"labelkeep": {`{action: labelkeep, regex: x}`, `remove labels !~ "x"`},
		"lowercase": {`{action: lowercase, source_labels: [a], target_label: b}`, `set b to lowercase(a)`},
		"no source": {`{action: keep, regex: x}`, `keep "" =~ "x"`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Words(parseRules(t, "- "+c.rule)[0]); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// FuzzExplain checks that the last step has the labels that Prometheus makes when it runs all rules at once, and that
// each step begins where the one before it ended.
func FuzzExplain(f *testing.F) {
	for seed := range uint64(64) {
		f.Add(seed, uint8(seed%7))
	}
	pool := parseRules(f, `
- {action: keep, source_labels: [a], regex: "[xyz]*"}
- {action: drop, source_labels: [b, c], regex: "x;z"}
- {action: keepequal, source_labels: [a], target_label: b}
- {action: dropequal, source_labels: [c], target_label: b}
- {source_labels: [a, b], regex: "(.*);(.+)", target_label: c, replacement: "$2$1"}
- {source_labels: [a], regex: "(x)", target_label: "${1}_label"}
- {target_label: d, replacement: w}
- {target_label: a, replacement: ""}
- {source_labels: [missing], target_label: b}
- {action: hashmod, source_labels: [a, c], modulus: 3, target_label: h}
- {action: labelmap, regex: "(.)", replacement: "m_$1"}
- {action: labelmap, regex: "m_(.)"}
- {action: labeldrop, regex: "[bh]"}
- {action: labelkeep, regex: "a|b|m_.*"}
- {action: uppercase, source_labels: [a], target_label: a}
- {action: lowercase, source_labels: [c], target_label: d}
`)
	f.Fuzz(func(t *testing.T, seed uint64, n uint8) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var rules []*promrelabel.Config
		for range n % 12 {
			rules = append(rules, pool[rng.IntN(len(pool))])
		}
		b := labels.NewScratchBuilder(0)
		for _, name := range []string{"a", "b", "c", "m_q"} {
			if v := rng.IntN(4); v > 0 {
				b.Add(name, string("wxyz"[v]))
			}
		}
		l := b.Labels()
		whole := labels.NewBuilder(l)
		kept := promrelabel.ProcessBuilder(whole, rules...)
		want := whole.Labels()
		steps := Explain(l, rules)
		got, explainedKept := l, true
		for i, s := range steps {
			if s.Index != i || s.Rule != rules[i] || !labels.Equal(s.Before, got) {
				t.Fatalf("step %d does not follow the one before: %+v", i, s)
			}
			got, explainedKept = s.After, s.Kept
		}
		if explainedKept != kept || kept && !labels.Equal(got, want) {
			t.Fatalf("explained %s, %v; Prometheus %s, %v", got, explainedKept, want, kept)
		}
	})
}
