package discovery

import (
	"maps"
	"slices"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/relabel"
)

const kubePrefix = model.MetaLabelPrefix + "kubernetes_"

// alwaysRead lists the meta labels of a pod that are kept even if no rule reads them. Pages show them, and the pod's
// address decides whether a target belongs to the pod.
func alwaysRead() []string {
	return []string{kubePrefix + "namespace", podPrefix + "name", podPrefix + "ip", podPrefix + "container_name",
		podPrefix + "container_port_name"}
}

// reads is the set of discovered labels that rules can read. A rule reads its source_labels, keepequal and dropequal
// also their target_label, and labelmap every label that its regex matches. labeldrop and labelkeep do not count: they
// only remove meta labels, which are removed after the last rule anyway.
type reads struct {
	names    map[string]string // each name maps to itself, so that equal names share memory
	patterns map[string]relabel.Regexp
}

func newReads() *reads {
	r := &reads{names: map[string]string{}, patterns: map[string]relabel.Regexp{}}
	for _, name := range alwaysRead() {
		r.names[name] = name
	}
	return r
}

// everything returns the set of all labels.
func everything() *reads {
	r := newReads()
	r.patterns[".*"] = relabel.MustNewRegexp(".*")
	return r
}

// add adds the labels that rules read.
func (r *reads) add(rules []*relabel.Config) {
	for _, rule := range rules {
		for _, name := range rule.SourceLabels {
			r.names[string(name)] = string(name)
		}
		switch rule.Action {
		case relabel.KeepEqual, relabel.DropEqual:
			r.names[rule.TargetLabel] = rule.TargetLabel
		case relabel.LabelMap:
			r.patterns[rule.Regex.String()] = rule.Regex
		}
	}
}

// addOwner adds the labels that OwnerOf reads.
func (r *reads) addOwner() {
	for _, name := range []string{controllerKindLabel, controllerNameLabel} {
		r.names[name] = name
	}
}

// has reports whether a rule can read the label.
func (r *reads) has(name string) bool {
	if _, ok := r.names[name]; ok {
		return true
	}
	for _, re := range r.patterns {
		if re.MatchString(name) {
			return true
		}
	}
	return false
}

// any reports whether a rule can read one of the labels.
func (r *reads) any(names ...string) bool { return slices.ContainsFunc(names, r.has) }

// covers reports whether r has all labels of other.
func (r *reads) covers(other *reads) bool {
	for pattern := range maps.Keys(other.patterns) {
		if _, ok := r.patterns[pattern]; !ok {
			return false
		}
	}
	for name := range maps.Keys(other.names) {
		if !r.has(name) {
			return false
		}
	}
	return true
}
