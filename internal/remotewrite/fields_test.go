package remotewrite

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/deliver"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// recorder is a client that keeps the requests it gets, decoded.
type recorder struct {
	t *testing.T

	mu    sync.Mutex // guards the following
	reply func(p wire.Protocol) deliver.Answer
	at    []time.Time
	v1    []prompb.WriteRequest
	v2    []writev2.Request
}

func (r *recorder) Post(_ context.Context, body []byte, p wire.Protocol, _ int) deliver.Answer {
	plain, err := snappy.Decode(nil, body)
	if err != nil {
		r.t.Error(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = append(r.at, time.Now())
	samples := 0
	if p == wire.V1 {
		var req prompb.WriteRequest
		if err := req.Unmarshal(plain); err != nil {
			r.t.Error(err)
		}
		r.v1 = append(r.v1, req)
	} else {
		var req writev2.Request
		if err := req.Unmarshal(plain); err != nil {
			r.t.Error(err)
		}
		for _, ts := range req.Timeseries {
			samples += len(ts.Samples) + len(ts.Histograms)
		}
		r.v2 = append(r.v2, req)
	}
	if r.reply != nil {
		return r.reply(p)
	}
	return fine(p, samples)
}

func (r *recorder) Close() {}

func (r *recorder) set(reply func(wire.Protocol) deliver.Answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reply = reply
}

// newRecorded is a world with one endpoint that records.
func newRecorded(t *testing.T, log *zap.Logger, ec EndpointConfig) (*world, *recorder) {
	r := &recorder{t: t}
	w := newWorld(t)
	w.writers.log = log
	w.writers.newClient = func(EndpointConfig) (deliver.Client, error) { return r, nil }
	w.cfg.Endpoints = []EndpointConfig{ec}
	w.apply()
	return w, r
}

// rich is a batch with a series of every kind.
func (w *world) rich(atMillis int64) *series.Batch {
	public := labels.FromStrings("instance", "pod-1", "job", "envoy")
	id := w.table.AddTarget(public)
	var b series.Batch
	b.Reset(id, atMillis)
	x := b.Add(w.series(id, public, "x_total"), 1)
	b.Exemplars = append(b.Exemplars, series.Exemplar{Index: x,
		Exemplar: exemplar.Exemplar{Labels: labels.FromStrings("trace_id", "abc"), Value: 0.5}})
	h := b.Add(w.series(id, public, "h"), 0)
	b.Histograms = append(b.Histograms, series.Histogram{Index: h, Integer: &histogram.Histogram{
		Schema: 1, Count: 1, Sum: 1, PositiveSpans: []histogram.Span{{Length: 1}}, PositiveBuckets: []int64{1}}})
	return &b
}

// TestEndpointFields: what is sent of a series beside its samples. Nothing of that in 1.0 but what it has room for.
func TestEndpointFields(t *testing.T) {
	for name, c := range map[string]struct {
		change                func(*EndpointConfig)
		exemplars, histograms int
		metadata              bool
	}{
		"nothing written":        {func(*EndpointConfig) {}, 0, 0, true},
		"send_exemplars":         {func(ec *EndpointConfig) { ec.SendExemplars = true }, 1, 0, true},
		"send_native_histograms": {func(ec *EndpointConfig) { ec.SendNativeHistograms = true }, 0, 1, true},
		"metadata_config.send":   {func(ec *EndpointConfig) { ec.MetadataConfig.Send = false }, 0, 0, false},
	} {
		for _, p := range []wire.Protocol{wire.V1, wire.V2} {
			t.Run(name+" "+p.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ec := explicit(endpointConfig("a"), p)
					c.change(&ec)
					w, r := newRecorded(t, zap.NewNop(), ec)
					w.run()
					w.append(w.rich(nowMillis()))
					time.Sleep(10 * time.Second)
					w.stop()
					exemplars, histograms, metadata := 0, 0, false
					for _, req := range r.v1 {
						for _, ts := range req.Timeseries {
							exemplars, histograms = exemplars+len(ts.Exemplars), histograms+len(ts.Histograms)
						}
					}
					for _, req := range r.v2 {
						for _, ts := range req.Timeseries {
							exemplars, histograms = exemplars+len(ts.Exemplars), histograms+len(ts.Histograms)
							metadata = metadata || ts.Metadata.HelpRef != 0
						}
					}
					if exemplars != c.exemplars || histograms != c.histograms ||
						metadata != (c.metadata && p == wire.V2) {
						t.Errorf("%d exemplars, %d histograms, metadata %v; want %d, %d, %v", exemplars, histograms,
							metadata, c.exemplars, c.histograms, c.metadata)
					}
					if n := w.dropped("a", deliver.Unsupported); n != 1-c.histograms {
						t.Errorf("%d samples that could not be carried, want %d", n, 1-c.histograms)
					}
				})
			})
		}
	}
}

