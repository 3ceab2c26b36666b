package scrape

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gogo/protobuf/types"
	dto "github.com/prometheus/prometheus/prompb/io/prometheus/client"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// format is one of the formats that Prometheus 3.16 reads.
type format struct {
	contentType string
	print       func([]*dto.MetricFamily) []byte
}

func formats() map[string]format {
	text := func(f []*dto.MetricFamily) []byte { return printText(f, false) }
	open := func(f []*dto.MetricFamily) []byte { return printText(f, true) }
	return map[string]format{
		"text 0.0.4":        {"text/plain; version=0.0.4; charset=utf-8", text},
		"text 1.0.0":        {"text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8", text},
		"Envoy's text":      {"text/plain; charset=UTF-8", text},
		"OpenMetrics 0.0.1": {"application/openmetrics-text; version=0.0.1; charset=utf-8", open},
		"OpenMetrics 1.0.0": {"application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8", open},
		"protobuf": {"application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; " +
			"encoding=delimited", printProtobuf},
	}
}

// formatJobs are the settings that decide what becomes of a histogram.
func formatJobs() []string {
	return []string{
		"", "  scrape_native_histograms: true\n",
		"  scrape_native_histograms: true\n  always_scrape_classic_histograms: true\n",
		"  convert_classic_histograms_to_nhcb: true\n",
		"  convert_classic_histograms_to_nhcb: true\n  always_scrape_classic_histograms: true\n  " +
			"scrape_native_histograms: true\n",
		"  scrape_native_histograms: true\n  native_histogram_bucket_limit: 4\n  " +
			"convert_classic_histograms_to_nhcb: true\n",
		"  scrape_native_histograms: true\n  native_histogram_min_bucket_factor: 1.5\n",
		"  scrape_native_histograms: true\n  native_histogram_min_bucket_factor: 20\n  " +
			"native_histogram_bucket_limit: 2\n  sample_limit: 12\n",
		"  honor_timestamps: false\n  scrape_native_histograms: true\n",
		"  track_timestamps_staleness: true\n  sample_limit: 25\n  convert_classic_histograms_to_nhcb: true\n",
		"  metric_name_validation_scheme: legacy\n  metric_name_escaping_scheme: underscores\n",
		"  metric_relabel_configs: [{source_labels: [__name__, le], regex: 'm1.*|.*;1.0', action: drop}, {regex: x, " +
			"action: labeldrop}]\n  scrape_native_histograms: true\n",
	}
}

func formatJob(tb testing.TB, m *metrics, yaml string) *jobState {
	tb.Helper()
	j, err := newJobState(job(tb, yaml), Options{})
	if err != nil {
		tb.Fatal(err)
	}
	j.metrics = m.of("envoy")
	return j
}

// newFormatPair is a target that reads one format under one configuration, beside its reference.
func newFormatPair(t *testing.T, m *metrics, job *jobState, contentType string) *pair {
	cfg := job.cfg
	table := series.NewTable()
	e := &env{table: table, layouts: exposition.NewLayouts(table), log: zap.NewNop(), metrics: m,
		seed: maphash.MakeSeed()}
	e.scratch.New = newScratch
	p := &pair{t: t, env: e, now: 1_700_000_000_000, mimeType: contentType}
	target := fuzzTarget("a:1", "pod-1", "")
	target.nativeHistograms = cfg.ScrapeNativeHistogramsEnabled()
	target.classicToo = cfg.AlwaysScrapeClassicHistogramsEnabled()
	target.toCustomBuckets = cfg.ConvertClassicHistogramsToNHCBEnabled()
	p.loops[0], p.refs[0] = newLoop(e, job, target), newReference(target.labels, cfg)
	return p
}

