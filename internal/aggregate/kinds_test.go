package aggregate

import (
	"fmt"
	"math"
	"regexp"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// histogram returns the lines of a classic histogram with these bounds, where each bucket has v times its place.
func histogram(v float64, bounds ...string) (lines []line) {
	for i, le := range bounds {
		lines = append(lines, line{"istio_ms_bucket", "le=" + le, model.MetricTypeHistogram, v * float64(i+1)})
	}
	n := v * float64(len(bounds))
	return append(lines, line{"istio_ms_sum", "", model.MetricTypeHistogram, 10 * n},
		line{"istio_ms_count", "", model.MetricTypeHistogram, n})
}

// aggregate returns the name of an aggregate with one label more.
func aggregate(name, label, value string) string {
	b := labels.NewBuilder(labels.FromStrings("__name__", name, "app", "reviews", "instance", "node-7", "job", "envoy"))
	b.Set(label, value)
	return b.Labels().String()
}

func TestPagesThatDisagreeAboutBoundsAreKeptApart(t *testing.T) {
	b := newBed(t, istio())
	a, c, d := b.target("a"), b.target("b"), b.target("c")
	for i := range 3 {
		b.now = b.now.Add(time.Second)
		v := float64(i * 10)
		a.scrape(histogram(v, "5", "10", "+Inf")...)
		c.scrape(histogram(v, "10", "+Inf")...) // fewer bounds, all of which a has too
		d.scrape(histogram(v, "5", "10", "+Inf")...)
		b.wait(9 * time.Second)
	}
	apart := func(name, le string) string {
		lb := labels.NewBuilder(labels.FromStrings("__name__", name, "app", "reviews", "instance", "node-7", "job",
			"envoy", "bounds", "2"))
		lb.Set("le", le)
		return lb.Labels().String()
	}
	b.want(aggregate("istio_ms_bucket", "le", "5"), "10:0 20:20 30:40")
	b.want(aggregate("istio_ms_bucket", "le", "10"), "10:0 20:40 30:80")
	b.want(aggregate("istio_ms_bucket", "le", "+Inf"), "10:0 20:60 30:120")
	b.want(aggregate("istio_ms_count", "", ""), "10:0 20:60 30:120")
	b.want(apart("istio_ms_bucket", "10"), "10:0 20:10 30:20")
	b.want(apart("istio_ms_bucket", "+Inf"), "10:0 20:20 30:40")
	b.want(apart("istio_ms_count", ""), "10:0 20:20 30:40")
	b.want(apart("istio_ms_sum", ""), "10:0 20:200 30:400")
	if got := testutil.ToFloat64(b.a.metrics.bounds); got != 1 {
		t.Errorf("%v disagreements, want 1", got)
	}
}

// TestBoundsInAnotherOrderAgree: what counts is which bounds there are.
func TestBoundsInAnotherOrderAgree(t *testing.T) {
	b := newBed(t, istio())
	b.target("a").scrape(histogram(1, "5", "+Inf")...)
	b.target("b").scrape(histogram(1, "+Inf", "5")...)
	if got := testutil.ToFloat64(b.a.metrics.bounds); got != 0 {
		t.Errorf("%v disagreements, want none", got)
	}
}

func TestGauges(t *testing.T) {
	gauge := func(v float64) line { return line{"istio_build", "", model.MetricTypeGauge, v} }
	for kind, want := range map[Gauges]string{
		GaugesRaw: "", GaugesSum: "10:5 20:3 30:stale 40:7", GaugesMax: "10:3 20:3 30:stale 40:4",
		GaugesMin: "10:2 20:3 30:stale 40:3",
	} {
		block := istio()
		block.Gauges = kind
		b := newBed(t, block)
		a, c := b.target("a"), b.target("b")
		step := func(scrape func()) {
			b.now = b.now.Add(time.Second)
			scrape()
			b.wait(9 * time.Second)
		}
		step(func() { a.scrape(gauge(2)); c.scrape(gauge(3)) })
		step(func() { a.fail(); c.scrape(gauge(3)) })
		step(func() { a.fail(); c.fail() })
		step(func() { a.scrape(gauge(4)); c.scrape(gauge(3)) })
		b.want(aggregate("istio_build", "", ""), want)
		if kind == GaugesRaw {
			b.want(`{__name__="istio_build", app="reviews", instance="a:15090", job="envoy", pod="a"}`,
				"1:2 11:stale 31:4")
		}
	}
}

// TestWhatStaysAsItIs: only what is sure to be a counter is summed.
func TestWhatStaysAsItIs(t *testing.T) {
	b := newBed(t, istio())
	a := b.target("a")
	for _, l := range []line{
		{"istio_unknown", "", model.MetricTypeUnknown, 1},
		{"istio_latency", "quantile=0.5", model.MetricTypeSummary, 1},
		{"envoy_requests_total", "", model.MetricTypeCounter, 1},
		{"istio_native", "", model.MetricTypeHistogram, 0},
	} {
		b.wait(time.Second)
		a.live = nil
		a.scrape(l)
		lb := labels.NewBuilder(a.labels)
		lb.Set("__name__", l.name)
		if name, v, ok := cutLabel(l.label); ok {
			lb.Set(name, v)
		}
		b.want(lb.Labels().String(), fmt.Sprintf("%v:%v", b.now.Sub(start).Seconds(), l.value))
	}
	if len(b.a.groups) > 0 && len(b.a.allGroups()[0].byID) > 0 {
		t.Error("something was summed")
	}
}

func TestSummaryCountsAreSummed(t *testing.T) {
	b := newBed(t, istio())
	a := b.target("a")
	for v := range 2 {
		b.now = b.now.Add(time.Second)
		a.scrape(line{"istio_latency_count", "", model.MetricTypeSummary, float64(v * 4)},
			line{"istio_latency_sum", "", model.MetricTypeSummary, float64(v * 8)})
		b.wait(9 * time.Second)
	}
	b.want(aggregate("istio_latency_count", "", ""), "10:0 20:4")
	b.want(aggregate("istio_latency_sum", "", ""), "10:0 20:8")
}

func TestKeepRawAndPrefix(t *testing.T) {
	block := istio()
	block.KeepRaw, block.Prefix = true, "workload:"
	b := newBed(t, block)
	a := b.target("a")
	for v := range 2 {
		b.now = b.now.Add(time.Second)
		a.scrape(requests(float64(v)))
		b.wait(9 * time.Second)
	}
	a.end()
	b.want(aggregate("workload:istio_requests_total", "", ""), "10:0 20:1")
	b.want(raw("a"), "1:0 11:1 20.001:stale")
	b.want(total, "")
}

func TestByKeepsOnlyWhatItNames(t *testing.T) {
	block := istio()
	block.Without, block.By = nil, []string{"code"}
	b := newBed(t, block)
	a := b.target("a")
	for v := range 2 {
		b.now = b.now.Add(time.Second)
		a.scrape(line{"istio_requests_total", "code=200", model.MetricTypeCounter, float64(v)},
			line{"istio_requests_total", "source=x", model.MetricTypeCounter, float64(v)})
		b.wait(9 * time.Second)
	}
	b.want(`{__name__="istio_requests_total", code="200", instance="node-7"}`, "10:0 20:1")
	b.want(`{__name__="istio_requests_total", instance="node-7"}`, "10:0 20:1")
}

// TestTwoBlocksOfOneGroup: their aggregates have the same target, so they come in one batch.
func TestTwoBlocksOfOneGroup(t *testing.T) {
	second := istio()
	second.Match = regexp.MustCompile("^(?s:envoy_.*)$")
	third := second
	third.As = labels.FromStrings("instance", "elsewhere")
	third.Match = regexp.MustCompile("^(?s:envoy_.*|other_total)$")
	b := newBed(t, istio(), second, third)
	a := b.target("a")
	for v := range 2 {
		b.now = b.now.Add(time.Second)
		a.scrape(requests(float64(v)), line{"envoy_total", "", model.MetricTypeCounter, float64(2 * v)},
			line{"other_total", "", model.MetricTypeCounter, float64(3 * v)})
		b.wait(9 * time.Second)
	}
	b.want(total, "10:0 20:1")
	b.want(aggregate("envoy_total", "", ""), "10:0 20:2") // the first block that matches has it
	b.want(`{__name__="other_total", app="reviews", instance="elsewhere", job="envoy"}`, "10:0 20:3")
	b.a.Apply([]Block{istio(), third})
	b.want(aggregate("envoy_total", "", ""), "10:0 20:2 20.001:stale")
	b.want(total, "10:0 20:1")
	b.now = b.now.Add(time.Second)
	a.scrape(requests(2), line{"envoy_total", "", model.MetricTypeCounter, 9},
		line{"other_total", "", model.MetricTypeCounter, 9})
	b.wait(9 * time.Second)
	b.want(total, "10:0 20:1 30:2")
	b.want(`{__name__="envoy_total", app="reviews", instance="elsewhere", job="envoy"}`, "30:0")
	b.want(`{__name__="other_total", app="reviews", instance="elsewhere", job="envoy"}`, "10:0 20:3 30:9")
	b.want(`{__name__="envoy_total", app="reviews", instance="a:15090", job="envoy", pod="a"}`, "")
}

// TestLargeTotalsBeginAgain: above 2^52 a float64 soon leaves out single requests.
func TestLargeTotalsBeginAgain(t *testing.T) {
	b := newBed(t, istio())
	a := b.target("a")
	for _, v := range []float64{0, largestTotal, largestTotal + 3, largestTotal + 4} {
		b.now = b.now.Add(time.Second)
		a.scrape(requests(v))
		b.wait(9 * time.Second)
	}
	b.want(total, fmt.Sprintf("10:0 20:%v 30:3 40:4", float64(largestTotal)))
}

func TestValuesThatNoCounterHas(t *testing.T) {
	b := newBed(t, istio())
	a := b.target("a")
	for _, v := range []float64{math.NaN(), 5, math.Inf(1), 7, -1, math.NaN(), 8} {
		b.now = b.now.Add(time.Second)
		a.scrape(requests(v))
		b.wait(9 * time.Second)
	}
	b.want(total, "10:0 20:0 30:0 40:2 50:2 60:2 70:3")
}

// TestALargeHistogramBeginsAgainAsAWhole: all of its lines do, and no other series.
func TestALargeHistogramBeginsAgainAsAWhole(t *testing.T) {
	b := newBed(t, istio())
	a := b.target("a")
	for _, v := range []float64{0, largestTotal / 2, largestTotal/2 + 1} {
		b.now = b.now.Add(time.Second)
		a.scrape(append(histogram(v, "5", "+Inf"), requests(v))...) // only +Inf, sum and count are large
		b.wait(9 * time.Second)
	}
	b.want(aggregate("istio_ms_bucket", "le", "5"), fmt.Sprintf("10:0 20:%v 30:1", float64(largestTotal/2)))
	b.want(aggregate("istio_ms_count", "", ""), fmt.Sprintf("10:0 20:%v 30:2", float64(largestTotal)))
	b.want(total, fmt.Sprintf("10:0 20:%v 30:%v", float64(largestTotal/2), float64(largestTotal/2+1)))
}
