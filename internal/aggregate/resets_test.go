package aggregate

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/common/model"
)

// TestHistogramsBeginAgainAsAWhole: Envoy evicts a histogram with all its lines. Those that have grown past what they
// had until the next page do not fall.
func TestHistogramsBeginAgainAsAWhole(t *testing.T) {
	lines := func(first, last float64) []line {
		h := model.MetricTypeHistogram
		return []line{requests(100), {"istio_ms_bucket", "le=5", h, first}, {"istio_ms_bucket", "le=+Inf", h, last},
			{"istio_ms_sum", "", h, 10 * last}, {"istio_ms_count", "", h, last}}
	}
	for name, after := range map[string][2]float64{
		"the last falls": {70, 200}, "the first falls": {50, 310},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, istio())
			a := b.target("a")
			b.wait(time.Second)
			a.scrape(lines(60, 300)...)
			b.wait(10 * time.Second)
			a.scrape(lines(after[0], after[1])...)
			b.wait(10 * time.Second)
			b.want(aggregate("istio_ms_bucket", "le", "5"), fmt.Sprintf("10:0 20:%v", after[0]))
			b.want(aggregate("istio_ms_bucket", "le", "+Inf"), fmt.Sprintf("10:0 20:%v", after[1]))
			b.want(aggregate("istio_ms_count", "", ""), fmt.Sprintf("10:0 20:%v", after[1]))
			b.want(aggregate("istio_ms_sum", "", ""), fmt.Sprintf("10:0 20:%v", 10*after[1]))
			b.want(total, "10:0 20:0")
		})
	}
}

// TestSumsOfNegativeValuesFall: the buckets of the histogram go on.
func TestSumsOfNegativeValuesFall(t *testing.T) {
	h := model.MetricTypeHistogram
	b := newBed(t, istio())
	a := b.target("a")
	for i, sum := range []float64{50, 40} {
		b.now = b.now.Add(time.Second)
		v := float64(10 + i)
		a.scrape(line{"istio_ms_bucket", "le=+Inf", h, v}, line{"istio_ms_sum", "", h, sum},
			line{"istio_ms_count", "", h, v})
		b.wait(9 * time.Second)
	}
	b.want(aggregate("istio_ms_count", "", ""), "10:0 20:1")
}

// TestABucketGrowsByNoMoreThanTheNext: some pages round their values, or are written while requests are counted.
func TestABucketGrowsByNoMoreThanTheNext(t *testing.T) {
	h := model.MetricTypeHistogram
	b := newBed(t, istio())
	a := b.target("a")
	for i, v := range [][3]float64{{1.00000e6, 1.2e6, 2.34568e6}, {1.00001e6, 1.200001e6, 2.34568e6},
		{1.00002e6, 1.2001e6, 2.34578e6}} {
		b.now = b.now.Add(time.Second)
		a.scrape(line{"istio_ms_bucket", "le=5", h, v[0]}, line{"istio_ms_bucket", "le=10", h, v[1]},
			line{"istio_ms_bucket", "le=+Inf", h, v[2]}, line{"istio_ms_count", "", h, 2.34568e6 + float64(i)})
		b.wait(9 * time.Second)
	}
	b.want(aggregate("istio_ms_bucket", "le", "5"), "10:0 20:0 30:10")
	b.want(aggregate("istio_ms_bucket", "le", "10"), "10:0 20:0 30:99")
	b.want(aggregate("istio_ms_bucket", "le", "+Inf"), "10:0 20:0 30:100")
	b.want(aggregate("istio_ms_count", "", ""), "10:0 20:1 30:2")
}
