package scrape

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	promrelabel "github.com/prometheus/prometheus/model/relabel"

	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// learner makes series of what a target's page prints: its labels, the job's metric rules, the limits, in
// Prometheus' order. It implements exposition.Learner.
type learner struct {
	table   *series.Table
	target  series.TargetID
	labels  labels.Labels // of the target
	cfg     *promconfig.ScrapeConfig
	scratch *sync.Pool // of *scratch
	exceed  func()     // counts a label limit that was exceeded
	late    func(id series.ID, at int64) bool
	met     func(id series.ID) // hears of each series learned
}

// scratch is what learning one series needs. It is lent for one Learn.
type scratch struct {
	builder *labels.Builder
	merged  merger
}

func newScratch() any { return &scratch{builder: labels.NewBuilder(labels.EmptyLabels())} }

// maxPrintedLabels is how many labels a line may print before relabeling takes some away, where label_limit is on and
// not more: some actions take time by the square of it.
const maxPrintedLabels = 1000

var errNoName = errors.New("missing metric name (__name__ label)")

// Late implements exposition.Learner.
func (l *learner) Late(id series.ID, at int64) bool { return l.late(id, at) }

// Learn implements exposition.Learner.
func (l *learner) Learn(lset labels.Labels, m series.Meta) (id series.ID, keep bool, err error) {
	s := l.scratch.Get().(*scratch)
	defer l.scratch.Put(s)
	if n, most := lset.Len(), max(int(l.cfg.LabelLimit), maxPrintedLabels); l.cfg.LabelLimit > 0 && n > most {
		l.exceed()
		return 0, false, tooManyLabels(lset, n, most)
	}
	final, keep := l.relabel(s, lset)
	if !keep || final.IsEmpty() {
		return 0, false, nil
	}
	if !final.Has(model.MetricNameLabel) {
		return 0, false, errNoName
	}
	if !final.IsValid(l.cfg.MetricNameValidationScheme) {
		return 0, false, fmt.Errorf("invalid metric name or label names: %s", cut(final.String(), maxQuoted))
	}
	if err := checkLimits(final, l.cfg); err != nil {
		l.exceed()
		return 0, false, err
	}
	if name, twice := final.HasDuplicateLabelNames(); twice {
		return 0, false, fmt.Errorf("%w: %q in %s", exposition.ErrLabelTwice, clip(name), cut(final.String(), 2*maxQuoted/3))
	}
	id = l.table.Add(l.target, final, m)
	l.met(id)
	return id, true, nil
}

// relabel returns the labels of a series as the target's labels and the rules make them; s owns them.
func (l *learner) relabel(s *scratch, lset labels.Labels) (final labels.Labels, keep bool) {
	if len(l.cfg.MetricRelabelConfigs) == 0 {
		if final, ok := s.merged.merge(lset, l.labels); ok {
			return final, true
		}
	}
	merge(s.builder, lset, l.labels, l.cfg.HonorLabels)
	if !promrelabel.ProcessBuilder(s.builder, l.cfg.MetricRelabelConfigs...) {
		return labels.EmptyLabels(), false
	}
	return s.builder.Labels(), true
}

// merger is merge for a sample that has no label in common with its target: nearly every one.
type merger struct {
	target []labels.Label
	build  labels.ScratchBuilder
	result labels.Labels
}

// merge returns labels that are valid until the next merge. Not ok: a name is in both, or one is out of order.
func (m *merger) merge(lset, target labels.Labels) (_ labels.Labels, ok bool) {
	m.target = m.target[:0]
	target.Range(func(l labels.Label) { m.target = append(m.target, l) })
	m.build.Reset()
	rest, last, ok := m.target, "", true
	lset.Range(func(l labels.Label) {
		for len(rest) > 0 && rest[0].Name < l.Name {
			m.build.Add(rest[0].Name, rest[0].Value)
			rest = rest[1:]
		}
		ok = ok && l.Name > last && (len(rest) == 0 || rest[0].Name != l.Name)
		last = l.Name
		if l.Value != "" { // means no label
			m.build.Add(l.Name, l.Value)
		}
	})
	if !ok {
		return labels.EmptyLabels(), false
	}
	for _, l := range rest {
		m.build.Add(l.Name, l.Value)
	}
	m.build.Overwrite(&m.result)
	return m.result, true
}

// merge puts the target's labels to those of a sample. Where both have one, honor_labels decides: the
// sample's stays, or it moves to exported_<name>.
func merge(b *labels.Builder, lset, target labels.Labels, honor bool) {
	b.Reset(lset)
	if honor {
		target.Range(func(l labels.Label) {
			if !lset.Has(l.Name) {
				b.Set(l.Name, l.Value)
			}
		})
		return
	}
	var moved []labels.Label
	target.Range(func(l labels.Label) {
		if v := lset.Get(l.Name); v != "" {
			moved = append(moved, labels.Label{Name: l.Name, Value: v})
		}
		b.Set(l.Name, l.Value)
	})
	slices.SortStableFunc(moved, func(a, b labels.Label) int { return len(a.Name) - len(b.Name) })
	for _, l := range moved {
		name := model.ExportedLabelPrefix + l.Name
		for b.Get(name) != "" {
			name = model.ExportedLabelPrefix + name
		}
		b.Set(name, l.Value)
	}
}

// limitError is a label limit that was exceeded.
type limitError struct{ text string }

func (e *limitError) Error() string { return e.text }

func tooManyLabels(lset labels.Labels, n, limit int) error {
	return &limitError{fmt.Sprintf("label_limit exceeded (metric: %s, number of labels: %d, limit: %d)", clip(lset.Get(model.MetricNameLabel)), n, limit)}
}

// checkLimits counts the target's labels too: Prometheus does.
func checkLimits(lset labels.Labels, cfg *promconfig.ScrapeConfig) error {
	if limit := int(cfg.LabelLimit); limit > 0 {
		if n := lset.Len(); n > limit {
			return tooManyLabels(lset, n, limit)
		}
	}
	nameLimit, valueLimit := int(cfg.LabelNameLengthLimit), int(cfg.LabelValueLengthLimit)
	if nameLimit == 0 && valueLimit == 0 {
		return nil
	}
	return lset.Validate(func(l labels.Label) error {
		if nameLimit > 0 && len(l.Name) > nameLimit {
			return &limitError{fmt.Sprintf("label_name_length_limit exceeded (metric: %s, label name: %s, length: %d, limit: %d)",
				clip(lset.Get(model.MetricNameLabel)), clip(l.Name), len(l.Name), nameLimit)}
		}
		if valueLimit > 0 && len(l.Value) > valueLimit {
			return &limitError{fmt.Sprintf("label_value_length_limit exceeded (metric: %s, label name: %s, value: %q, length: %d, limit: %d)",
				clip(lset.Get(model.MetricNameLabel)), clip(l.Name), clip(l.Value), len(l.Value), valueLimit)}
		}
		return nil
	})
}

// clip shortens what a page chose, for an error message.
func clip(s string) string {
	const most = 30
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
