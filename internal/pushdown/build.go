package pushdown

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/relabel"
)

// Build returns an expression for the parameter filter of /stats/prometheus. The expression finds every stat of which
// the rules, the metric_relabel_configs of a job, may keep a series. If Build knows none that leaves something out,
// filter is empty and why has the reason: a clause that begins in lower case and has no full stop.
func Build(rules []*relabel.Config) (filter, why string) {
	var drops []nameRule
	best, refusals := terms(nil), []string(nil)
	for _, r := range leadingRules(rules) {
		if r.action == relabel.Drop {
			drops = append(drops, r)
			continue
		}
		found, refusal := termsOf(r)
		switch {
		case refusal != "":
			refusals = append(refusals, refusal)
		case best == nil || found.weakest() > best.weakest():
			best = found // a series must pass every keep, so the strictest is enough
		}
	}
	if best != nil {
		return best.String(), ""
	}
	if filter := withoutDropped(drops); filter != "" {
		return filter, ""
	}
	if len(drops) > 0 {
		refusals = append(refusals, "no part of Envoy is dropped whole, as envoy_cluster_.* and "+
			"istio_request_bytes.* would do")
	}
	if len(refusals) == 0 {
		return "", "no rule keeps or drops by __name__ alone, or a rule before it changes labels"
	}
	return "", strings.Join(refusals, "; ")
}

// nameRule is a rule of which the only source label is __name__.
type nameRule struct {
	*relabel.Config
	action relabel.Action // Keep or Drop
	index  int            // in metric_relabel_configs
	names  []prefix       // of the names that its regex matches
}

func (r nameRule) String() string {
	return fmt.Sprintf("metric_relabel_configs[%d], %q", r.index, r.Regex.String())
}

// leadingRules returns the rules that keep or drop by __name__ alone and see the name as the page has it, which are
// those before the first rule that changes labels. Rules that keep or drop by other labels change none.
func leadingRules(rules []*relabel.Config) (leading []nameRule) {
	for i, r := range rules {
		switch r.Action {
		case relabel.Keep, relabel.Drop:
			if slices.Equal(r.SourceLabels, model.LabelNames{model.MetricNameLabel}) {
				leading = append(leading, nameRule{r, r.Action, i, prefixesOf(r.Regex)})
			}
		case relabel.KeepEqual, relabel.DropEqual:
		default:
			return leading
		}
	}
	return leading
}
