package remotewrite

import (
	"slices"
	"strings"

	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// families returns what is known of each metric family, sorted by name. If two things are known of one name, it
// returns both.
func families(table *series.Table) []wire.Family {
	var all []wire.Family
	table.EachFamily(func(name string, typ model.MetricType, help, unit string) {
		all = append(all, wire.Family{Name: familyName(name, typ), Type: typ, Help: help, Unit: unit})
	})
	slices.SortFunc(all, func(a, b wire.Family) int {
		return strings.Compare(a.Name+"\xff"+string(a.Type)+"\xff"+a.Help+"\xff"+a.Unit,
			b.Name+"\xff"+string(b.Type)+"\xff"+b.Help+"\xff"+b.Unit)
	})
	return slices.Compact(all)
}

// familyName removes the suffix that a histogram or summary adds to its name in each of its series.
func familyName(series string, typ model.MetricType) string {
	switch typ {
	case model.MetricTypeHistogram, model.MetricTypeGaugeHistogram, model.MetricTypeSummary:
		for _, suffix := range []string{"_bucket", "_gcount", "_gsum", "_count", "_sum"} {
			if name, ok := strings.CutSuffix(series, suffix); ok {
				return name
			}
		}
	}
	return series
}
