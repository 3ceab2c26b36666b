package remotewrite

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/golang/snappy"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// messages takes everything that is queued, request by request, lane by lane.
func (w *world) messages() (out []wire.Message) {
	for _, l := range (*w.writers.endpoints.Load())[0].packer.Lanes() {
		for {
			group, state, _ := l.Next(true)
			if state != queue.Ready {
				break
			}
			for _, r := range group {
				out = append(out, w.requestMessages(r)...)
			}
			l.Ack(group)
		}
	}
	return out
}

// requestMessages returns the messages of a request. They share no memory with it.
func (w *world) requestMessages(r queue.Request) []wire.Message {
	w.t.Helper()
	m := requestMessage(r)
	for i, f := range m.Fragments { // the lane takes them back
		m.Fragments[i] = bytes.Clone(f)
	}
	layout := r.Records[0].Layout
	if layout == nil {
		return []wire.Message{m}
	}
	m.Layout = &wire.Layout{Head: layout.Data, Tail: layout.Shared}
	merged, err := (*wire.Pool)(nil).Merge([]wire.Message{m}, wire.Limits{})
	if err != nil {
		w.t.Fatal(err)
	}
	return merged
}

func requestMessage(r queue.Request) wire.Message {
	m := wire.Message{Samples: r.Samples, Oldest: r.Oldest, Newest: r.Newest, MayHaveArrived: r.MayHaveArrived}
	for _, rec := range r.Records {
		m.Fragments = append(m.Fragments, rec.Data)
	}
	return m
}

func decodeV2(t testing.TB, m wire.Message) writev2.Request {
	t.Helper()
	body, _, err := (*wire.Pool)(nil).Body(m, wire.V2, true)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := snappy.Decode(nil, body)
	if err != nil {
		t.Fatal(err)
	}
	var req writev2.Request
	if err := req.Unmarshal(plain); err != nil {
		t.Fatal(err)
	}
	return req
}

func decodeV1(t testing.TB, m wire.Message, histograms bool) (prompb.WriteRequest, int) {
	t.Helper()
	body, lost, err := (*wire.Pool)(nil).Body(m, wire.V1, histograms)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := snappy.Decode(nil, body)
	if err != nil {
		t.Fatal(err)
	}
	var req prompb.WriteRequest
	if err := req.Unmarshal(plain); err != nil {
		t.Fatal(err)
	}
	return req, lost
}

// describeV2 writes the content of requests as lines that do not depend on order or encoding.
func describeV2(t testing.TB, ms []wire.Message) map[string]string {
	t.Helper()
	out := map[string]string{}
	var b labels.ScratchBuilder
	for _, m := range ms {
		req := decodeV2(t, m)
		checkSymbols(t, req.Symbols)
		for _, ts := range req.Timeseries {
			ls, err := ts.ToLabels(&b, req.Symbols)
			if err != nil {
				t.Fatal(err)
			}
			meta, err := ts.ToMetadata(req.Symbols)
			if err != nil {
				t.Fatal(err)
			}
			line := fmt.Sprintf("%s %q %q", meta.Type, meta.Help, meta.Unit)
			for _, s := range ts.Samples {
				line += fmt.Sprintf(" %x@%d", math.Float64bits(s.Value), s.Timestamp) + since(s.StartTimestamp)
			}
			for _, h := range ts.Histograms {
				line += fmt.Sprintf(" %v@%d", h.ToFloatHistogram(), h.Timestamp) + since(h.StartTimestamp)
			}
			for _, x := range ts.Exemplars {
				ex, err := x.ToExemplar(&b, req.Symbols)
				if err != nil {
					t.Fatal(err)
				}
				line += fmt.Sprintf(" # %s %g %d", ex.Labels, ex.Value, ex.Ts)
			}
			out[ls.String()] += line
		}
	}
	return out
}

func since(startMillis int64) string {
	if startMillis == 0 {
		return ""
	}
	return fmt.Sprintf(" since %d", startMillis)
}

