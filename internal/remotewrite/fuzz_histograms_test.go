package remotewrite

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// FuzzHistograms holds decode(encode(batch)) == batch, by Prometheus' own decoder, for native histograms of every
// kind with exemplars, metadata and starts, in 2.0, and in 1.0 except for custom buckets and starts.
func FuzzHistograms(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(seed, uint8(5), "trace_id", "abc")
	}
	f.Add(uint64(99), uint8(30), "", "ünï\n")
	f.Add(uint64(100), uint8(3), "bad\xff", "x")
	f.Fuzz(func(t *testing.T, seed uint64, n uint8, name, value string) {
		d := histogramDraw{rand.New(rand.NewPCG(seed, 1))}
		ec := endpointConfig("a")
		ec.SendExemplars, ec.SendNativeHistograms = true, true
		ec.QueueConfig.MaxSamplesPerSend = 1 + int(seed%9)
		w := newWorld(t, ec)
		public := labels.FromStrings("instance", "pod-1", "job", "envoy")
		id := w.table.AddTarget(public)
		var b series.Batch
		b.Reset(id, 1_700_000_000_000)
		want2, want1 := map[string]string{}, map[string]string{}
		for i := range int(n%40) + 1 {
			ls := labels.NewBuilder(public).Set("__name__", fmt.Sprint("h", i)).Labels()
			index := b.Add(w.table.Add(id, ls, series.Meta{Type: model.MetricTypeHistogram, Help: "what it is"}), 0)
			h := d.histogram()
			h.Index = index
			b.Histograms = append(b.Histograms, h)
			text := histogramText(h.Integer, h.Float) + fmt.Sprint(" @", b.Time)
			start := ""
			if i%3 == 0 {
				b.Starts = append(b.Starts, series.Start{Index: index, Time: 1_600_000_000_000 + int64(i)})
				start = fmt.Sprint(" since ", 1_600_000_000_000+int64(i))
			}
			exemplars := ""
			for j := range i % 3 {
				x := exemplar.Exemplar{Labels: labels.FromStrings(name, value), Value: d.float(), Ts: int64(j + 1),
					HasTs: true}
				b.Exemplars = append(b.Exemplars, series.Exemplar{Index: index, Exemplar: x})
				if x.Labels.IsValid(model.UTF8Validation) && name != "" {
					exemplars += exemplarText(x)
				}
			}
			want2[ls.String()] = "histogram \"what it is\" " + text + start + exemplars
			if h.Integer == nil || h.Integer.Schema != histogram.CustomBucketsSchema {
				want1[ls.String()] = text + exemplars
			}
		}
		w.append(&b)
		ms := w.messages()
		compare(t, histogramsV2(t, ms), want2)
		compare(t, histogramsV1(t, ms), want1)
	})
}

func exemplarText(x exemplar.Exemplar) string {
	return fmt.Sprintf(" # %s %x %d", x.Labels, math.Float64bits(x.Value), x.Ts)
}

// histogramText writes every field, so that nothing is taken for equal that is not.
func histogramText(h *histogram.Histogram, fh *histogram.FloatHistogram) string {
	if h != nil {
		return fmt.Sprintf("integer %v %d %x %x %d %d %v %v %v %v %v", h.CounterResetHint, h.Schema,
			math.Float64bits(h.ZeroThreshold),
			math.Float64bits(h.Sum), h.ZeroCount, h.Count, h.PositiveSpans, h.PositiveBuckets, h.NegativeSpans,
			h.NegativeBuckets, h.CustomValues)
	}
	return fmt.Sprintf("float %v %d %x %x %x %x %v %v %v %v %v", fh.CounterResetHint, fh.Schema,
		math.Float64bits(fh.ZeroThreshold),
		math.Float64bits(fh.Sum), math.Float64bits(fh.ZeroCount), math.Float64bits(fh.Count), fh.PositiveSpans,
		fh.PositiveBuckets,
		fh.NegativeSpans, fh.NegativeBuckets, fh.CustomValues)
}