// TestFormats reads pages that change from scrape to scrape, in every format and under every treatment of
// histograms, and compares each with Prometheus' parser and the model of its scrape loop.
func TestFormats(t *testing.T) {
	m := newMetrics(nil)
	for name, f := range formats() {
		t.Run(name, func(t *testing.T) {
			for i, yaml := range formatJobs() {
				r := rand.New(rand.NewPCG(uint64(i), 1))
				p := newFormatPair(t, m, formatJob(t, m, yaml), f.contentType)
				good := 0
				for range 40 {
					page := f.print(somePage(r, p.now))
					if r.IntN(12) == 0 {
						page = page[:len(page)*2/3]
					}
					if p.scrape(0, page) {
						good++
					}
					if r.IntN(3) > 0 && p.scrape(0, page) {
						good++
					}
				}
				if good < 20 {
					t.Errorf("only %d good scrapes of some 60 with %q", good, yaml)
				}
			}
		})
	}
}

// TestEditedPages is TestFormats with pages that are damaged and repaired, so that good scrapes follow bad ones.
func TestEditedPages(t *testing.T) {
	m := newMetrics(nil)
	r := rand.New(rand.NewPCG(79, 4))
	kinds := []string{"text 1.0.0", "OpenMetrics 1.0.0", "protobuf"}
	var jobs []*jobState
	for _, yaml := range formatJobs() {
		jobs = append(jobs, formatJob(t, m, yaml))
	}
	for range 600 {
		f := formats()[kinds[r.IntN(len(kinds))]]
		p := newFormatPair(t, m, jobs[r.IntN(len(jobs))], f.contentType)
		page := f.print(somePage(r, p.now))
		for range 6 {
			switch r.IntN(4) {
			case 0:
				page = f.print(somePage(r, p.now))
			case 1:
				for range r.IntN(min(4, len(page)+1)) {
					page[r.IntN(len(page))] = byte(r.Uint32())
				}
			case 2:
				page = edit(page, binary.BigEndian.AppendUint64(nil, r.Uint64()))
			}
			p.scrape(0, page)
		}
	}
}

// FuzzFormats reads any bytes as a page of any format.
func FuzzFormats(f *testing.F) {
	kinds := []string{"text 1.0.0", "OpenMetrics 1.0.0", "protobuf"}
	m := newMetrics(nil)
	var jobs []*jobState
	for _, yaml := range formatJobs() {
		jobs = append(jobs, formatJob(f, m, yaml))
	}
	r := rand.New(rand.NewPCG(3, 4))
	for i := range 3 * len(jobs) {
		f.Add(formats()[kinds[i%3]].print(somePage(r, 1_700_000_000_000)), byte(i%3), byte(i/3))
	}
	f.Fuzz(func(t *testing.T, page []byte, kind, settings byte) {
		if len(page) > 8<<10 {
			return
		}
		p := newFormatPair(t, m, jobs[int(settings)%len(jobs)], formats()[kinds[int(kind)%3]].contentType)
		for range 2 {
			p.scrape(0, page)
		}
		p.scrape(0, page[:len(page)/2])
		p.scrape(0, page)
	})
}

// somePage makes families of every type, most of them with every feature.
func somePage(r *rand.Rand, now int64) []*dto.MetricFamily {
	types := []dto.MetricType{dto.MetricType_COUNTER, dto.MetricType_GAUGE, dto.MetricType_UNTYPED,
		dto.MetricType_SUMMARY, dto.MetricType_HISTOGRAM, dto.MetricType_GAUGE_HISTOGRAM}
	var families []*dto.MetricFamily
	for i := range 1 + r.IntN(6) {
		typ := types[(i+r.IntN(2)*r.IntN(len(types)))%len(types)]
		f := &dto.MetricFamily{Name: fmt.Sprintf("m%d", i), Type: typ}
		if r.IntN(3) == 0 {
			f.Help = "what \"it\" \\ is"
		}
		if r.IntN(30) == 0 {
			f.Name = "m.utf8"
		}
		for j := range 1 + r.IntN(3) {
			m := dto.Metric{Label: []dto.LabelPair{{Name: "x", Value: fmt.Sprint("v", j)}}}
			if r.IntN(8) == 0 {
				m.TimestampMs = now - r.Int64N(5000)
			}
			if r.IntN(100) == 0 {
				m.TimestampMs = now + 3_600_000
			}
			fill(r, &m, typ, now)
			f.Metric = append(f.Metric, m)
		}
		families = append(families, f)
	}
	return families
}

