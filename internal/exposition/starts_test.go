package exposition

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/gogo/protobuf/types"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	dto "github.com/prometheus/prometheus/prompb/io/prometheus/client"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

const (
	openMetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8"
	protobuf    = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)

// startsOn reads a page twice, the second time as a known one, and returns the starts by series.
func startsOn(t *testing.T, page []byte, contentType string, opts Options) map[string]int64 {
	t.Helper()
	l := newLearner()
	p := NewPage(l.layouts, l, opts)
	var reads [2]map[string]int64
	for i := range reads {
		var b series.Batch
		b.Reset(l.target, 1)
		if _, err := p.Read(bytes.NewReader(page), contentType, math.MaxInt64, &b); err != nil {
			t.Fatal(err)
		}
		if !slices.IsSortedFunc(b.Starts, func(a, b series.Start) int { return a.Index - b.Index }) {
			t.Errorf("not in order: %v", b.Starts)
		}
		samples := l.samples(&b)
		reads[i] = map[string]int64{}
		for _, s := range b.Starts {
			reads[i][samples[s.Index].labels] += s.Time // two starts of one series would add up
		}
		p.Commit(Shown{}).Release()
	}
	if !maps.Equal(reads[0], reads[1]) {
		t.Errorf("starts %v, then %v", reads[0], reads[1])
	}
	return reads[0]
}

// startsByTextparse returns the starts that Prometheus finds with its feature flag.
func startsByTextparse(t *testing.T, page []byte, contentType string, opts textparse.ParserOptions) map[string]int64 {
	t.Helper()
	opts.OpenMetricsSkipSTSeries = true
	p, err := textparse.New(page, contentType, nil, opts)
	if err != nil {
		t.Fatal(err)
	}
	starts := map[string]int64{}
	for {
		entry, err := p.Next()
		switch {
		case errors.Is(err, io.EOF):
			return starts
		case err != nil:
			t.Fatal(err)
		case entry == textparse.EntrySeries || entry == textparse.EntryHistogram:
			if entry == textparse.EntryHistogram { // has to be called before Next
				p.Histogram()
			} else {
				p.Series()
			}
			var l labels.Labels
			p.Labels(&l)
			if start := p.StartTimestamp(); start != 0 {
				starts[l.String()] = start
			}
		}
	}
}

func TestRow64StartsInOpenMetrics(t *testing.T) {
	const counters = "# TYPE c counter\nc_total{x=\"1\"} 1\nc_created{x=\"1\"} 1520872607.123\nc_total{x=\"2\"} 1\n" +
		"c_created{x=\"2\"} 1520872608\n"
	const histograms = "# HELP h help\n# TYPE h histogram\n" +
		"h_bucket{a=\"1\",le=\"1\"} 1\nh_bucket{a=\"1\",le=\"+Inf\"} 2\nh_count{a=\"1\"} 2\nh_sum{a=\"1\"} 3\n" +
		"h_created{a=\"1\"} 7.5\n" +
		"h_bucket{a=\"2\",le=\"+Inf\"} 2\nh_count{a=\"2\"} 2\nh_created{a=\"2\"} 8.5\nh_sum{a=\"2\"} 3\n"
	const summaries = "# TYPE s summary\ns_count 1\ns_sum 1\ns_created 1520430000.5\ns{quantile=\"0.5\"} 1\n" +
		"s{quantile=\"0.9\"} 1\n"
	const gauges = "# TYPE g gauge\ng 1\ng_created 5\n# TYPE g_created gauge\ng_created{x=\"1\"} 6\n"
	const some = "# TYPE n counter\nn_total{x=\"1\"} 1\n" +
		"# TYPE m counter\nm_total{x=\"1\"} 1 12\nm_created{x=\"1\"} 9\nm_total{x=\"2\"} 1\n" +
		"# TYPE o counter\no_total{x=\"2\"} 1\n# TYPE \"u.t\" counter\n{\"u.t_total\",x=\"2\"} 1\n" +
		"{\"u.t_created\",x=\"2\"} 4\n"
	const page = counters + histograms + summaries + gauges + some + "# EOF\n"
	want := startsByTextparse(t, []byte(page), openMetrics, textparse.ParserOptions{})
	if got := startsOn(t, []byte(page), openMetrics, Options{}); !maps.Equal(got, want) || len(got) != 15 {
		t.Errorf("got %d %v\nwant 15 %v", len(got), got, want)
	}
	if got := startsOn(t, []byte(page), "text/plain", Options{ToCustomBuckets: true}); len(got) != 0 {
		t.Errorf("plain text: %v, want none", got)
	}
	isCreated := func(s sample) bool { return s.labels == `{__name__="c_created", x="1"}` }
	if _, samples, _ := readOnce(t, page, Options{}); !slices.ContainsFunc(samples, isCreated) {
		t.Errorf("c_created is gone: %v", samples)
	}

	want = startsByTextparse(t, []byte(histograms+"# EOF\n"), openMetrics,
		textparse.ParserOptions{ConvertClassicHistogramsToNHCB: true})
	got := startsOn(t, []byte(histograms+"# EOF\n"), openMetrics, Options{ToCustomBuckets: true, MaxHistogramSchema: 8})
	if one := `{__name__="h", a="1"}`; got[one] != 7500 || got[one] != want[one] {
		t.Errorf("custom buckets: %v, want %v", got, want)
	}
}

