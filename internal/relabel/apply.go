// Package relabel runs Prometheus' relabel rules: Apply for the hot side, Explain and Words for people who ask why a
// target is there, or is not. The semantics are those of prometheus/model/relabel, which does the work.
package relabel

import (
	"github.com/prometheus/prometheus/model/labels"
	promrelabel "github.com/prometheus/prometheus/model/relabel"
)

// Apply runs the rules on the labels in b, in order. It returns false if a rule dropped them; b is then of no use.
func Apply(b *labels.Builder, rules []*promrelabel.Config) bool {
	return promrelabel.ProcessBuilder(b, rules...)
}
