package series

import (
	"slices"

	"github.com/prometheus/common/model"
)

// MetricType is model.MetricType in a byte, with the numbers of remote write. 0 is "unknown", also for series whose
// TYPE no page has printed.
type MetricType uint8

// The types of metric families.
const (
	TypeUnknown MetricType = iota
	TypeCounter
	TypeGauge
	TypeHistogram
	TypeGaugeHistogram
	TypeSummary
	TypeInfo
	TypeStateset
)

// names are the types by their numbers.
var names = [...]model.MetricType{
	TypeUnknown: model.MetricTypeUnknown, TypeCounter: model.MetricTypeCounter, TypeGauge: model.MetricTypeGauge,
	TypeHistogram: model.MetricTypeHistogram, TypeGaugeHistogram: model.MetricTypeGaugeHistogram,
	TypeSummary: model.MetricTypeSummary, TypeInfo: model.MetricTypeInfo, TypeStateset: model.MetricTypeStateset,
}

// TypeOf returns the number of a type, TypeUnknown for any other text.
func TypeOf(t model.MetricType) MetricType { return MetricType(max(0, slices.Index(names[:], t))) }

// Model returns the type by its name.
func (t MetricType) Model() model.MetricType { return names[t] }
