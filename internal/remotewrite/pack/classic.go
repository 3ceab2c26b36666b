package pack

import (
	"math"
	"slices"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// classics makes classic histograms of native ones with custom buckets (convert_nhcb_to_classic). It remembers the
// bounds that each series had last, so that the classic series end when the native one does. If
// convert_nhcb_to_classic is turned off, nothing ends them. Guarded by Lane.mu.
type classics struct {
	known  map[classicKey]bounds
	counts []float64  // scratch
	whole  labelMaker // likewise
}

type classicKey struct {
	target uint64 // stable hash: ids are reused
	id     series.ID
}

// bounds are the upper bounds of the buckets of a series, without the last one, which is +Inf.
type bounds struct {
	gen   uint32 // of the series' id
	upper []float64
}

// expand appends the classic rows for a row, and reports whether they replace it. If the series has no custom buckets
// any more, the classic rows are staleness markers, and the row itself is still sent, unless it is a marker too.
func (c *classics) expand(s *Settings, src source, r row, key classicKey, unbound []unboundRow) (_ []unboundRow,
	taken bool) {
	before, known := c.known[key]
	known = known && before.gen == src.view.Gen(key.id)
	nhcb, upper := customBuckets(r.Histogram)
	if nhcb == nil && !known {
		return unbound, false
	}
	ls := c.whole.make(src.view, r.id, src.target, s.added)
	x := expansion{labels: ls, builder: labels.NewBuilder(labels.EmptyLabels()), row: &r, unbound: unbound}
	if nhcb == nil {
		delete(c.known, key)
		x.end(before.upper, nil)
		x.add("_count", series.StaleMarker())
		x.add("_sum", series.StaleMarker())
		return x.unbound, r.Histogram == nil && value.IsStaleNaN(r.Value)
	}
	counts, count, sum, err := histogram.ClassicBucketCounts(nhcb, c.counts)
	if err != nil || ls.Get(model.MetricNameLabel) == "" {
		return unbound, false // sent as it is
	}
	c.counts = counts
	for i, n := range counts {
		bound := math.Inf(1)
		if i < len(upper) {
			bound = upper[i]
		}
		x.bucket(bound, n)
	}
	x.add("_count", count)
	x.add("_sum", sum)
	if known {
		x.retired(before.upper, upper)
	}
	if !known || !slices.Equal(before.upper, upper) {
		c.keep(key, bounds{gen: src.view.Gen(key.id), upper: slices.Clone(upper)}) // upper belongs to the batch
	}
	return x.unbound, true
}

func (c *classics) keep(key classicKey, b bounds) {
	switch {
	case c.known == nil:
		c.known = map[classicKey]bounds{}
	case len(c.known) >= maxHistory:
		clear(c.known)
	}
	c.known[key] = b
}

// customBuckets returns a histogram with custom buckets in the form of histogram.ClassicBucketCounts; nil if h is
// another one.
func customBuckets(h *series.Histogram) (nhcb any, upper []float64) {
	switch {
	case h == nil:
	case h.Integer != nil && h.Integer.UsesCustomBuckets():
		return h.Integer, h.Integer.CustomValues
	case h.Float != nil && h.Float.UsesCustomBuckets():
		return h.Float, h.Float.CustomValues
	}
	return nil, nil
}

// expansion turns one row into several.
type expansion struct {
	labels  labels.Labels
	builder *labels.Builder
	row     *row
	unbound []unboundRow
	lower   float64 // bound of the bucket before
	any     bool    // there was one
}

func (x *expansion) add(suffix string, v float64) { x.put(suffix, "", v, x.row.Start, nil) }

// bucket adds a bucket with the exemplars that fall into it.
func (x *expansion) bucket(bound, n float64) {
	var own []series.Exemplar
	for _, e := range x.row.Exemplars {
		if e.Exemplar.Value <= bound && (!x.any || e.Exemplar.Value > x.lower) {
			own = append(own, e)
		}
	}
	x.lower, x.any = bound, true
	x.put("_bucket", labels.FormatOpenMetricsFloat(bound), n, x.row.Start, own)
}

// retired adds a marker for each bucket that does not exist any more.
func (x *expansion) retired(before, now []float64) {
	for _, bound := range before {
		if !slices.Contains(now, bound) {
			x.put("_bucket", labels.FormatOpenMetricsFloat(bound), series.StaleMarker(), 0, nil)
		}
	}
}

// end adds a marker for each bucket.
func (x *expansion) end(before, now []float64) {
	x.retired(before, now)
	x.put("_bucket", labels.FormatOpenMetricsFloat(math.Inf(1)), series.StaleMarker(), 0, nil)
}

func (x *expansion) put(suffix, le string, v float64, start int64, exemplars []series.Exemplar) {
	x.builder.Reset(x.labels)
	x.builder.Set(model.MetricNameLabel, x.labels.Get(model.MetricNameLabel)+suffix)
	if le != "" {
		x.builder.Set(model.BucketLabel, le)
	}
	ls := x.builder.Labels()
	r := *x.row
	r.Value, r.Start, r.Histogram, r.Exemplars = v, start, nil, exemplars
	hash := hashLabels(ls)
	x.unbound = append(x.unbound, unboundRow{row: r, hash: hash, route: hash, text: ls})
}