// TestMetadataByItself: in 1.0 metadata is sent in requests of its own, once per interval.
func TestMetadataByItself(t *testing.T) {
	start := func(t *testing.T, change func(*EndpointConfig), p wire.Protocol) (*world, *recorder) {
		ec := explicit(endpointConfig("a"), p)
		ec.MetadataConfig.SendInterval = model.Duration(30 * time.Second)
		change(&ec)
		w, r := newRecorded(t, zap.NewNop(), ec)
		w.run()
		public := labels.FromStrings("instance", "pod-1", "job", "envoy")
		id := w.table.AddTarget(public)
		for name, m := range map[string]series.Meta{
			"requests_total": {Type: model.MetricTypeCounter, Help: "all",
				Unit: "requests"}, "h_bucket": {Type: model.MetricTypeHistogram, Help: "times"},
			"h_sum": {Type: model.MetricTypeHistogram, Help: "times"}, "h_count": {Type: model.MetricTypeHistogram,
				Help: "times"},
			"s": {Type: model.MetricTypeSummary}, "s_count": {Type: model.MetricTypeSummary},
			"g_count": {Type: model.MetricTypeGauge}, "unknown": {},
		} {
			w.table.Add(id, labels.FromStrings("__name__", name, "instance", "pod-1", "job", "envoy"), m)
		}
		return w, r
	}
	sentFamilies := func(r *recorder) (all []string, sizes []int) {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, req := range r.v1 {
			for _, m := range req.Metadata {
				all = append(all, fmt.Sprintf("%s %s %q %q", m.MetricFamilyName, m.Type, m.Help, m.Unit))
			}
			if len(req.Metadata) > 0 {
				sizes = append(sizes, len(req.Metadata))
			}
		}
		return all, sizes
	}
	want := []string{`g_count GAUGE "" ""`, `h HISTOGRAM "times" ""`, `requests_total COUNTER "all" "requests"`,
		`s SUMMARY "" ""`}
	t.Run("every send_interval", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, r := start(t, func(*EndpointConfig) {}, wire.V1)
			time.Sleep(29 * time.Second)
			if all, _ := sentFamilies(r); len(all) != 0 {
				t.Errorf("sent %q before the interval was over", all)
			}
			time.Sleep(2 * time.Second)
			if all, _ := sentFamilies(r); !slices.Equal(all, want) {
				t.Errorf("sent %q, want %q", all, want)
			}
			time.Sleep(60 * time.Second)
			w.stop()
			if all, sizes := sentFamilies(r); len(all) != 3*len(want) || len(sizes) != 3 {
				t.Errorf("sent %d families in %v requests after three intervals", len(all), sizes)
			}
			if v := w.metadataCount(deliver.Accepted); v != 3*len(want) {
				t.Errorf("counted %d", v)
			}
		})
	})
	for name, c := range map[string]struct {
		change func(*EndpointConfig)
		p      wire.Protocol
		sizes  []int
	}{
		"max_samples_per_send": {func(ec *EndpointConfig) { ec.MetadataConfig.MaxSamplesPerSend = 3 }, wire.V1,
			[]int{3, 1}},
		"send: false": {func(ec *EndpointConfig) { ec.MetadataConfig.Send = false }, wire.V1, nil},
		"2.0":         {func(*EndpointConfig) {}, wire.V2, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, r := start(t, c.change, c.p)
				time.Sleep(40 * time.Second)
				w.stop()
				if _, sizes := sentFamilies(r); !slices.Equal(sizes, c.sizes) {
					t.Errorf("families of requests: %v, want %v", sizes, c.sizes)
				}
			})
		})
	}
	t.Run("again after what may pass", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, r := start(t, func(*EndpointConfig) {}, wire.V1)
			r.set(func(wire.Protocol) deliver.Answer { return status(503) })
			time.Sleep(35 * time.Second)
			r.set(nil)
			time.Sleep(10 * time.Second)
			if v := w.metadataCount(deliver.Accepted); v != len(want) {
				t.Errorf("counted %d, want %d", v, len(want))
			}
			r.set(func(wire.Protocol) deliver.Answer { return status(400) })
			time.Sleep(35 * time.Second)
			w.stop()
			if v := w.metadataCount(deliver.Refused); v == 0 {
				t.Error("a refusal was not counted")
			}
		})
	})
	t.Run("not before Retry-After", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w, r := start(t, func(*EndpointConfig) {}, wire.V1)
			r.set(func(wire.Protocol) deliver.Answer {
				a := status(503)
				a.Header.Set("Retry-After", "60")
				return a
			})
			time.Sleep(80 * time.Second)
			w.stop()
			if _, sizes := sentFamilies(r); len(sizes) != 1 {
				t.Errorf("%d requests within the time that the endpoint had asked for, want one", len(sizes))
			}
		})
	})
	t.Run("a reload changes it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			daily := func(ec *EndpointConfig) { ec.MetadataConfig.SendInterval = model.Duration(24 * time.Hour) }
			w, r := start(t, daily, wire.V1)
			time.Sleep(time.Minute)
			rw := *w.cfg.Endpoints[0].RemoteWriteConfig
			rw.MetadataConfig.SendInterval = model.Duration(10 * time.Second)
			w.cfg.Endpoints[0].RemoteWriteConfig = &rw
			w.apply()
			time.Sleep(11 * time.Second)
			w.stop()
			if _, sizes := sentFamilies(r); len(sizes) != 1 {
				t.Errorf("%d requests, want one", len(sizes))
			}
		})
	})
}

