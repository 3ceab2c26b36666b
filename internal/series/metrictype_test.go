package series

import (
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

func TestMetricTypesHaveTheNumbersOfRemoteWrite(t *testing.T) {
	for _, typ := range []model.MetricType{
		model.MetricTypeUnknown, model.MetricTypeCounter, model.MetricTypeGauge, model.MetricTypeHistogram,
		model.MetricTypeGaugeHistogram, model.MetricTypeSummary, model.MetricTypeInfo, model.MetricTypeStateset,
	} {
		n := TypeOf(typ)
		v1, v2 := int(prompb.FromMetadataType(typ)), int(writev2.FromMetadataType(typ))
		if int(n) != v1 || int(n) != v2 {
			t.Errorf("%s is %d here, %d in 1.0, %d in 2.0", typ, n, v1, v2)
		}
		if n.Model() != typ {
			t.Errorf("%s comes back as %s", typ, n.Model())
		}
	}
	if TypeOf("") != TypeUnknown || TypeOf("nonsense") != TypeUnknown {
		t.Error("an unknown type is not TypeUnknown")
	}
}