func TestWhatGoesInComesOut(t *testing.T) {
	ec := endpointConfig("a")
	ec.SendExemplars, ec.SendNativeHistograms = true, true
	w := newWorld(t, ec)
	public := labels.FromStrings("instance", "pod-1", "job", "envoy")
	id := w.table.AddTarget(public)
	add := func(name string, m series.Meta, extra ...string) series.ID {
		b := labels.NewBuilder(public)
		b.Set("__name__", name)
		for i := 0; i < len(extra); i += 2 {
			b.Set(extra[i], extra[i+1])
		}
		return w.table.Add(id, b.Labels(), m)
	}
	var b series.Batch
	b.Reset(id, 1_700_000_000_123)
	counter := series.Meta{Type: model.MetricTypeCounter, Help: "all requests", Unit: "requests"}
	x := b.Add(add("requests_total", counter, "a", "1", "z", "ünïcode"), 42)
	b.Exemplars = append(b.Exemplars,
		series.Exemplar{Index: x, Exemplar: exemplar.Exemplar{Labels: labels.FromStrings("trace_id", "abc"),
			Value: 0.5, Ts: 7, HasTs: true}},
		series.Exemplar{Index: x, Exemplar: exemplar.Exemplar{Labels: labels.FromStrings("job", "envoy"), Value: 1}})
	b.Add(add("zero", series.Meta{}), 0)
	b.Add(add("minus_zero", series.Meta{}), math.Copysign(0, -1))
	b.Add(add("infinite", series.Meta{}), math.Inf(-1))
	b.Add(add("nan", series.Meta{}), math.Float64frombits(value.NormalNaN))
	b.Add(add("stale", series.Meta{}), math.Float64frombits(value.StaleNaN))
	own := b.Add(add("own_time", series.Meta{}), 1)
	b.Times = append(b.Times, series.OwnTime{Index: own, Time: -5})
	ints := b.Add(add("integer", series.Meta{Type: model.MetricTypeHistogram}), 0)
	integer := &histogram.Histogram{Schema: 2, Count: 12, Sum: 3.5, ZeroThreshold: 1e-9, ZeroCount: 2,
		PositiveSpans: []histogram.Span{{Offset: -3, Length: 2}, {Offset: 4, Length: 1}}, PositiveBuckets: []int64{3,
			-1, 2},
		NegativeSpans: []histogram.Span{{Offset: 0,
			Length: 1}}, NegativeBuckets: []int64{1}, CounterResetHint: histogram.NotCounterReset}
	floats := b.Add(add("float", series.Meta{Type: model.MetricTypeGaugeHistogram}), 0)
	custom := b.Add(add("custom", series.Meta{}), 0)
	nhcb := &histogram.Histogram{Schema: histogram.CustomBucketsSchema, Count: 3, Sum: 1,
		CustomValues:  []float64{0.5, 1},
		PositiveSpans: []histogram.Span{{Offset: 0, Length: 2}}, PositiveBuckets: []int64{2, -1}}
	gauge := integer.ToFloat(nil)
	gauge.CounterResetHint = histogram.GaugeType
	b.Histograms = append(b.Histograms, series.Histogram{Index: ints, Integer: integer},
		series.Histogram{Index: floats, Float: gauge}, series.Histogram{Index: custom, Integer: nhcb})
	began := b.Add(add("began", counter), 5)
	early := b.Add(add("began_later", counter), 5)
	same := b.Add(add("began_now", counter), 0)
	b.Times = append(b.Times, series.OwnTime{Index: early, Time: 1000})
	b.Starts = append(b.Starts, series.Start{Index: x, Time: 1}, series.Start{Index: own, Time: 1},
		series.Start{Index: ints, Time: 1_600_000_000_456},
		series.Start{Index: floats, Time: 2}, series.Start{Index: custom, Time: 3}, series.Start{Index: began,
			Time: 1_600_000_000_123},
		series.Start{Index: early, Time: 1001}, series.Start{Index: same, Time: b.Time})
	w.append(&b)
	ms := w.messages()

	const at = "@1700000000123"
	want := map[string]string{
		`{__name__="requests_total", a="1", instance="pod-1", job="envoy", z="ünïcode"}`: `counter "all requests" ` +
			`"requests" 4045000000000000` + at + ` since 1` +
			` # {trace_id="abc"} 0.5 7 # {job="envoy"} 1 1700000000123`,
		`{__name__="zero", instance="pod-1", job="envoy"}`:       `unknown "" "" 0` + at,
		`{__name__="minus_zero", instance="pod-1", job="envoy"}`: `unknown "" "" 8000000000000000` + at,
		`{__name__="infinite", instance="pod-1", job="envoy"}`:   `unknown "" "" fff0000000000000` + at,
		`{__name__="nan", instance="pod-1", job="envoy"}`:        `unknown "" "" 7ff8000000000001` + at,
		`{__name__="stale", instance="pod-1", job="envoy"}`:      `unknown "" "" 7ff0000000000002` + at,
		`{__name__="own_time", instance="pod-1", job="envoy"}`:   `unknown "" "" 3ff0000000000000@-5`,
		`{__name__="integer", instance="pod-1", job="envoy"}`: fmt.Sprintf(`histogram "" "" %v`,
			integer.ToFloat(nil)) + at + " since 1600000000456",
		`{__name__="float", instance="pod-1", job="envoy"}`: fmt.Sprintf(`gaugehistogram "" "" %v`, gauge) +
			at + " since 2",
		`{__name__="custom", instance="pod-1", job="envoy"}`: fmt.Sprintf(`unknown "" "" %v`,
			nhcb.ToFloat(nil)) + at + " since 3",
		`{__name__="began", instance="pod-1", job="envoy"}`: `counter "all requests" "requests" ` +
			`4014000000000000` + at + " since 1600000000123",
		`{__name__="began_later", instance="pod-1", job="envoy"}`: `counter "all requests" "requests" ` +
			`4014000000000000@1000`,
		`{__name__="began_now", instance="pod-1", job="envoy"}`: `counter "all requests" "requests" 0` + at +
			" since 1700000000123",
	}
	compare(t, describeV2(t, ms), want)

	t.Run("halves", func(t *testing.T) {
		var halves []wire.Message
		for _, m := range ms {
			c, err := wire.Parse(m)
			if err != nil {
				t.Fatal(err)
			}
			for _, odd := range []int{0, 1} {
				half, err := c.Subset(func(i int, _ int64) bool { return i%2 == odd })
				if err != nil {
					t.Fatal(err)
				}
				halves = append(halves, half)
			}
		}
		compare(t, describeV2(t, halves), want)
	})

	t.Run("1.0", func(t *testing.T) {
		got, lost, histograms := map[string]prompb.TimeSeries{}, 0, 0
		var sb labels.ScratchBuilder
		for _, m := range ms {
			req, n := decodeV1(t, m, true)
			lost += n
			for _, ts := range req.Timeseries {
				got[ts.ToLabels(&sb, nil).String()] = ts
				histograms += len(ts.Histograms)
			}
		}
		for key, ts := range got { // 1.0 has no field of that number
			for _, s := range ts.Samples {
				if len(s.XXX_unrecognized) > 0 {
					t.Errorf("%s: unknown fields %x", key, s.XXX_unrecognized)
				}
			}
		}
		if lost != 1 || len(got) != len(want)-1 || histograms != 2 {
			t.Errorf("lost %d, series %d, histograms %d; want 1 (custom buckets), %d, 2", lost, len(got), histograms,
				len(want)-1)
		}
		ts := got[`{__name__="integer", instance="pod-1", job="envoy"}`]
		if h := ts.Histograms[0].ToIntHistogram(); !h.Equals(integer) {
			t.Errorf("histogram = %v, want %v", h, integer)
		}
		ts = got[`{__name__="stale", instance="pod-1", job="envoy"}`]
		if bits := math.Float64bits(ts.Samples[0].Value); bits != value.StaleNaN {
			t.Errorf("staleness marker = %x", bits)
		}
		ts = got[`{__name__="requests_total", a="1", instance="pod-1", job="envoy", z="ünïcode"}`]
		if len(ts.Exemplars) != 2 || ts.Exemplars[0].Labels[0].Value != "abc" || ts.Exemplars[0].Timestamp != 7 {
			t.Errorf("exemplars = %v", ts.Exemplars)
		}
		without := 0
		for _, m := range ms {
			_, n := decodeV1(t, m, false)
			without += n
		}
		if without != 3 {
			t.Errorf("lost without send_native_histograms = %d, want 3", without)
		}
	})
}

