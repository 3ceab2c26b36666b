package scrape

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/relabel"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// learner makes series of what a target's page prints: its labels, the job's metric rules, the limits, in
// Prometheus' order. It implements exposition.Learner.
type learner struct {
	table   *series.Table
	target  series.TargetID
	labels  labels.Labels // of the target
	cfg     *promconfig.ScrapeConfig
	builder *labels.Builder
	exceed  func() // counts a label limit that was exceeded
}

var errNoName = errors.New("missing metric name (__name__ label)")

func (l *learner) Learn(lset labels.Labels, m series.Meta) (id series.ID, keep bool, err error) {
	merge(l.builder, lset, l.labels, l.cfg.HonorLabels)
	if !relabel.Apply(l.builder, l.cfg.MetricRelabelConfigs) {
		return 0, false, nil
	}
	final := l.builder.Labels()
	if final.IsEmpty() {
		return 0, false, nil
	}
	if !final.Has(model.MetricNameLabel) {
		return 0, false, errNoName
	}
	if !final.IsValid(l.cfg.MetricNameValidationScheme) {
		return 0, false, fmt.Errorf("invalid metric name or label names: %s", final)
	}
	if err := checkLimits(final, l.cfg); err != nil {
		l.exceed()
		return 0, false, err
	}
	if name, twice := final.HasDuplicateLabelNames(); twice {
		return 0, false, fmt.Errorf("label name %q is not unique: %s", name, final)
	}
	return l.table.Add(l.target, final, m), true, nil
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

// checkLimits counts the target's labels too: Prometheus does.
func checkLimits(lset labels.Labels, cfg *promconfig.ScrapeConfig) error {
	name := clip(lset.Get(model.MetricNameLabel))
	if limit := int(cfg.LabelLimit); limit > 0 && lset.Len() > limit {
		return fmt.Errorf("label_limit exceeded (metric: %s, number of labels: %d, limit: %d)", name, lset.Len(), limit)
	}
	nameLimit, valueLimit := int(cfg.LabelNameLengthLimit), int(cfg.LabelValueLengthLimit)
	if nameLimit == 0 && valueLimit == 0 {
		return nil
	}
	return lset.Validate(func(l labels.Label) error {
		if nameLimit > 0 && len(l.Name) > nameLimit {
			return fmt.Errorf("label_name_length_limit exceeded (metric: %s, label name: %s, length: %d, limit: %d)", name, clip(l.Name), len(l.Name), nameLimit)
		}
		if valueLimit > 0 && len(l.Value) > valueLimit {
			return fmt.Errorf("label_value_length_limit exceeded (metric: %s, label name: %s, value: %q, length: %d, limit: %d)", name, clip(l.Name), clip(l.Value), len(l.Value), valueLimit)
		}
		return nil
	})
}

// clip shortens what a page chose, for an error message.
func clip(s string) string {
	const most = 50
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
