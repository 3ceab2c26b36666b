package simulate

import (
	"maps"
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// signs are what operators of the agents can notice of a run.
type signs struct {
	logged  map[string]int     // lines, by message
	metrics map[string]float64 // the highest value that an agent had, such as `name{job="envoy"}`; histograms: the sum
}

// noteSigns reads the logs and the metrics of the agents. Gauges are read before a fault ends.
func (w *world) noteSigns() {
	if w.opts.Schedule == nil {
		return // a run of drawn faults cannot tell which fault a sign is of
	}
	if w.signs.metrics == nil {
		w.signs.metrics = map[string]float64{}
	}
	w.signs.logged, _ = w.logs.messages()
	for _, r := range w.agents {
		if r.process != nil {
			r.process.eachMetric(func(name string, v float64) {
				w.signs.metrics[name] = max(w.signs.metrics[name], v)
			})
		}
	}
}

// eachMetric calls do for each metric of a process.
func (p *process) eachMetric(do func(name string, v float64)) {
	families, err := p.reg.Gather()
	if err != nil {
		panic(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			do(f.GetName()+labelsText(m), m.GetCounter().GetValue()+m.GetGauge().GetValue()+
				m.GetHistogram().GetSampleSum())
		}
	}
}

// labelsText returns the labels of a metric: `{endpoint="a", reason="refused"}`.
func labelsText(m *dto.Metric) string {
	var all []string
	for _, l := range m.GetLabel() {
		all = append(all, l.GetName()+`="`+l.GetValue()+`"`)
	}
	return "{" + strings.Join(all, ", ") + "}"
}

// since returns what s has more than another run: messages that were logged more often, metrics that are higher.
func (s signs) since(other signs) signs {
	more := signs{maps.Clone(s.logged), maps.Clone(s.metrics)}
	maps.DeleteFunc(more.logged, func(message string, n int) bool { return n <= other.logged[message] })
	maps.DeleteFunc(more.metrics, func(name string, v float64) bool { return v <= other.metrics[name] })
	return more
}
