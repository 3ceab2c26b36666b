package series

import "github.com/prometheus/common/model"

// metricType is model.MetricType in a byte.
type metricType uint8

const (
	typeUnknown metricType = iota
	typeCounter
	typeGauge
	typeHistogram
	typeGaugeHistogram
	typeSummary
	typeInfo
	typeStateset
)

func typeOf(t model.MetricType) metricType {
	switch t {
	case model.MetricTypeCounter:
		return typeCounter
	case model.MetricTypeGauge:
		return typeGauge
	case model.MetricTypeHistogram:
		return typeHistogram
	case model.MetricTypeGaugeHistogram:
		return typeGaugeHistogram
	case model.MetricTypeSummary:
		return typeSummary
	case model.MetricTypeInfo:
		return typeInfo
	case model.MetricTypeStateset:
		return typeStateset
	default:
		return typeUnknown
	}
}

func (t metricType) model() model.MetricType {
	switch t {
	case typeCounter:
		return model.MetricTypeCounter
	case typeGauge:
		return model.MetricTypeGauge
	case typeHistogram:
		return model.MetricTypeHistogram
	case typeGaugeHistogram:
		return model.MetricTypeGaugeHistogram
	case typeSummary:
		return model.MetricTypeSummary
	case typeInfo:
		return model.MetricTypeInfo
	case typeStateset:
		return model.MetricTypeStateset
	default:
		return model.MetricTypeUnknown
	}
}