func fill(r *rand.Rand, m *dto.Metric, typ dto.MetricType, now int64) {
	var start *types.Timestamp
	if r.IntN(2) == 0 {
		start = &types.Timestamp{Seconds: now/1000 - r.Int64N(1000), Nanos: int32(r.IntN(1e9))}
	}
	v := float64(r.IntN(1000)) / 8
	switch typ {
	case dto.MetricType_COUNTER:
		m.Counter = &dto.Counter{Value: v, Exemplar: someExemplar(r, now), StartTimestamp: start}
	case dto.MetricType_GAUGE:
		m.Gauge = &dto.Gauge{Value: []float64{v, -v, math.NaN(), math.Inf(1),
			math.Float64frombits(0x7ff0000000000002)}[r.IntN(5)]}
	case dto.MetricType_UNTYPED:
		m.Untyped = &dto.Untyped{Value: v}
	case dto.MetricType_SUMMARY:
		m.Summary = &dto.Summary{SampleCount: 7, SampleSum: v, StartTimestamp: start,
			Quantile: []dto.Quantile{{Quantile: 0.5, Value: v}, {Quantile: 1, Value: 2 * v}}}
	default:
		m.Histogram = someHistogram(r, start, now)
	}
}

func someExemplar(r *rand.Rand, now int64) *dto.Exemplar {
	if r.IntN(2) == 0 {
		return nil
	}
	e := &dto.Exemplar{Label: []dto.LabelPair{{Name: "trace_id", Value: fmt.Sprint(r.IntN(2))}}, Value: 0.5}
	switch r.IntN(10) {
	case 0:
		e.Label[0].Value = strings.Repeat("ä", 121)
	case 1:
		e.Label = append(e.Label, dto.LabelPair{Name: "empty"})
	}
	if r.IntN(2) == 0 {
		e.Timestamp = &types.Timestamp{Seconds: now / 1000, Nanos: 5e8}
	}
	return e
}

// someHistogram has classic buckets, native ones, or both; now and then they do not add up.
func someHistogram(r *rand.Rand, start *types.Timestamp, now int64) *dto.Histogram {
	h := &dto.Histogram{SampleSum: 1.5 * float64(r.IntN(9)), StartTimestamp: start}
	kind := r.IntN(4)
	if kind != 0 {
		var sum uint64
		for i, bound := range []float64{0.5, 1, 2.5, 10}[:2+r.IntN(3)] {
			sum += uint64(r.IntN(4))
			h.Bucket = append(h.Bucket, dto.Bucket{UpperBound: bound, CumulativeCount: sum})
			if i == 1 {
				h.Bucket[i].Exemplar = someExemplar(r, now)
			}
		}
		h.SampleCount = sum + uint64(r.IntN(2))
	}
	if kind < 3 {
		h.Schema, h.ZeroThreshold, h.ZeroCount = int32(r.IntN(12)-3), 0.001, uint64(r.IntN(3))
		last, total := int64(0), h.ZeroCount
		for range 1 + r.IntN(6) {
			n := int64(r.IntN(4))
			h.PositiveDelta = append(h.PositiveDelta, n-last)
			last, total = n, total+uint64(n)
		}
		h.PositiveSpan = []dto.BucketSpan{{Offset: int32(r.IntN(5) - 2), Length: uint32(len(h.PositiveDelta))}}
		h.SampleCount = total
		if r.IntN(40) == 0 {
			h.SampleCount++
		}
		for range r.IntN(3) {
			if e := someExemplar(r, now); e != nil {
				h.Exemplars = append(h.Exemplars, e)
			}
		}
	}
	return h
}

func printProtobuf(families []*dto.MetricFamily) (page []byte) {
	for _, f := range families {
		b, err := f.Marshal()
		if err != nil {
			panic(err)
		}
		page = append(binary.AppendUvarint(page, uint64(len(b))), b...)
	}
	return page
}

