package config

import (
	"fmt"
	"maps"
	"slices"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/relabel"
)

// refuseKeepRaw refuses series beside sums of the same name and labels.
func (c *aggregateCheck) refuseKeepRaw() {
	if c.KeepRaw && c.Prefix == "" && c.labelOfSums() == "" {
		c.add(c.at(SeverityError, "keep_raw", "true", "the series and their sum would have one name, and no label "+
			"says which is which, so every query would count twice",
			"add prefix, as prefix: 'workload:', or another label to as, which queries then select"))
	}
}

// noteKeepRaw notes what queries must do if a sum has the name of its series.
func (c *aggregateCheck) noteKeepRaw() {
	name := c.labelOfSums()
	if !c.KeepRaw || c.Prefix != "" || name == "" {
		return
	}
	why := fmt.Sprintf(`series and sums have the same names: a query must select %[1]s="%[2]s" for the sums, or `+
		`%[1]s!="%[2]s" for the series; without it, it counts twice`, name, c.shownAs(name))
	c.cfg.Notes = append(c.cfg.Notes, c.at(SeverityNote, "keep_raw", "", why, ""))
}

// labelOfSums returns a label of as that the series do not have with the same value; empty: there is none.
func (c *aggregateCheck) labelOfSums() string {
	for _, name := range slices.Sorted(maps.Keys(c.As)) {
		ofAll := slices.ContainsFunc(c.external, func(l writtenLabel) bool {
			return l.name == name && l.value == c.As[name]
		})
		ofSome := slices.ContainsFunc(c.jobs, func(j *job) bool { return setsLabel(j, name) })
		if name != model.InstanceLabel && !ofAll && !ofSome {
			return name
		}
	}
	return ""
}

// setsLabel reports whether rules or static targets of a job set a label.
func setsLabel(j *job, name string) bool {
	sets := func(r *relabel.Config) bool { return r.TargetLabel == name }
	return slices.ContainsFunc(j.cfg.RelabelConfigs, sets) || slices.ContainsFunc(j.cfg.MetricRelabelConfigs, sets) ||
		slices.ContainsFunc(staticLabels(j.cfg), func(s model.LabelSet) bool {
			_, has := s[model.LabelName(name)]
			return has
		})
}
