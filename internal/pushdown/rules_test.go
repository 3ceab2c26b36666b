package pushdown

import (
	"math/rand/v2"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/relabel"
)

// someRules returns a list of metric_relabel_configs as users write them, about the names of a page.
func someRules(r *rand.Rand, names []string) []*relabel.Config {
	var rules []*relabel.Config
	for range 1 + r.IntN(4) {
		rules = append(rules, someRule(r, names))
	}
	return rules
}

func someRule(r *rand.Rand, names []string) *relabel.Config {
	rule := relabel.DefaultRelabelConfig
	rule.NameValidationScheme = model.UTF8Validation
	rule.SourceLabels = model.LabelNames{model.MetricNameLabel}
	rule.Action = relabel.Keep
	switch r.IntN(12) {
	case 0: // another label
		rule.SourceLabels, rule.Regex = model.LabelNames{"pod"}, relabel.MustNewRegexp("a|b")
		return &rule
	case 1: // another name
		rule.Action, rule.TargetLabel, rule.Replacement = relabel.Replace, model.MetricNameLabel, "x_$1"
		rule.Regex = relabel.MustNewRegexp("(?:envoy|istio)_(.*)")
		return &rule
	case 2, 3, 4, 5, 6:
		rule.Action = relabel.Drop
	}
	rule.Regex = relabel.MustNewRegexp(someRegex(r, names))
	return &rule
}

// someRegex returns a regex about names.
func someRegex(r *rand.Rand, names []string) string {
	var alternatives []string
	for range 1 + r.IntN(4)*r.IntN(4) {
		alternatives = append(alternatives, alternative(r, names[r.IntN(len(names))]))
	}
	regex := strings.Join(alternatives, "|")
	switch r.IntN(8) {
	case 0:
		return "(" + regex + ")"
	case 1:
		return "^(?:" + regex + ")$"
	case 2:
		return "(?:" + regex + ")(?:_bucket|_sum|_count)?"
	case 3:
		return "(?:" + regex + ").*"
	default:
		return regex
	}
}

// alternative returns a regex that matches the name, or nearly.
func alternative(r *rand.Rand, name string) string {
	cut := r.IntN(len(name) + 1)
	words := strings.Split(name, "_")
	word := r.IntN(len(words))
	switch r.IntN(14) {
	case 0, 1, 2:
		return name
	case 3:
		return name[:cut] + ".*"
	case 4:
		return name[:cut] + ".+"
	case 5, 6:
		return strings.Join(words[:word+1], "_") + "_.*"
	case 7:
		return strings.Join(words[:word+1], "_") + ".*"
	case 8:
		return strings.Join(words[:word], "_") + ".*" + words[len(words)-1]
	case 9:
		return name[:cut] + "[a-z_]*"
	case 10:
		words[word] = "(" + words[word] + "|other)"
		return strings.Join(words, "_")
	case 11:
		words[word] = "(?:" + words[word] + "_)?x{0,2}[0-9]?"
		return strings.Join(words, "_")
	case 12:
		if cut == len(name) {
			cut = 0
		}
		return name[:cut] + "[" + name[cut:cut+1] + "x_]" + name[cut+1:]
	default:
		return "(?i)" + name
	}
}