func compare(t *testing.T, got, want map[string]string) {
	t.Helper()
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s\n got %s\nwant %s", k, got[k], v)
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			t.Errorf("unexpected %s %s", k, got[k])
		}
	}
}

func TestRow38ExternalLabelsAndRules(t *testing.T) {
	external := labels.FromStrings("a", "first", "cluster", "c1", "job", "external", "zone", "z1", "void", "")
	rules := func(rs ...*relabel.Config) []*relabel.Config {
		for _, r := range rs {
			r.NameValidationScheme = model.UTF8Validation
			if r.Regex.Regexp == nil {
				r.Regex = relabel.MustNewRegexp("(.*)")
			}
			if r.Replacement == "" {
				r.Replacement = "$1"
			}
			if r.Separator == "" {
				r.Separator = ";"
			}
		}
		return rs
	}
	for name, tc := range map[string]struct {
		external labels.Labels
		rules    []*relabel.Config
		want     []string
	}{
		"neither": {want: []string{
			`{__name__="metric_0", instance="pod-1", job="envoy"}`,
			`{__name__="metric_1", instance="pod-1", job="envoy"}`}},
		"external only where absent": {external: external, want: []string{
			`{__name__="metric_0", a="first", cluster="c1", instance="pod-1", job="envoy", zone="z1"}`,
			`{__name__="metric_1", a="first", cluster="c1", instance="pod-1", job="envoy", zone="z1"}`}},
		"rules see external labels": {external: external, rules: rules(
			&relabel.Config{Action: relabel.Drop, SourceLabels: model.LabelNames{"__name__", "cluster"},
				Regex: relabel.MustNewRegexp("metric_0;c1")}),
			want: []string{`{__name__="metric_1", a="first", cluster="c1", instance="pod-1", job="envoy", zone="z1"}`}},
		"an external label that a rule dropped stays away": {external: external, rules: rules(
			&relabel.Config{Action: relabel.LabelDrop, Regex: relabel.MustNewRegexp("zone|a")}),
			want: []string{`{__name__="metric_0", cluster="c1", instance="pod-1", job="envoy"}`,
				`{__name__="metric_1", cluster="c1", instance="pod-1", job="envoy"}`}},
		"series that become one: the first wins": {rules: rules(
			&relabel.Config{Action: relabel.Replace, TargetLabel: "__name__", Regex: relabel.MustNewRegexp(".*"),
				Replacement: "one"}),
			want: []string{`{__name__="one", instance="pod-1", job="envoy"}`}},
		"no name left": {rules: rules(&relabel.Config{Action: relabel.LabelDrop,
			Regex: relabel.MustNewRegexp("__name__")})},
	} {
		t.Run(name, func(t *testing.T) {
			ec := endpointConfig("a")
			ec.WriteRelabelConfigs = tc.rules
			w := newWorld(t, ec)
			w.cfg.ExternalLabels = tc.external
			w.apply()
			pod := w.target("pod-1", 2)
			for i := range 3 { // the second and third time from the cache
				w.append(w.scrape(pod, int64(1000+i)))
				got := describeV2(t, w.messages())
				for _, k := range tc.want {
					if got[k] == "" {
						t.Errorf("missing %s", k)
					}
				}
				if len(got) != len(tc.want) {
					t.Errorf("series = %v, want %v", got, tc.want)
				}
			}
		})
	}
}

