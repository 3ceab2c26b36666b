package exposition

import (
	"fmt"
	"math"
	"strings"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/histogram"
)

// AcceptHeader is what a scrape asks for: each protocol with a weight by its place, then anything
// (RFC 9110, 12.5.1).
func AcceptHeader(protocols []promconfig.ScrapeProtocol, escaping model.EscapingScheme) string {
	weight := len(promconfig.ScrapeProtocolsHeaders) + 1
	var b strings.Builder
	for _, protocol := range protocols {
		b.WriteString(promconfig.ScrapeProtocolsHeaders[protocol])
		switch protocol {
		case promconfig.PrometheusText1_0_0, promconfig.OpenMetricsText1_0_0, promconfig.OpenMetricsText2_0_0:
			fmt.Fprintf(&b, ";%s=%s", model.EscapingKey, escaping)
		}
		fmt.Fprintf(&b, ";q=0.%d,", weight)
		weight--
	}
	fmt.Fprintf(&b, "*/*;q=0.%d", weight)
	return b.String()
}

// AcceptEncoding is what a scrape of Prometheus takes: gzip, unless enable_compression is false.
func AcceptEncoding(compression bool) string {
	if compression {
		return "gzip"
	}
	return "identity"
}

// MaxSchema is the finest schema of native histograms whose buckets grow by at least the given factor
// (native_histogram_min_bucket_factor): each schema's factor is the square root of the one before.
func MaxSchema(minBucketFactor float64) int32 {
	if minBucketFactor <= 1 {
		return histogram.ExponentialSchemaMax
	}
	schema := math.Floor(-math.Log2(math.Log2(minBucketFactor)))
	return int32(min(max(schema, float64(histogram.ExponentialSchemaMin)), float64(histogram.ExponentialSchemaMax)))
}
