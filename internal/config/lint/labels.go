package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/envoy-scraper/envoy-scraper/internal/config/hint"
)

const kubePrefix = "__meta_kubernetes_"

// podNames are the meta labels of a pod, after __meta_kubernetes_pod_. Those that end in _ are prefixes.
var podNames = []string{
	"name", "ip", "container_name", "container_id", "container_image", "container_port_name", "container_port_number",
	"container_port_protocol", "container_init", "cronjob_name", "deployment_name", "job_name", "ready", "phase",
	"node_name",
	"host_ip", "uid", "controller_kind", "controller_name", "label_", "labelpresent_", "annotation_",
	"annotationpresent_",
}

// rolePrefixes are the prefixes of the meta labels of each role, after __meta_kubernetes_. podNames has more detail for
// pods.
var rolePrefixes = map[kubernetes.Role][]string{
	kubernetes.RolePod:           {"pod_"},
	kubernetes.RoleEndpoint:      {"endpoint_", "endpoints_", "service_", "pod_"},
	kubernetes.RoleEndpointSlice: {"endpointslice_", "service_", "pod_"},
	kubernetes.RoleService:       {"service_"},
	kubernetes.RoleNode:          {"node_"},
	kubernetes.RoleIngress:       {"ingress_"},
}

// builtinLabels exist on every target before the first rule.
var builtinLabels = []string{
	model.AddressLabel, model.SchemeLabel, model.MetricsPathLabel, model.ScrapeIntervalLabel,
	model.ScrapeTimeoutLabel, model.JobLabel,
}

// discovers reports whether a discovery of the job can produce a label.
func (j Job) discovers(label string) bool {
	if slices.Contains(builtinLabels, label) {
		return true
	}
	if param, ok := strings.CutPrefix(label, model.ParamLabelPrefix); ok && len(j.Config.Params[param]) > 0 {
		return true
	}
	for _, d := range j.Config.ServiceDiscoveryConfigs {
		switch d := d.(type) {
		case *kubernetes.SDConfig:
			if kubeProduces(d, label) {
				return true
			}
		case discovery.StaticConfig:
			if staticHas(d, label) {
				return true
			}
		default: // files and HTTP endpoints can return any label
			return true
		}
	}
	return false
}

func staticHas(groups discovery.StaticConfig, label string) bool {
	for _, g := range groups {
		if _, ok := g.Labels[model.LabelName(label)]; ok {
			return true
		}
		for _, t := range g.Targets {
			if _, ok := t[model.LabelName(label)]; ok {
				return true
			}
		}
	}
	return false
}

func kubeProduces(k *kubernetes.SDConfig, label string) bool {
	name, ok := strings.CutPrefix(label, kubePrefix)
	if !ok {
		return false
	}
	if name == "namespace" || k.AttachMetadata.Namespace && strings.HasPrefix(name, "namespace_") ||
		k.AttachMetadata.Node && strings.HasPrefix(name, "node_") {
		return true
	}
	for _, prefix := range rolePrefixes[k.Role] {
		rest, ok := strings.CutPrefix(name, prefix)
		if ok && (prefix != "pod_" || slices.ContainsFunc(podNames, func(known string) bool {
			return rest == known || strings.HasSuffix(known, "_") && strings.HasPrefix(rest, known)
		})) {
			return true
		}
	}
	return false
}

// lintAbsent warns about a rule whose source labels cannot exist, so that it has the same result for every target.
func (r *ruleList) lintAbsent(i int, rule *relabel.Config) bool {
	var names []string
	for _, name := range rule.SourceLabels {
		if r.has(string(name)) || !r.untouched(i, string(name)) {
			return false
		}
		names = append(names, string(name))
	}
	matches := rule.Regex.MatchString(strings.Repeat(rule.Separator, len(names)-1))
	effect := "it does nothing"
	switch {
	case rule.Action == relabel.Keep && !matches || rule.Action == relabel.Drop && matches:
		effect = "it drops every " + r.unit()
	case rule.Action == relabel.Replace && matches:
		return false // sets a constant, perhaps intended
	}
	why := fmt.Sprintf("no discovery of this job produces %s, so %s", strings.Join(names, " or "), effect)
	if r.unit() == "sample" {
		why = fmt.Sprintf("no sample has %s (labels that start with __ are removed after relabel_configs), so %s",
			strings.Join(names, " or "), effect)
	}
	fix := "correct the label's name or the role, or remove the rule"
	if near := r.nearestLabel(names[0]); near != "" {
		fix = "did you mean " + near + "?"
	}
	r.warn(i, "source_labels", why, fix)
	return true
}

// nearestLabel returns a label of pods whose name differs by at most two letters, or "".
func (r *ruleList) nearestLabel(name string) string {
	if r.unit() == "target" {
		for _, known := range podNames {
			if full := kubePrefix + "pod_" + known; !strings.HasSuffix(full, "_") && hint.Distance(name, full) <= 2 &&
				r.has(full) {
				return full
			}
		}
	}
	return ""
}

// podValues has all possible values of some labels.
var podValues = map[string][]string{
	kubePrefix + "pod_phase":                   {"Pending", "Running", "Succeeded", "Failed", "Unknown"},
	kubePrefix + "pod_ready":                   {"true", "false", "unknown"},
	initLabel:                                  {"true", "false"},
	kubePrefix + "pod_container_port_protocol": {"TCP", "UDP", "SCTP", ""},
}

// portName is Istio's name of the port with Envoy's stats.
const portName = "http-envoy-prom"

const portNameLabel = kubePrefix + "pod_container_port_name"

// lintValues warns about a rule whose expression matches none of the possible values of its label.
func (r *ruleList) lintValues(i int, rule *relabel.Config) {
	if len(rule.SourceLabels) != 1 || rule.Action == relabel.Replace || !r.job.onlyKubernetes() {
		return
	}
	label := string(rule.SourceLabels[0])
	if r.unit() != "target" || !r.untouched(i, label) {
		return
	}
	values, known := podValues[label]
	if label == portNameLabel && strings.Contains(rule.Regex.String(), "envoy") && rule.Action == relabel.Keep {
		values, known = []string{portName}, true
	}
	if !known || slices.ContainsFunc(values, rule.Regex.MatchString) {
		return
	}
	effect := "it does nothing"
	if rule.Action == relabel.Keep {
		effect = "it drops every target"
	}
	if label == portNameLabel {
		effect = "it drops every sidecar"
	}
	r.warn(i, "regex", fmt.Sprintf("%s is one of %q, none of which the expression matches completely, so %s", label,
		values, effect),
		"correct the expression; it must match the complete value, and case matters")
}

func (j Job) onlyKubernetes() bool {
	for _, d := range j.Config.ServiceDiscoveryConfigs {
		if _, ok := d.(*kubernetes.SDConfig); !ok {
			return false
		}
	}
	return true
}
