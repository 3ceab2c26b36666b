package aggregate

import "github.com/prometheus/common/model"

// Preset is a block without what only its user knows: jobs, and what tells this agent's sums from another's.
type Preset struct {
	Name    string
	Match   string
	Without []string
}

// DefaultWithout returns the labels that tell the pods of a workload apart: those that Istio's documentation leaves out
// of its recording rules, and pod, the name that many jobs write instead of pod_name.
func DefaultWithout() []string { return []string{model.InstanceLabel, "pod", "pod_name", "namespace"} }

// Presets returns all presets.
func Presets() []Preset {
	return []Preset{{"istio", "istio_.*", DefaultWithout()}}
}

// PresetOf returns the preset of a name.
func PresetOf(name string) (p Preset, ok bool) {
	for _, p := range Presets() {
		if p.Name == name {
			return p, true
		}
	}
	return Preset{}, false
}