func (w *world) metadataCount(o deliver.Outcome) int {
	return int(testutil.ToFloat64(w.writers.metrics.metadata.WithLabelValues("a", o.String())))
}

func TestFailedRequestsAreLogged(t *testing.T) {
	for name, c := range map[string]struct {
		asked bool
		level zapcore.Level
		want  bool
	}{
		"asked for":         {true, zap.DebugLevel, true},
		"not asked for":     {false, zap.DebugLevel, false},
		"not at this level": {true, zap.InfoLevel, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, logs := observer.New(c.level)
				ec := explicit(endpointConfig("a"), wire.V2)
				ec.FailedRequestLogging, ec.SendNativeHistograms = c.asked, true
				w, r := newRecorded(t, zap.New(core), ec)
				r.set(func(wire.Protocol) deliver.Answer {
					return deliver.Answer{Status: 400, Header: http.Header{}, Message: "no"}
				})
				w.run()
				w.append(w.rich(nowMillis()))
				time.Sleep(10 * time.Second)
				w.stop()
				found := logs.FilterMessage("remote write request failed").All()
				if (len(found) > 0) != c.want {
					t.Fatalf("%d lines, want some: %v", len(found), c.want)
				}
				if c.want {
					text := fmt.Sprint(found[0].ContextMap()["request"])
					for _, part := range []string{`{__name__="x_total",instance="pod-1",job="envoy",} 1 @ `,
						"a histogram @ "} {
						if !strings.Contains(text, part) {
							t.Errorf("%q does not have %s", text, part)
						}
					}
				}
			})
		})
	}
	t.Run("at most 64 KiB", func(t *testing.T) {
		w := newWorld(t, endpointConfig("a"))
		w.append(w.scrape(w.target("pod-1", 1999), 1000))
		for _, m := range w.messages() {
			c, err := wire.Parse(m)
			if err != nil {
				t.Fatal(err)
			}
			if text := string(c.Describe(1000)); len(text) > 1200 || !strings.HasSuffix(text, " series more") {
				t.Errorf("%d bytes that end in %q", len(text), text[len(text)-20:])
			}
		}
	})
}

// TestBackoffFields: a request that fails waits min_backoff, twice that, and so on up to max_backoff.
func TestBackoffFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ec := explicit(endpointConfig("a"), wire.V2)
		ec.QueueConfig.MinBackoff = model.Duration(time.Second)
		ec.QueueConfig.MaxBackoff = model.Duration(4 * time.Second)
		ec.QueueConfig.MaxShards = 1
		w, r := newRecorded(t, zap.NewNop(), ec)
		r.set(func(wire.Protocol) deliver.Answer { return status(503) })
		w.run()
		w.append(w.scrape(w.target("pod-1", 1), nowMillis()))
		time.Sleep(40 * time.Second)
		r.set(nil)
		w.stop()
		for i := range r.at[1:] {
			wait, about := r.at[i+1].Sub(r.at[i]), []time.Duration{1, 2, 4}[min(i, 2)]*time.Second
			if wait < about*4/5 || wait > about*6/5 || wait < time.Second || wait > 4*time.Second {
				t.Errorf("wait %d: %v, want about %v", i, wait, about)
			}
		}
		if len(r.at) < 8 {
			t.Errorf("%d requests", len(r.at))
		}
	})
}

