package series

import "github.com/prometheus/common/model"

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

// TypeOf returns the number of a type. Other texts than those of the known types are TypeUnknown.
func TypeOf(t model.MetricType) MetricType {
	switch t {
	case model.MetricTypeCounter:
		return TypeCounter
	case model.MetricTypeGauge:
		return TypeGauge
	case model.MetricTypeHistogram:
		return TypeHistogram
	case model.MetricTypeGaugeHistogram:
		return TypeGaugeHistogram
	case model.MetricTypeSummary:
		return TypeSummary
	case model.MetricTypeInfo:
		return TypeInfo
	case model.MetricTypeStateset:
		return TypeStateset
	default:
		return TypeUnknown
	}
}

// Model returns the type by its name.
func (t MetricType) Model() model.MetricType {
	switch t {
	case TypeCounter:
		return model.MetricTypeCounter
	case TypeGauge:
		return model.MetricTypeGauge
	case TypeHistogram:
		return model.MetricTypeHistogram
	case TypeGaugeHistogram:
		return model.MetricTypeGaugeHistogram
	case TypeSummary:
		return model.MetricTypeSummary
	case TypeInfo:
		return model.MetricTypeInfo
	case TypeStateset:
		return model.MetricTypeStateset
	default:
		return model.MetricTypeUnknown
	}
}
