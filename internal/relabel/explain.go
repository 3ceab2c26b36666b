// Package relabel explains relabel rules to people: Explain runs them one by one on the labels of a target and returns
// what each did (explain.go), and Words puts one rule into words (words.go):
//
//	keep __meta_kubernetes_pod_container_port_name =~ ".*-envoy-prom"
//
// It is not on the way of the data. Targets, pages and samples are relabeled by prometheus/model/relabel itself, which
// Explain calls too, so that an explanation cannot differ from what happens.
package relabel

import (
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	promrelabel "github.com/prometheus/prometheus/model/relabel"
)

// Step is what one rule did to a label set.
type Step struct {
	Index  int                 // of the rule, from 0
	Rule   *promrelabel.Config // shared with the configuration
	Before labels.Labels
	After  labels.Labels // as Before where the rule dropped the set
	Kept   bool          // false: this rule dropped the label set
}

// Changed reports whether the rule made a difference.
func (s Step) Changed() bool { return !s.Kept || !labels.Equal(s.Before, s.After) }

// String returns the rule in words.
func (s Step) String() string { return Words(s.Rule) }

// Value returns what the rule looked at: the values of its source labels, joined. show returns what people may see of
// the value of a label.
func (s Step) Value(show func(label, value string) string) string {
	values := make([]string, len(s.Rule.SourceLabels))
	for i, name := range s.Rule.SourceLabels {
		values[i] = show(string(name), s.Before.Get(string(name)))
	}
	return strings.Join(values, s.Rule.Separator)
}

// Explain runs the rules on l one by one and returns a step for each. It ends with a rule that drops the label set, so
// the last step's Kept says whether it was dropped. Without rules there are no steps: every label set is kept.
func Explain(l labels.Labels, rules []*promrelabel.Config) []Step {
	steps := make([]Step, 0, len(rules))
	b := labels.NewBuilder(l)
	before := l
	for i, rule := range rules {
		kept := promrelabel.ProcessBuilder(b, rule)
		after := before
		if kept {
			after = b.Labels()
		}
		steps = append(steps, Step{Index: i, Rule: rule, Before: before, After: after, Kept: kept})
		if !kept {
			break
		}
		before = after
	}
	return steps
}

// Dropped returns the step whose rule dropped the label set, if one did.
func Dropped(steps []Step) (Step, bool) {
	if len(steps) == 0 || steps[len(steps)-1].Kept {
		return Step{}, false
	}
	return steps[len(steps)-1], true
}
