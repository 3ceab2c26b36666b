// Package history keeps the last hour of a few numbers of the program, such as samples per second, for the lines on
// the overview page. Run reads the program's own metrics every 15 seconds; Lines returns a copy of what it noted.
//
// The memory is fixed: one array of 4-byte numbers, 6 KiB in all. Nothing of it survives the process. For longer times
// and for single jobs there are the metrics themselves.
package history

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The span of a line: Points values, one each Interval, which is one hour.
const (
	Interval = 15 * time.Second
	Points   = 240
)

// Quantity is a number that is kept.
type Quantity int

// All quantities, in the order of Lines.
const (
	Samples      Quantity = iota // samples read from pages, per second
	BytesRead                    // uncompressed bytes of pages, per second
	BytesWritten                 // compressed bytes of requests to all endpoints, per second
	Backlog                      // samples that wait for an endpoint
	Failures                     // failed scrapes, per minute
	Duration                     // mean duration of a scrape, in seconds
	quantities
)

// metricOf names the metric behind each quantity.
var metricOf = [quantities]string{
	Samples:      "envoy_scraper_scrape_samples_total",
	BytesRead:    "envoy_scraper_scrape_page_bytes_total",
	BytesWritten: "envoy_scraper_remotewrite_sent_bytes_total",
	Backlog:      "envoy_scraper_remotewrite_pending_samples",
	Failures:     "envoy_scraper_scrape_failures_total",
	Duration:     "envoy_scraper_scrape_duration_seconds",
}

// Line is the last hour of a quantity.
type Line struct {
	Quantity Quantity
	Values   []float64 // the oldest first, at most Points; NaN: not known, for example a mean while nothing was scraped
}

// History is the last hour. The zero value is not usable; call New.
type History struct {
	metrics prometheus.Gatherer

	mu     sync.Mutex // guards the following
	points [quantities][Points]float32
	next   int // index of the next value
	filled int // number of values, at most Points
}

// New returns an empty history of the program whose metrics are given.
func New(metrics prometheus.Gatherer) *History { return &History{metrics: metrics} }

// Run notes the numbers every Interval until ctx ends, which is not an error.
func (h *History) Run(ctx context.Context) error {
	tick := time.NewTicker(Interval)
	defer tick.Stop()
	for last := h.read(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := h.read()
		h.note(last, now)
		last = now
	}
}

// Lines returns all quantities, each with the same number of values.
func (h *History) Lines() []Line {
	h.mu.Lock()
	defer h.mu.Unlock()
	lines := make([]Line, quantities)
	for q := range lines {
		values := make([]float64, h.filled)
		for i := range values {
			values[i] = float64(h.points[q][(h.next-h.filled+i+Points)%Points])
		}
		lines[q] = Line{Quantity(q), values}
	}
	return lines
}

// reading is what the metrics say at one moment, summed over jobs and endpoints.
type reading struct {
	at      time.Time
	total   [quantities]float64 // Duration: the sum of all durations
	scrapes float64             // how many scrapes are in that sum
}

// read sums the metrics. A metric that does not exist counts as 0. Gather returns an error beside the metrics that it
// could read; the others are read without it.
func (h *History) read() reading {
	r := reading{at: time.Now()}
	families, _ := h.metrics.Gather()
	for _, f := range families {
		q := slices.Index(metricOf[:], f.GetName())
		if q < 0 {
			continue
		}
		for _, m := range f.GetMetric() {
			// A metric is one of these; the values of the others are 0.
			r.total[q] += m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetHistogram().GetSampleSum()
			r.scrapes += float64(m.GetHistogram().GetSampleCount()) // only Duration is a histogram
		}
	}
	return r
}

// note adds the values between two readings. If the process was suspended, the time without readings is not known.
func (h *History) note(last, now reading) {
	values := between(last, now)
	slots := int(math.Round(float64(now.at.Sub(last.at)) / float64(Interval)))
	var gap [quantities]float64
	for q := range gap {
		gap[q] = unknown
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for range min(slots-1, Points) {
		h.add(gap)
	}
	h.add(values)
}

func (h *History) add(values [quantities]float64) {
	for q, v := range values {
		h.points[q][h.next] = float32(v)
	}
	h.next = (h.next + 1) % Points
	h.filled = min(h.filled+1, Points)
}

// between returns the value of each quantity between two readings.
func between(last, now reading) (values [quantities]float64) {
	seconds := now.at.Sub(last.at).Seconds()
	for q := range values {
		values[q] = rate(now.total[q]-last.total[q], seconds)
	}
	values[Backlog] = now.total[Backlog]
	values[Failures] *= 60
	values[Duration] = rate(now.total[Duration]-last.total[Duration], now.scrapes-last.scrapes)
	return values
}

// unknown is the value of a quantity for which there is none.
var unknown = math.NaN()

// rate returns grown by per. A sum that fell has lost the counters of a removed job: the rate is not known then.
func rate(grown, per float64) float64 {
	if grown < 0 || per <= 0 {
		return unknown
	}
	return grown / per
}
