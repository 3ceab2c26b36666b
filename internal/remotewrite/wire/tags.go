package wire

// Field tags of io.prometheus.write.v2, as they stand on the wire.
const (
	tagSymbol = 4<<3 | wireBytes // Request
	tagSeries = 5<<3 | wireBytes

	tagLabelRefs = 1<<3 | wireBytes // TimeSeries
	tagSample    = 2<<3 | wireBytes
	tagHistogram = 3<<3 | wireBytes
	tagExemplar  = 4<<3 | wireBytes
	tagMetadata  = 5<<3 | wireBytes

	tagSampleValue = 1<<3 | wireFixed64
	tagSampleTime  = 2<<3 | wireVarint
	tagSampleStart = 3<<3 | wireVarint // not in 1.0

	tagExemplarLabels = 1<<3 | wireBytes
	tagExemplarValue  = 2<<3 | wireFixed64
	tagExemplarTime   = 3<<3 | wireVarint

	tagMetaType = 1<<3 | wireVarint
	tagMetaHelp = 3<<3 | wireVarint
	tagMetaUnit = 4<<3 | wireVarint
)

// Field tags of prometheus.WriteRequest (1.0). Sample, Histogram and Exemplar's own value and time are the same
// bytes in 1.0 and 2.0.
const (
	tagSeriesV1 = 1<<3 | wireBytes // WriteRequest

	tagLabelV1     = 1<<3 | wireBytes // TimeSeries
	tagSampleV1    = 2<<3 | wireBytes
	tagExemplarV1  = 3<<3 | wireBytes
	tagHistogramV1 = 4<<3 | wireBytes

	tagLabelNameV1  = 1<<3 | wireBytes
	tagLabelValueV1 = 2<<3 | wireBytes
)

// Field tags of prometheus.WriteRequest and prometheus.MetricMetadata, remote write 1.0.
const (
	tagMetadataV1   = 3<<3 | wireBytes
	tagMetaTypeV1   = 1<<3 | wireVarint
	tagMetaFamilyV1 = 2<<3 | wireBytes
	tagMetaHelpV1   = 4<<3 | wireBytes
	tagMetaUnitV1   = 5<<3 | wireBytes
)

// Field tags of Histogram. They are the same in 1.0 and 2.0, except for the start, which 1.0 does not have.
const (
	tagCountInt       = 1<<3 | wireVarint
	tagCountFloat     = 2<<3 | wireFixed64
	tagSum            = 3<<3 | wireFixed64
	tagSchema         = 4<<3 | wireVarint
	tagZeroThreshold  = 5<<3 | wireFixed64
	tagZeroCountInt   = 6<<3 | wireVarint
	tagZeroCountFloat = 7<<3 | wireFixed64
	tagNegativeSpan   = 8<<3 | wireBytes
	tagNegativeDeltas = 9<<3 | wireBytes
	tagNegativeCounts = 10<<3 | wireBytes
	tagPositiveSpan   = 11<<3 | wireBytes
	tagPositiveDeltas = 12<<3 | wireBytes
	tagPositiveCounts = 13<<3 | wireBytes
	tagResetHint      = 14<<3 | wireVarint
	tagHistogramTime  = 15<<3 | wireVarint
	fieldSchema       = 4
	fieldCustomValues = 16 // its tag takes two bytes
	fieldStart        = 17 // and so does this
)