func readOnce(t *testing.T, page string, opts Options) (starts []series.Start, samples []sample, c Counts) {
	t.Helper()
	l := newLearner()
	p := NewPage(l.layouts, l, opts)
	var b series.Batch
	b.Reset(l.target, 1)
	c, err := p.Read(strings.NewReader(page), openMetrics, math.MaxInt64, &b)
	if err != nil {
		t.Fatal(err)
	}
	return b.Starts, l.samples(&b), c
}

// A start that the page prints in a wrong way is none. A _created sample that relabeling drops still holds for others.
func TestRow64OddStarts(t *testing.T) {
	for name, tc := range map[string]struct {
		page string
		want []series.Start
	}{
		"not a number": {"# TYPE c counter\nc_total 1\nc_created nan\n", nil},
		"infinite":     {"# TYPE c counter\nc_total 1\nc_created +Inf\n", nil},
		"too large":    {"# TYPE c counter\nc_total 1\nc_created 1e300\n", nil},
		"negative":     {"# TYPE c counter\nc_total 1\nc_created -1\n", nil},
		"zero":         {"# TYPE c counter\nc_total 1\nc_created 0\n", nil},
		"twice": {"# TYPE c counter\nc_total 1\nc_created 1 3\nc_created 2 3\n",
			[]series.Start{{Index: 0, Time: 1000}}},
		"twice, first void": {"# TYPE c counter\nc_total 1\nc_created 0 3\nc_created 2 3\n", nil},
		"series dropped": {"# TYPE drop counter\ndrop_total 1\ndrop_created 1\n# TYPE c counter\nc_total 1\n" +
			"c_created 2\n", []series.Start{{Index: 0, Time: 2000}}},
		"of another family": {"# TYPE c counter\nc_total 1\nd_created 1\n", nil},
		"of other labels":   {"# TYPE c counter\nc_total 1\nc_created{x=\"1\"} 1\n", nil},
		"without a TYPE":    {"c_total 1\nc_created 1\n", nil},
		"not together":      {"# TYPE c counter\nc_total{x=\"1\"} 1\nc_total{x=\"2\"} 1\nc_created{x=\"1\"} 1\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, _ := readOnce(t, tc.page+"# EOF\n", Options{HonorTimestamps: true})
			if !slices.Equal(got, tc.want) {
				t.Errorf("starts %v, want %v", got, tc.want)
			}
		})
	}
}

func TestRow64StartsInProtobuf(t *testing.T) {
	at := &types.Timestamp{Seconds: 1_520_872_607, Nanos: 123_456_789}
	var page []byte
	add := func(name string, typ dto.MetricType, m dto.Metric) {
		b, err := (&dto.MetricFamily{Name: name, Type: typ, Metric: []dto.Metric{m}}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		page = append(binary.AppendUvarint(page, uint64(len(b))), b...)
	}
	add("c_total", dto.MetricType_COUNTER, dto.Metric{Counter: &dto.Counter{Value: 1, StartTimestamp: at}})
	add("without_total", dto.MetricType_COUNTER, dto.Metric{Counter: &dto.Counter{Value: 1}})
	add("void_total", dto.MetricType_COUNTER, dto.Metric{Counter: &dto.Counter{Value: 1,
		StartTimestamp: &types.Timestamp{Seconds: -5}}})
	add("g", dto.MetricType_GAUGE, dto.Metric{Gauge: &dto.Gauge{Value: 1}})
	add("s", dto.MetricType_SUMMARY, dto.Metric{Summary: &dto.Summary{
		SampleCount: 1, SampleSum: 1, Quantile: []dto.Quantile{{Quantile: 0.5, Value: 1}}, StartTimestamp: at}})
	add("h", dto.MetricType_HISTOGRAM, dto.Metric{Histogram: &dto.Histogram{
		SampleCount: 3, SampleSum: 1, Bucket: []dto.Bucket{{UpperBound: 1, CumulativeCount: 2}}, StartTimestamp: at,
		Schema: 3, ZeroThreshold: 0.001, ZeroCount: 1,
		PositiveSpan: []dto.BucketSpan{{Length: 1}}, PositiveDelta: []int64{2}}})
	for kind, opts := range map[string]Options{
		"classic":        {},
		"native":         {NativeHistograms: true, MaxHistogramSchema: 8},
		"both":           {NativeHistograms: true, MaxHistogramSchema: 8, ClassicToo: true},
		"custom buckets": {ToCustomBuckets: true, MaxHistogramSchema: 8},
	} {
		t.Run(kind, func(t *testing.T) {
			want := startsByTextparse(t, page, protobuf,
				textparse.ParserOptions{
					IgnoreNativeHistograms:                  !opts.NativeHistograms,
					ConvertClassicHistogramsToNHCB:          opts.ToCustomBuckets,
					KeepClassicOnClassicAndNativeHistograms: opts.ClassicToo,
				})
			delete(want, `{__name__="void_total"}`)
			got := startsOn(t, page, protobuf, opts)
			if !maps.Equal(got, want) || got[`{__name__="c_total"}`] != 1_520_872_607_123 {
				t.Errorf("got %v\nwant %v", got, want)
			}
			native := opts.NativeHistograms || opts.ToCustomBuckets
			if _, ok := got[`{__name__="h"}`]; ok != native {
				t.Errorf("start of a native histogram: %v, want %v", ok, native)
			}
		})
	}
}