func TestLabelsNobodyWouldTake(t *testing.T) {
	w := newWorld(t, endpointConfig("a"))
	id := w.table.AddTarget(labels.FromStrings("job", "envoy"))
	var b series.Batch
	b.Reset(id, 1000)
	add := func(kv ...string) {
		var sb labels.ScratchBuilder
		for i := 0; i < len(kv); i += 2 {
			sb.Add(kv[i], kv[i+1])
		}
		b.Add(w.table.Add(id, sb.Labels(), series.Meta{}), 1)
	}
	add("__name__", "good", "empty", "", "job", "envoy")
	add("job", "envoy", "nameless", "1")
	add("__name__", "bad_value", "job", "envoy", "x", "a\xff")
	add("__name__", "bad\xff", "job", "envoy")
	add("__name__", "bad_label", "job", "envoy", "x\xff", "a")
	add("", "empty label name", "__name__", "m", "job", "envoy")
	add("__name__", "twice", "a", "1", "a", "2", "job", "envoy")
	add("__name__", "", "job", "envoy")
	w.append(&b)
	got := describeV2(t, w.messages())
	if len(got) != 1 || !strings.Contains(fmt.Sprint(got), `__name__="good", job="envoy"`) {
		t.Errorf("sent %v, want the good one without its empty label", got)
	}
	if n := w.dropped("a", invalidLabels); n != 7 {
		t.Errorf("counted %d, want 7", n)
	}
}

// TestReusedSymbols releases strings and series while a request is open: numbers in the table come again under
// another meaning, and what is in the request must not change.
func TestReusedSymbols(t *testing.T) {
	w := newWorld(t, endpointConfig("a"))
	for i := range 50 {
		pod := w.target(fmt.Sprintf("pod-%d", i), 3)
		w.append(w.scrape(pod, 1000))
		w.table.Release(slices.Values(pod.ids))
		w.table.ReleaseTarget(pod.id)
	}
	got := map[string]bool{}
	var sb labels.ScratchBuilder
	for _, m := range w.messages() {
		req := decodeV2(t, m)
		for _, ts := range req.Timeseries {
			ls, err := ts.ToLabels(&sb, req.Symbols)
			if err != nil {
				t.Fatal(err)
			}
			got[ls.Get("instance")+ls.Get("__name__")] = true
		}
	}
	if len(got) != 150 {
		t.Errorf("distinct series = %d, want 150", len(got))
	}
}
