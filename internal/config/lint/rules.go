package lint

import (
	"fmt"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/envoy-scraper/envoy-scraper/internal/config/yamltree"
)

// ruleList is the relabel_configs or the metric_relabel_configs of a job.
type ruleList struct {
	*linter
	job  Job
	key  string
	list []*relabel.Config
	has  func(label string) bool // whether the label can exist before the first rule
}

// warn adds a warning about the i-th rule, at one of its keys if that was written.
func (r *ruleList) warn(i int, key, why, fix string) {
	path, line, value := fmt.Sprintf("%s.%s[%d]", r.job.Path, r.key, i), r.job.Node.Line, ""
	if nodes := yamltree.Items(yamltree.Get(r.job.Node, r.key)); i < len(nodes) {
		line = nodes[i].Line
		if at := yamltree.Index(nodes[i], key); at >= 0 {
			path, line, value = yamltree.Join(path,
				key), nodes[i].Content[2*at].Line, r.show(nodes[i].Content[2*at+1], "")
		}
	}
	r.linter.warn(r.job, line, path, value, why, fix)
}

// unit returns what the rules select.
func (r *ruleList) unit() string {
	if r.key == "relabel_configs" {
		return "target"
	}
	return "sample"
}

func (r *ruleList) lint() {
	for i, rule := range r.list {
		switch rule.Action {
		case relabel.LabelDrop, relabel.LabelKeep:
			r.lintLabelDrop(i, rule)
		case relabel.Keep, relabel.Drop, relabel.Replace:
			if len(rule.SourceLabels) > 0 && !r.lintAbsent(i, rule) {
				r.lintInit(i, rule)
				r.lintValues(i, rule)
			}
		}
	}
}

// lintLabelDrop warns about dropping __meta_ labels that no later rule reads: labels that start with __ are never
// stored.
func (r *ruleList) lintLabelDrop(i int, rule *relabel.Config) {
	pattern := strings.TrimLeft(rule.Regex.String(), "^(")
	switch {
	case rule.Action == relabel.LabelKeep && r.unit() == "target" && !rule.Regex.MatchString(model.AddressLabel):
		r.warn(i, "regex", "it removes __address__ too, so no target is left",
			"use labeldrop for the labels that are not wanted")
	case rule.Action == relabel.LabelDrop && strings.HasPrefix(pattern, model.MetaLabelPrefix) && !r.readLater(i, rule):
		r.warn(i, "regex", "dropping __meta_ labels changes nothing: labels that start with __ are never stored",
			"remove the rule")
	}
}

// readLater reports whether a rule after the i-th reads a label that the i-th drops.
func (r *ruleList) readLater(i int, drop *relabel.Config) bool {
	for _, rule := range r.list[i+1:] {
		if rule.Action == relabel.LabelMap {
			return true
		}
		for _, name := range rule.SourceLabels {
			if drop.Regex.MatchString(string(name)) {
				return true
			}
		}
	}
	return false
}

// initLabel is "true" for an init container.
const initLabel = "__meta_kubernetes_pod_container_init"

// lintInit warns about dropping init containers: native sidecars are init containers.
func (r *ruleList) lintInit(i int, rule *relabel.Config) {
	if len(rule.SourceLabels) != 1 || rule.SourceLabels[0] != initLabel || !r.untouched(i, initLabel) {
		return
	}
	dropsInit := rule.Action == relabel.Drop && rule.Regex.MatchString("true") ||
		rule.Action == relabel.Keep && !rule.Regex.MatchString("true")
	if dropsInit {
		r.warn(i, "regex", "it drops init containers, and native sidecars are init containers (Istio's by default "+
			"since 1.27)",
			"remove the rule: a keep on the port's name is enough")
	}
}

// untouched reports whether no rule before the i-th can have changed the label.
func (r *ruleList) untouched(i int, label string) bool {
	for _, rule := range r.list[:i] {
		switch {
		case rule.Action == relabel.LabelMap:
			return false
		case rule.TargetLabel == label || strings.Contains(rule.TargetLabel, "$"):
			return false
		}
	}
	return true
}

// onSample reports whether a sample can have a label. Labels that start with __ were removed, except the name.
func onSample(label string) bool {
	return label == model.MetricNameLabel || !strings.HasPrefix(label, "__")
}
