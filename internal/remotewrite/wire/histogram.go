package wire

import (
	"encoding/binary"
	"math"

	"github.com/prometheus/prometheus/model/histogram"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// appendHistogram appends a native histogram as a field of its TimeSeries.
func appendHistogram(dst []byte, tag byte, h *series.Histogram, tsMillis, startMillis int64) []byte {
	var m []byte
	if h.Integer != nil {
		m = appendIntegerHistogram(nil, h.Integer)
	} else {
		m = appendFloatHistogram(nil, h.Float)
	}
	m = appendVarintField(m, tagHistogramTime, uint64(tsMillis))
	if startMillis != 0 {
		m = appendUvarint(appendUvarint(m, fieldStart<<3|wireVarint), uint64(startMillis))
	}
	return appendBytesField(dst, tag, m)
}

// appendIntegerHistogram writes count and zero_count even if they are 0: which member of each oneof is there says
// whether the histogram has integers or floats.
func appendIntegerHistogram(m []byte, h *histogram.Histogram) []byte {
	m = appendUvarint(append(m, tagCountInt), h.Count)
	m = appendDoubleField(m, tagSum, h.Sum)
	m = appendVarintField(m, tagSchema, zigzag(int64(h.Schema)))
	m = appendDoubleField(m, tagZeroThreshold, h.ZeroThreshold)
	m = appendUvarint(append(m, tagZeroCountInt), h.ZeroCount)
	m = appendSpans(m, tagNegativeSpan, h.NegativeSpans)
	m = appendDeltas(m, tagNegativeDeltas, h.NegativeBuckets)
	m = appendSpans(m, tagPositiveSpan, h.PositiveSpans)
	m = appendDeltas(m, tagPositiveDeltas, h.PositiveBuckets)
	m = appendVarintField(m, tagResetHint, uint64(h.CounterResetHint))
	return appendCustomValues(m, h.CustomValues)
}

func appendFloatHistogram(m []byte, h *histogram.FloatHistogram) []byte {
	m = binary.LittleEndian.AppendUint64(append(m, tagCountFloat), math.Float64bits(h.Count))
	m = appendDoubleField(m, tagSum, h.Sum)
	m = appendVarintField(m, tagSchema, zigzag(int64(h.Schema)))
	m = appendDoubleField(m, tagZeroThreshold, h.ZeroThreshold)
	m = binary.LittleEndian.AppendUint64(append(m, tagZeroCountFloat), math.Float64bits(h.ZeroCount))
	m = appendSpans(m, tagNegativeSpan, h.NegativeSpans)
	m = appendDoubles(m, tagNegativeCounts, h.NegativeBuckets)
	m = appendSpans(m, tagPositiveSpan, h.PositiveSpans)
	m = appendDoubles(m, tagPositiveCounts, h.PositiveBuckets)
	m = appendVarintField(m, tagResetHint, uint64(h.CounterResetHint))
	return appendCustomValues(m, h.CustomValues)
}

func appendSpans(m []byte, tag byte, spans []histogram.Span) []byte {
	for _, s := range spans {
		var buf [16]byte
		b := appendVarintField(buf[:0], 1<<3|wireVarint, zigzag(int64(s.Offset)))
		b = appendVarintField(b, 2<<3|wireVarint, uint64(s.Length))
		m = appendBytesField(m, tag, b)
	}
	return m
}

func appendDeltas(m []byte, tag byte, deltas []int64) []byte {
	if len(deltas) == 0 {
		return m
	}
	size := 0
	for _, d := range deltas {
		size += uvarintSize(zigzag(d))
	}
	m = appendUvarint(append(m, tag), uint64(size))
	for _, d := range deltas {
		m = appendUvarint(m, zigzag(d))
	}
	return m
}

func appendDoubles(m []byte, tag byte, values []float64) []byte {
	if len(values) == 0 {
		return m
	}
	return appendDoublesBody(append(m, tag), values)
}

func appendCustomValues(m []byte, values []float64) []byte {
	if len(values) == 0 {
		return m
	}
	return appendDoublesBody(appendUvarint(m, fieldCustomValues<<3|wireBytes), values)
}

func appendDoublesBody(m []byte, values []float64) []byte {
	m = appendUvarint(m, uint64(8*len(values)))
	for _, v := range values {
		m = binary.LittleEndian.AppendUint64(m, math.Float64bits(v))
	}
	return m
}

// isCustomBuckets reports whether an encoded histogram has custom buckets, which 1.0 does not have.
func isCustomBuckets(m []byte) (custom bool, err error) {
	err = eachField(m, func(f field) error {
		if f.number == fieldSchema {
			schema := int64(f.value>>1) ^ -int64(f.value&1)
			custom = histogram.IsCustomBucketsSchema(int32(schema))
		}
		return nil
	})
	return custom, err
}
