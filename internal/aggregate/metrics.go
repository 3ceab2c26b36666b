package aggregate

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

const metricPrefix = "envoy_scraper_aggregate_"

// metrics are the package's own metrics. Counters are added to once per page or tick, never per sample. The gauges are
// set at each tick.
type metrics struct {
	groups       prometheus.Gauge
	targets      prometheus.Gauge
	sourceSeries prometheus.Gauge
	series       prometheus.Gauge

	summed     prometheus.Counter // samples of pages
	written    prometheus.Counter // samples of aggregates
	firstPages prometheus.Counter
	youngPages prometheus.Counter
	births     prometheus.Counter
	resets     prometheus.Counter
	restarts   prometheus.Counter
	ticks      prometheus.Counter
	lateTicks  prometheus.Counter
	bounds     prometheus.Counter
}

// newMetrics registers the metrics. They exist, and are zero, also without a block.
func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg) // a nil reg gives working, unregistered metrics
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Name: metricPrefix + name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: metricPrefix + name, Help: help})
	}
	return &metrics{
		groups: gauge("groups", "Groups of aggregates. A group has the same labels, except for the name and the "+
			"labels of single series, and is one target to the receiver."),
		targets:      gauge("targets", "Targets whose series are summed."),
		sourceSeries: gauge("source_series", "Series of the pages of these targets that are summed."),
		series:       gauge("series", "Aggregates: the series that are written instead."),

		summed:  counter("samples_summed_total", "Samples of pages that were added to aggregates."),
		written: counter("samples_written_total", "Samples of aggregates that were written, with staleness markers."),
		firstPages: counter("first_pages_total", "First pages of targets. Later pages are compared with them. They "+
			"add nothing themselves."),
		youngPages: counter("young_pages_total", "First pages of processes that had started within the last interval. "+
			"Their series count from zero."),
		births: counter("births_total", "Series that were new, or back, on the page of a target that was known."),
		resets: counter("resets_total", "Series whose value fell although their process had not restarted."),
		restarts: counter("restarts_total", "Restarts of processes that were seen on pages. All series of such a page "+
			"count from zero."),
		ticks: counter("ticks_total", "Times that the aggregates of a group were written."),
		lateTicks: counter("late_ticks_total", "Times that the aggregates of a group were written later than a tenth "+
			"of the interval after their tick, or left out."),
		bounds: counter("bounds_disagreements_total", "Pages that showed a histogram with other bounds than the "+
			"aggregate has. They are summed apart, with a label bounds."),
	}
}