// TestCustomBucketsAsClassicHistograms: convert_nhcb_to_classic.
func TestCustomBucketsAsClassicHistograms(t *testing.T) {
	ec := explicit(endpointConfig("a"), wire.V2)
	ec.ConvertNHCBToClassic, ec.SendExemplars, ec.SendNativeHistograms = true, true, true
	ec.WriteRelabelConfigs = []*relabel.Config{{Action: relabel.Replace, Regex: relabel.MustNewRegexp("(.*)"),
		TargetLabel: "zone", Replacement: "b", NameValidationScheme: model.UTF8Validation}}
	ec.QueueConfig.MaxShards = 1
	w := newWorld(t, ec)
	public := labels.FromStrings("instance", "pod-1", "job", "envoy")
	id := w.table.AddTarget(public)
	h, plain, native := w.series(id, public, "h"), w.series(id, public, "x"), w.series(id, public, "n")
	nhcb := func(upper ...float64) *histogram.Histogram {
		return &histogram.Histogram{Schema: histogram.CustomBucketsSchema, Count: 6, Sum: 9, CustomValues: upper,
			PositiveSpans: []histogram.Span{{Length: 3}}, PositiveBuckets: []int64{1, 1, 1}}
	}
	shown := func(fill func(b *series.Batch)) map[string]string {
		var b series.Batch
		b.Reset(id, w.cfg.FlushDeadline.Milliseconds())
		w.cfg.FlushDeadline += time.Second // only to have another time each time
		fill(&b)
		w.append(&b)
		got := map[string]string{}
		for series, text := range describeV2(t, w.messages()) {
			_, text, _ = strings.Cut(text, `"help of `) // less the type
			_, text, _ = strings.Cut(text, `"" `)
			text, _, _ = strings.Cut(text, "@")
			got[strings.NewReplacer(`, instance="pod-1", job="envoy"`, "", `, zone="b"`, "", `__name__=`,
				"").Replace(series)] = text
		}
		return got
	}
	bits := func(v float64) string { return fmt.Sprintf("%x", math.Float64bits(v)) }
	marker := bits(math.Float64frombits(value.StaleNaN))

	got := shown(func(b *series.Batch) {
		b.Add(plain, 1)
		i := b.Add(h, 0)
		b.Histograms = append(b.Histograms, series.Histogram{Index: i, Integer: nhcb(1, 2.5)})
		b.Exemplars = append(b.Exemplars, series.Exemplar{Index: i,
			Exemplar: exemplar.Exemplar{Labels: labels.FromStrings("t", "a"), Value: 2}})
		j := b.Add(native, 0)
		b.Histograms = append(b.Histograms, series.Histogram{Index: j, Integer: &histogram.Histogram{Schema: 1}})
	})
	for series, want := range map[string]string{
		`{"x"}`: bits(1), `{"h_bucket", le="1.0"}`: bits(1), `{"h_bucket", le="2.5"}`: bits(3),
		`{"h_bucket", le="+Inf"}`: bits(6), `{"h_count"}`: bits(6), `{"h_sum"}`: bits(9),
	} {
		if got[series] != want {
			t.Errorf("%s = %s, want %s", series, got[series], want)
		}
	}
	if _, ok := got[`{"n"}`]; !ok || len(got) != 7 {
		t.Errorf("got %v, want seven series", got)
	}

	got = shown(func(b *series.Batch) { // other bounds: the bucket that is gone ends
		i := b.Add(h, 0)
		b.Histograms = append(b.Histograms, series.Histogram{Index: i, Integer: nhcb(1, 4)})
	})
	if got[`{"h_bucket", le="2.5"}`] != marker || got[`{"h_bucket", le="4.0"}`] != bits(3) || len(got) != 6 {
		t.Errorf("other bounds: %v", got)
	}

	got = shown(func(b *series.Batch) { b.Add(h, math.Float64frombits(value.StaleNaN)) })
	for _, series := range []string{`{"h_bucket", le="1.0"}`, `{"h_bucket", le="4.0"}`, `{"h_bucket", le="+Inf"}`,
		`{"h_count"}`, `{"h_sum"}`} {
		if got[series] != marker {
			t.Errorf("%s = %s, want a marker", series, got[series])
		}
	}
	if len(got) != 5 {
		t.Errorf("got %v, want five markers", got)
	}
	if got = shown(func(b *series.Batch) { b.Add(h, 3) }); got[`{"h"}`] != bits(3) || len(got) != 1 {
		t.Errorf("a float of that name: %v", got)
	}
	if n := int(testutil.ToFloat64(w.writers.metrics.appended.WithLabelValues("a"))); n != 1+5+1+6+5+1 {
		t.Errorf("appended %d samples, want what they were turned into", n)
	}
}
