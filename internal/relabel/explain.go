package relabel

import (
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

// String says the rule in words.
func (s Step) String() string { return Words(s.Rule) }

// Explain runs the rules on l one by one and tells what each did. It ends after a rule that dropped the label set, so
// the last step's Kept says what became of it. No rules, no steps: everything is kept.
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

// Dropped returns the step whose rule dropped the label set.
func Dropped(steps []Step) (Step, bool) {
	if len(steps) == 0 || steps[len(steps)-1].Kept {
		return Step{}, false
	}
	return steps[len(steps)-1], true
}
