package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"go.yaml.in/yaml/v3"

	"github.com/envoy-scraper/envoy-scraper/internal/aggregate"
	"github.com/envoy-scraper/envoy-scraper/internal/config/yamltree"
	"github.com/envoy-scraper/envoy-scraper/internal/envoy"
)

// lintRules warns about metric_relabel_configs after which sums are worse than they could be.
func (c *aggregateCheck) lintRules() {
	const list = "metric_relabel_configs"
	for _, j := range c.jobs {
		if i := dropsName(j.cfg.MetricRelabelConfigs, envoy.Uptime); i >= 0 && mayReadEnvoy(j.cfg) {
			c.warnRule(j, list, i, "it drops "+envoy.Uptime+", by which "+c.key+" sees that an Envoy has "+
				"restarted: a restart is then seen only if counters fall, and what a new pod has counted before its "+
				"first scrape is left out",
				"keep "+envoy.Uptime+" too")
		}
		if i := dropsLabel(j.cfg.MetricRelabelConfigs, model.BucketLabel); i >= 0 {
			c.warnRule(j, list, i, "it removes le, so all buckets of a histogram are one series, and cannot be "+
				"summed by "+c.key, "keep le")
		}
	}
}

// warnRule adds a warning about the i-th rule of a job.
func (c *aggregateCheck) warnRule(j *job, list string, i int, why, fix string) {
	c.add(Problem{Severity: SeverityWarning, File: j.src.name, Line: ruleLine(j.node, list, i), Job: j.cfg.JobName,
		Key: fmt.Sprintf("%s.%s[%d]", j.path, list, i), Why: why, Fix: fix})
}

// ruleLine returns the line of the i-th rule of a job or an endpoint.
func ruleLine(n *yaml.Node, list string, i int) int {
	if rules := yamltree.Items(yamltree.Get(n, list)); i < len(rules) {
		return rules[i].Line
	}
	return yamltree.Line(n, list)
}

// dropsName returns the index of the rule that certainly drops a series of this name, or -1. Rules that may change the
// name end the search.
func dropsName(rules []*relabel.Config, name string) int {
	for i, r := range rules {
		onName := len(r.SourceLabels) == 1 && r.SourceLabels[0] == model.MetricNameLabel
		switch r.Action {
		case relabel.Keep, relabel.Drop:
			if onName && r.Regex.MatchString(name) == (r.Action == relabel.Drop) {
				return i
			}
		case relabel.Replace, relabel.Lowercase, relabel.Uppercase, relabel.LabelMap, relabel.HashMod:
			if r.Action == relabel.LabelMap || r.TargetLabel == model.MetricNameLabel ||
				strings.Contains(r.TargetLabel, "$") {
				return -1
			}
		}
	}
	return -1
}

// dropsLabel returns the index of the labeldrop or labelkeep that removes a label, or -1.
func dropsLabel(rules []*relabel.Config, label string) int {
	return slices.IndexFunc(rules, func(r *relabel.Config) bool {
		return r.Action == relabel.LabelDrop && r.Regex.MatchString(label) ||
			r.Action == relabel.LabelKeep && !r.Regex.MatchString(label)
	})
}

// lintPodLabels warns about a labelmap that copies aggregate.PodLabels, and sums that keep them.
func (c *aggregateCheck) lintPodLabels() {
	for _, j := range c.jobs {
		for i, r := range j.cfg.RelabelConfigs {
			if r.Action != relabel.LabelMap {
				continue
			}
			var kept []string
			for _, label := range aggregate.PodLabels() {
				const meta = model.MetaLabelPrefix + "kubernetes_pod_label_"
				if !r.Regex.MatchString(meta + label) {
					continue
				}
				as := r.Regex.ReplaceAllString(meta+label, r.Replacement)
				if c.keeps(as) && dropsLabel(j.cfg.RelabelConfigs[i+1:], as) < 0 &&
					dropsLabel(j.cfg.MetricRelabelConfigs, as) < 0 {
					kept = append(kept, as)
				}
			}
			if len(kept) == 0 {
				continue
			}
			names := strings.Join(kept, ", ")
			c.warnRule(j, "relabel_configs", i, fmt.Sprintf("it copies labels of pods, among them %s: the sums of %s "+
				"would be other series after every rollout, or in every pod", names, c.key),
				"add "+names+" to without")
		}
	}
}

