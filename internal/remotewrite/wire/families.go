package wire

import (
	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// family is what is known of the series of one name. Its name is theirs, less what the type adds to it.
type Family struct {
	Name, Help, Unit string
	Type             model.MetricType
}

// appendFamilies appends a prometheus.WriteRequest with nothing but metadata.
func AppendFamilies(dst []byte, all []Family) []byte {
	var m []byte
	for _, f := range all {
		m = appendVarintField(m[:0], tagV1MetaType, uint64(series.TypeOf(f.Type)))
		m = appendBytesField(m, tagV1MetaFamily, f.Name)
		m = appendBytesField(m, tagV1MetaHelp, f.Help)
		m = appendBytesField(m, tagV1MetaUnit, f.Unit)
		dst = appendBytesField(dst, tagV1Metadata, m)
	}
	return dst
}
