package remotewrite

import "github.com/envoy-scraper/envoy-scraper/internal/series"

// wireRow is one sample with all that is encoded of it.
type wireRow struct {
	parts     series.Parts // of the series
	value     float64
	time      int64
	start     int64 // when the counter started; 0: unknown. Never later than time
	histogram *series.Histogram
	exemplars []series.Exemplar
}
