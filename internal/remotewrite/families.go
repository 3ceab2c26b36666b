package remotewrite

import (
	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// Field tags of prometheus.WriteRequest and prometheus.MetricMetadata, remote write 1.0.
const (
	tagV1Metadata   = 3<<3 | wireBytes
	tagV1MetaType   = 1<<3 | wireVarint
	tagV1MetaFamily = 2<<3 | wireBytes
	tagV1MetaHelp   = 4<<3 | wireBytes
	tagV1MetaUnit   = 5<<3 | wireBytes
)

// family is what is known of the series of one name. Its name is theirs, less what the type adds to it.
type family struct {
	name, help, unit string
	typ              model.MetricType
}

// appendFamilies appends a prometheus.WriteRequest with nothing but metadata.
func appendFamilies(dst []byte, all []family) []byte {
	var m []byte
	for _, f := range all {
		m = appendVarintField(m[:0], tagV1MetaType, uint64(series.TypeOf(f.typ)))
		m = appendBytesField(m, tagV1MetaFamily, f.name)
		m = appendBytesField(m, tagV1MetaHelp, f.help)
		m = appendBytesField(m, tagV1MetaUnit, f.unit)
		dst = appendBytesField(dst, tagV1Metadata, m)
	}
	return dst
}
