package wire

import (
	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// Family is what is known of a metric family: all series of one name, without the suffix that its type adds.
type Family struct {
	Name, Help, Unit string
	Type             model.MetricType
}

// AppendFamilies appends a prometheus.WriteRequest that has only metadata.
func AppendFamilies(dst []byte, all []Family) []byte {
	var m []byte
	for _, f := range all {
		m = appendVarintField(m[:0], tagMetaTypeV1, uint64(series.TypeOf(f.Type)))
		m = appendBytesField(m, tagMetaFamilyV1, f.Name)
		m = appendBytesField(m, tagMetaHelpV1, f.Help)
		m = appendBytesField(m, tagMetaUnitV1, f.Unit)
		dst = appendBytesField(dst, tagMetadataV1, m)
	}
	return dst
}
