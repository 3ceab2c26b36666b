package aggregate

import (
	"slices"

	"github.com/prometheus/common/model"
)

// Preset is a block without what only its user knows: jobs, and what tells this agent's sums from another's.
type Preset struct {
	Name    string
	Match   string
	Without []string
}

// DefaultWithout returns the labels that tell the pods of a workload apart: those that Istio's documentation leaves out
// of its recording rules, and pod, the name that many jobs write instead of pod_name.
func DefaultWithout() []string { return []string{model.InstanceLabel, "pod", "pod_name", "namespace"} }

// PodLabels returns labels of pods that are another one in every pod, or after every rollout of a workload. A labelmap
// may copy them to targets.
func PodLabels() []string {
	return []string{"pod_template_hash", "controller_revision_hash", "statefulset_kubernetes_io_pod_name",
		"apps_kubernetes_io_pod_index"}
}

// Presets returns all presets. The chart has the same (deploy/helm/envoy-scraper/templates/_config.tpl).
func Presets() []Preset {
	istio := Preset{"istio", "istio_.*", append(DefaultWithout(), PodLabels()...)}
	// Neither Istio's dashboards nor Kiali read these: docs/decisions/0056.
	lean := Preset{"istio-lean", istio.Match, append(slices.Clone(istio.Without),
		"source_app", "source_version", "destination_app", "destination_version")}
	return []Preset{istio, lean}
}

// PresetOf returns the preset of a name.
func PresetOf(name string) (p Preset, ok bool) {
	all := Presets()
	i := slices.IndexFunc(all, func(p Preset) bool { return p.Name == name })
	if i < 0 {
		return Preset{}, false
	}
	return all[i], true
}