// lintPodNames warns about rules that write the name or the address of a pod to a label that sums keep.
func (c *aggregateCheck) lintPodNames() {
	for _, j := range c.jobs {
		for i, r := range j.cfg.RelabelConfigs {
			after := j.cfg.RelabelConfigs[i+1:]
			overwritten := slices.ContainsFunc(after, func(later *relabel.Config) bool {
				return later.TargetLabel == r.TargetLabel
			})
			label := labelOfPod(r)
			if _, set := c.As[label]; label == "" || set || overwritten || !c.keeps(label) ||
				dropsLabel(after, label) >= 0 || dropsLabel(j.cfg.MetricRelabelConfigs, label) >= 0 {
				continue
			}
			c.warnRule(j, "relabel_configs", i, fmt.Sprintf("it writes what is another one in every pod to the label "+
				"%s, which the sums of %s keep: each has one pod", label, c.key), "add "+label+" to without")
		}
	}
}

// labelOfPod returns the label to which a rule writes what is another one in every pod of a workload; empty: none.
func labelOfPod(r *relabel.Config) string {
	switch r.Action {
	case relabel.Replace, relabel.Lowercase, relabel.Uppercase, relabel.HashMod:
	default:
		return ""
	}
	if strings.HasPrefix(r.TargetLabel, model.ReservedLabelPrefix) || strings.Contains(r.TargetLabel, "$") {
		return ""
	}
	first, second := valueForPod(r, "abcde", "10.0.0.1"), valueForPod(r, "fghij", "10.0.0.2")
	if first == "" || first == second {
		return ""
	}
	return r.TargetLabel
}

// valueForPod returns what a rule makes of a pod of the workload reviews-v1. A rule that finds the workload in the
// name of the pod makes the same of all of them.
func valueForPod(r *relabel.Config, suffix, ip string) string {
	const pod = model.MetaLabelPrefix + "kubernetes_pod_"
	b := labels.NewBuilder(labels.FromStrings(model.AddressLabel, ip+":15020", pod+"ip", ip, pod+"uid", suffix,
		pod+"name", "reviews-v1-7d9f5c8b6c-"+suffix, model.MetaLabelPrefix+"kubernetes_namespace", "shop"))
	relabel.ProcessBuilder(b, r)
	return b.Get(r.TargetLabel)
}

// lintEndpoints warns about write_relabel_configs that remove or replace what tells agents apart.
func (c *aggregateCheck) lintEndpoints() {
	for i, rw := range c.cfg.Prometheus.RemoteWriteConfigs {
		if i >= len(c.remotes) {
			return
		}
		for _, name := range slices.Sorted(maps.Keys(c.As)) {
			if k := dropsLabel(rw.WriteRelabelConfigs, name); k >= 0 {
				c.warnEndpoint(c.remotes[i], k, rw.WriteRelabelConfigs[k].Regex.String(), fmt.Sprintf("it removes %s, "+
					"which %s.as sets: the sums of two agents would be the same series", name, c.key))
			} else if k := slices.IndexFunc(rw.WriteRelabelConfigs, c.replaces(name)); k >= 0 {
				c.warnEndpoint(c.remotes[i], k, name, fmt.Sprintf("it replaces the value of %s, which %s.as sets: "+
					"sums of agents that get the same value are the same series", name, c.key))
			}
		}
	}
}

// replaces returns whether a rule replaces a label of the sums by what does not depend on the label.
func (c *aggregateCheck) replaces(label string) func(r *relabel.Config) bool {
	return func(r *relabel.Config) bool {
		from := slices.Contains(r.SourceLabels, model.LabelName(label))
		onName := len(r.SourceLabels) == 1 && r.SourceLabels[0] == model.MetricNameLabel
		switch r.Action {
		case relabel.Replace:
			if _, got := haveCommonString(r.Regex.Regexp.String(), c.written()); onName && got == disjoint {
				return false
			}
			return r.TargetLabel == label && !(from && strings.Contains(r.Replacement, "$"))
		case relabel.Lowercase, relabel.Uppercase:
			return r.TargetLabel == label && !from
		case relabel.HashMod:
			return r.TargetLabel == label
		case relabel.LabelMap:
			return r.Replacement == label
		}
		return false
	}
}

func (c *aggregateCheck) warnEndpoint(r *remote, rule int, value, why string) {
	const list = "write_relabel_configs"
	c.add(Problem{Severity: SeverityWarning, File: c.opts.File, Line: ruleLine(r.node, list, rule),
		Key: fmt.Sprintf("%s.%s[%d]", r.path, list, rule), Value: value, Why: why, Fix: "keep this label"})
}
