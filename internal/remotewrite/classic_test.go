package remotewrite

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/model/value"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// TestClassicSeriesEndAfterAChange: the classic series of a histogram with custom buckets are marked when it
// ends, though the settings or the number of lanes changed since it was seen.
func TestClassicSeriesEndAfterAChange(t *testing.T) {
	for name, change := range map[string]func(w *world, ec *EndpointConfig){
		"settings": func(w *world, ec *EndpointConfig) {
			ec.QueueConfig.BatchSendDeadline = model.Duration(7 * time.Second)
			w.cfg.Endpoints = []EndpointConfig{*ec}
			w.apply()
		},
		"lanes": func(w *world, _ *EndpointConfig) { (*w.writers.endpoints.Load())[0].packer.Resize(5) },
	} {
		for kind, rules := range map[string][]*relabel.Config{"": nil, ", with rules": {replaceLabel("cluster", "c")}} {
			t.Run(name+kind, func(t *testing.T) {
				ec := explicit(endpointConfig("a"), wire.V2)
				ec.ConvertNHCBToClassic, ec.SendNativeHistograms = true, true
				ec.WriteRelabelConfigs = rules
				w := newWorld(t, ec)
				const targets, marks = 8, 5 // enough of them for some to change their lane
				var ids [targets]series.TargetID
				var of [targets]series.ID
				for i := range targets {
					public := labels.FromStrings("instance", fmt.Sprintf("pod-%d", i), "job", "envoy")
					ids[i] = w.table.AddTarget(public)
					of[i] = w.series(ids[i], public, "h")
				}
				for i := range targets {
					var b series.Batch
					b.Reset(ids[i], 1000)
					at := b.Add(of[i], 0)
					b.Histograms = append(b.Histograms, series.Histogram{Index: at, Integer: &histogram.Histogram{
						Schema: histogram.CustomBucketsSchema, Count: 6, Sum: 9, CustomValues: []float64{1, 2.5},
						PositiveSpans: []histogram.Span{{Length: 3}}, PositiveBuckets: []int64{1, 1, 1},
					}})
					w.append(&b)
				}
				w.messages()
				next := *ec.RemoteWriteConfig
				change(w, &EndpointConfig{RemoteWriteConfig: &next})
				for i := range targets {
					var b series.Batch
					b.Reset(ids[i], 2000)
					b.Add(of[i], math.Float64frombits(value.StaleNaN))
					w.append(&b)
				}
				n := 0
				for _, m := range w.messages() {
					n += m.Samples
				}
				if n != targets*marks {
					t.Errorf("%d markers, want %d: each bucket, sum and count of each", n, targets*marks)
				}
			})
		}
	}
}