// printText prints families as text; OpenMetrics has units, exemplars, the starts as _created and an end. Bounds are
// printed as Envoy prints them, "1" and not "1.0".
func printText(families []*dto.MetricFamily, openMetrics bool) []byte {
	var b strings.Builder
	for _, f := range families {
		kind := strings.ToLower(f.Type.String())
		if openMetrics {
			kind = strings.NewReplacer("untyped", "unknown", "gauge_histogram", "gaugehistogram").Replace(kind)
		}
		name := f.Name
		if strings.Contains(name, ".") {
			name = fmt.Sprintf("%q", name)
		}
		if f.Help != "" {
			fmt.Fprintf(&b, "# HELP %s %s\n", name, strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(f.Help))
		}
		fmt.Fprintf(&b, "# TYPE %s %s\n", name, kind)
		for i := range f.Metric {
			printMetric(&b, f, &f.Metric[i], openMetrics)
		}
	}
	if openMetrics {
		b.WriteString("# EOF\n")
	}
	return []byte(b.String())
}

func printMetric(b *strings.Builder, f *dto.MetricFamily, m *dto.Metric, openMetrics bool) {
	line := func(suffix, label string, v float64, e *dto.Exemplar) {
		pairs := fmt.Sprintf("%s=%q%s", m.Label[0].Name, m.Label[0].Value, label)
		if strings.Contains(f.Name, ".") {
			fmt.Fprintf(b, "{%q,%s} %v", f.Name+suffix, pairs, v)
		} else {
			fmt.Fprintf(b, "%s%s{%s} %v", f.Name, suffix, pairs, v)
		}
		switch {
		case m.TimestampMs != 0 && openMetrics:
			fmt.Fprintf(b, " %.3f", float64(m.TimestampMs)/1000)
		case m.TimestampMs != 0:
			fmt.Fprintf(b, " %d", m.TimestampMs)
		}
		if e != nil && openMetrics {
			var pairs []string
			for _, l := range e.Label {
				pairs = append(pairs, fmt.Sprintf("%s=%q", l.Name, l.Value))
			}
			fmt.Fprintf(b, " # {%s} %v", strings.Join(pairs, ","), e.Value)
			if e.Timestamp != nil {
				fmt.Fprintf(b, " %d.%09d", e.Timestamp.Seconds, e.Timestamp.Nanos)
			}
		}
		b.WriteByte('\n')
	}
	start := func(t *types.Timestamp) {
		if t != nil && openMetrics {
			line("_created", "", float64(t.Seconds)+float64(t.Nanos)/1e9, nil)
		}
	}
	switch {
	case m.Counter != nil:
		suffix := ""
		if openMetrics {
			suffix = "_total"
		}
		line(suffix, "", m.Counter.Value, m.Counter.Exemplar)
		start(m.Counter.StartTimestamp)
	case m.Gauge != nil:
		line("", "", m.Gauge.Value, nil)
	case m.Untyped != nil:
		line("", "", m.Untyped.Value, nil)
	case m.Summary != nil:
		for _, q := range m.Summary.Quantile {
			line("", fmt.Sprintf(",quantile=\"%v\"", q.Quantile), q.Value, nil)
		}
		line("_sum", "", m.Summary.SampleSum, nil)
		line("_count", "", float64(m.Summary.SampleCount), nil)
		start(m.Summary.StartTimestamp)
	default:
		sum, count := "_sum", "_count"
		if f.Type == dto.MetricType_GAUGE_HISTOGRAM && openMetrics {
			sum, count = "_gsum", "_gcount"
		}
		for _, bucket := range m.Histogram.Bucket {
			line("_bucket", fmt.Sprintf(",le=\"%v\"", bucket.UpperBound), float64(bucket.CumulativeCount),
				bucket.Exemplar)
		}
		line("_bucket", ",le=\"+Inf\"", float64(m.Histogram.SampleCount), nil)
		line(sum, "", m.Histogram.SampleSum, nil)
		line(count, "", float64(m.Histogram.SampleCount), nil)
		start(m.Histogram.StartTimestamp)
	}
}
