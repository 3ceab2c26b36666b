package wire

import "github.com/envoy-scraper/envoy-scraper/internal/series"

// Row is one sample with everything that is encoded of it.
type Row struct {
	Parts     series.Parts // of the series
	Value     float64
	Time      int64
	Start     int64 // when the counter started; 0: unknown. Never later than time
	Histogram *series.Histogram
	Exemplars []series.Exemplar
}