func histogramsV2(t *testing.T, ms []wire.Message) map[string]string {
	out := map[string]string{}
	var b labels.ScratchBuilder
	for _, m := range ms {
		req := decodeV2(t, m)
		for _, ts := range req.Timeseries {
			ls, err := ts.ToLabels(&b, req.Symbols)
			if err != nil {
				t.Fatal(err)
			}
			meta, err := ts.ToMetadata(req.Symbols)
			if err != nil || len(ts.Samples) > 0 {
				t.Fatalf("%v, %d samples beside a histogram", err, len(ts.Samples))
			}
			line := fmt.Sprintf("%s %q ", meta.Type, meta.Help)
			for _, h := range ts.Histograms {
				if h.IsFloatHistogram() {
					line += histogramText(nil, h.ToFloatHistogram())
				} else {
					line += histogramText(h.ToIntHistogram(), nil)
				}
				line += fmt.Sprint(" @", h.Timestamp) + since(h.StartTimestamp)
			}
			for _, x := range ts.Exemplars {
				e, err := x.ToExemplar(&b, req.Symbols)
				if err != nil {
					t.Fatal(err)
				}
				line += exemplarText(e)
			}
			out[ls.String()] += line
		}
	}
	return out
}

func histogramsV1(t *testing.T, ms []wire.Message) map[string]string {
	out := map[string]string{}
	var b labels.ScratchBuilder
	for _, m := range ms {
		req, _ := decodeV1(t, m, true)
		for _, ts := range req.Timeseries {
			line := ""
			for _, h := range ts.Histograms {
				if h.IsFloatHistogram() {
					line += histogramText(nil, h.ToFloatHistogram())
				} else {
					line += histogramText(h.ToIntHistogram(), nil)
				}
				line += fmt.Sprint(" @", h.Timestamp)
			}
			for _, x := range ts.Exemplars {
				line += exemplarText(x.ToExemplar(&b, nil))
			}
			out[ts.ToLabels(&b, nil).String()] += line
		}
	}
	return out
}

// histogramDraw makes histograms of every kind. They need not add up: an encoder does not care.
type histogramDraw struct{ *rand.Rand }

func (d histogramDraw) float() float64 {
	return []float64{0, 1, 0.5, math.Inf(1), -3.25, 1e300, math.Copysign(0, -1)}[d.IntN(7)]
}

func (d histogramDraw) spans() (spans []histogram.Span, buckets int) {
	for range d.IntN(4) {
		s := histogram.Span{Offset: int32(d.IntN(2000) - 1000), Length: uint32(d.IntN(4))}
		spans, buckets = append(spans, s), buckets+int(s.Length)
	}
	return spans, buckets
}

func (d histogramDraw) histogram() series.Histogram {
	h := &histogram.Histogram{
		CounterResetHint: histogram.CounterResetHint(d.IntN(4)), Schema: int32(d.IntN(13) - 4),
		ZeroThreshold: d.float(),
		ZeroCount:     d.Uint64() >> d.IntN(64), Count: d.Uint64() >> d.IntN(64), Sum: d.float(),
	}
	var n int
	h.PositiveSpans, n = d.spans()
	for range n {
		h.PositiveBuckets = append(h.PositiveBuckets, d.Int64()>>d.IntN(64))
	}
	if d.IntN(4) == 0 {
		h.Schema, h.ZeroThreshold, h.ZeroCount = histogram.CustomBucketsSchema, 0, 0
		h.CustomValues = []float64{0.5, 1, d.float()}
		return series.Histogram{Integer: h}
	}
	h.NegativeSpans, n = d.spans()
	for range n {
		h.NegativeBuckets = append(h.NegativeBuckets, d.Int64()>>d.IntN(64))
	}
	if d.IntN(3) > 0 {
		return series.Histogram{Integer: h}
	}
	fh := &histogram.FloatHistogram{
		CounterResetHint: h.CounterResetHint, Schema: h.Schema, ZeroThreshold: h.ZeroThreshold, ZeroCount: d.float(),
		Count: d.float(),
		Sum:   h.Sum, PositiveSpans: h.PositiveSpans, NegativeSpans: h.NegativeSpans,
	}
	for range h.PositiveBuckets {
		fh.PositiveBuckets = append(fh.PositiveBuckets, d.float())
	}
	for range h.NegativeBuckets {
		fh.NegativeBuckets = append(fh.NegativeBuckets, d.float())
	}
	return series.Histogram{Float: fh}
}
