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

// learner turns the labels of a new line into a series. In the order of Prometheus it adds the target's labels, applies
// metric_relabel_configs and checks the label limits. It implements exposition.Learner.
type learner struct {
	table   *series.Table
	target  series.TargetID
	labels  labels.Labels // of the target
	cfg     *promconfig.ScrapeConfig
	scratch *sync.Pool                        // of *scratch
	exceed  func()                            // counts an exceeded label limit
	late    func(id series.ID, at int64) bool // answers Late
	onLearn func(id series.ID)                // called for each series learned
	// notice is called for each series that is new on the page.
	notice func(hash uint64, m marks, id series.ID, kept bool)

	lessons *lessons
	scope   uint64 // see scopeOf; 0: what a line becomes for another target says nothing about this one
}

// scratch holds the buffers of one call of Learn.
type scratch struct {
	builder *labels.Builder
	merger  disjointMerger
}

func newScratch() any { return &scratch{builder: labels.NewBuilder(labels.EmptyLabels())} }

// maxPrintedLabels limits the labels of a line before relabeling, if label_limit is set and not larger. The time of
// some relabel actions grows with the square of the number of labels.
const maxPrintedLabels = 1000

var (
	errNoName    = errors.New("missing metric name (__name__ label)")
	errInBoth    = errors.New("a label of the page has the name of one of the target's")
	errLongValue = errors.New("a label of the target is too long")
)

// Late implements exposition.Learner.
func (l *learner) Late(id series.ID, at int64) bool { return l.late(id, at) }

// Recall implements exposition.Learner.
func (l *learner) Recall(text uint64, m series.Meta) (id series.ID, keep, ok bool) {
	if l.scope == 0 {
		return 0, false, false
	}
	known, ok := l.lessons.find(text ^ l.scope)
	if !ok || known.kept && !l.table.AddAgain(known.series, m) {
		return 0, false, false
	}
	id = known.series.ID
	l.notice(text, known.marks, id, known.kept)
	if known.kept {
		l.onLearn(id)
	}
	return id, known.kept, true
}

// Learn implements exposition.Learner.
func (l *learner) Learn(text uint64, lset labels.Labels, m series.Meta) (id series.ID, keep bool, err error) {
	s := l.scratch.Get().(*scratch)
	defer l.scratch.Put(s)
	if n, limit := lset.Len(), max(int(l.cfg.LabelLimit), maxPrintedLabels); l.cfg.LabelLimit > 0 && n > limit {
		l.exceed()
		return 0, false, tooManyLabels(lset, n, limit)
	}
	final, keep := l.relabel(s, lset)
	hash, seen := shapeOf(text, lset), marksOf(lset)
	if !keep || final.IsEmpty() {
		l.notice(hash, seen, 0, false)
		l.teach(text, lset, lesson{marks: seen})
		return 0, false, nil
	}
	if !final.Has(model.MetricNameLabel) {
		return 0, false, errNoName
	}
	if !final.IsValid(l.cfg.MetricNameValidationScheme) {
		return 0, false, fmt.Errorf("invalid metric name or label names: %s", truncate(final.String(), maxQuoted))
	}
	if err := checkLimits(final, l.cfg); err != nil {
		l.exceed()
		return 0, false, err
	}
	if name, duplicate := final.HasDuplicateLabelNames(); duplicate {
		return 0, false, fmt.Errorf("%w: %q in %s", exposition.ErrLabelTwice, truncateName(name),
			truncate(final.String(), 2*maxQuoted/3))
	}
	id = l.table.Add(l.target, final, m)
	l.notice(hash, seen, id, true)
	l.onLearn(id)
	l.teach(text, lset, lesson{marks: seen, series: l.table.Ref(id), kept: true})
	return id, true, nil
}

// teach keeps for other targets what a line became, unless it has a label of the same name as one of the target's.
func (l *learner) teach(text uint64, printed labels.Labels, what lesson) {
	if text == 0 || l.scope == 0 || !disjoint(printed, l.labels) {
		return
	}
	what.line = text ^ l.scope
	l.lessons.add(what)
}

// disjoint reports whether no label name is in both.
func disjoint(printed, target labels.Labels) bool {
	return target.Validate(func(l labels.Label) error {
		if printed.Has(l.Name) {
			return errInBoth
		}
		return nil
	}) == nil
}

// relabel adds the target's labels and applies the rules. The result is owned by s.
func (l *learner) relabel(s *scratch, lset labels.Labels) (final labels.Labels, keep bool) {
	if len(l.cfg.MetricRelabelConfigs) == 0 {
		if final, ok := s.merger.merge(lset, l.labels); ok {
			return final, true
		}
	}
	addTargetLabels(s.builder, lset, l.labels, l.cfg.HonorLabels)
	if !promrelabel.ProcessBuilder(s.builder, l.cfg.MetricRelabelConfigs...) {
		return labels.EmptyLabels(), false
	}
	return s.builder.Labels(), true
}

// disjointMerger is the fast path of addTargetLabels, for a sample that has no label name in common with its target.
type disjointMerger struct {
	target []labels.Label
	build  labels.ScratchBuilder
	result labels.Labels
}

// merge returns labels that are valid until the next call. It is not ok if a name is in both, or lset is not sorted.
func (m *disjointMerger) merge(lset, target labels.Labels) (_ labels.Labels, ok bool) {
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
		if l.Value != "" { // an empty value means no label
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

// addTargetLabels adds the target's labels to those of a sample. If both have a label of the same name, the sample's
// label stays with honor_labels; otherwise it becomes exported_<name>.
func addTargetLabels(b *labels.Builder, lset, target labels.Labels, honor bool) {
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

// limitError says that a label limit was exceeded.
type limitError struct{ text string }

func (e *limitError) Error() string { return e.text }

func tooManyLabels(lset labels.Labels, n, limit int) error {
	return &limitError{fmt.Sprintf("label_limit exceeded (metric: %s, number of labels: %d, limit: %d)",
		truncateName(lset.Get(model.MetricNameLabel)), n, limit)}
}

// checkLimits checks the label limits of the job. As in Prometheus, the target's labels count too.
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
			return &limitError{fmt.Sprintf(
				"label_name_length_limit exceeded (metric: %s, label name: %s, length: %d, limit: %d)",
				truncateName(lset.Get(model.MetricNameLabel)), truncateName(l.Name), len(l.Name), nameLimit)}
		}
		if valueLimit > 0 && len(l.Value) > valueLimit {
			return &limitError{fmt.Sprintf(
				"label_value_length_limit exceeded (metric: %s, label name: %s, value: %q, length: %d, limit: %d)",
				truncateName(lset.Get(model.MetricNameLabel)), truncateName(l.Name), truncateName(l.Value),
				len(l.Value), valueLimit)}
		}
		return nil
	})
}

// truncateName shortens a name or value from a page to 30 bytes, for an error message.
func truncateName(s string) string {
	const limit = 30
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}
