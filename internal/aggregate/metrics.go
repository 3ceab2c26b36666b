package aggregate

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

const metricPrefix = "envoy_scraper_aggregate_"

// metrics are the package's own counters. They are added to once per page or tick, never per sample.
type metrics struct {
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
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: metricPrefix + name, Help: help})
	}
	return &metrics{
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
			"of the interval after their tick. Ticks in between are left out."),
		bounds: counter("bounds_disagreements_total", "Histograms of pages whose bounds differ from those of other "+
			"targets. They are summed apart, with a label bounds."),
	}
}

// sizes are the package's gauges, computed when somebody asks for them.
type sizes struct {
	of                                    *Aggregates
	groups, targets, sourceSeries, series *prometheus.Desc
}

func newSizes(of *Aggregates) *sizes {
	desc := func(name, help string) *prometheus.Desc { return prometheus.NewDesc(metricPrefix+name, help, nil, nil) }
	return &sizes{
		of: of,
		groups: desc("groups", "Groups of aggregates. A group has the same labels, except for the name and the labels "+
			"of single series, and is one target to the receiver."),
		targets:      desc("targets", "Targets whose pages are summed."),
		sourceSeries: desc("source_series", "Series of the last good pages that are summed."),
		series:       desc("series", "Aggregates: the series that are written instead."),
	}
}

// Describe implements prometheus.Collector.
func (s *sizes) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{s.groups, s.targets, s.sourceSeries, s.series} {
		descs <- d
	}
}

// Collect implements prometheus.Collector.
func (s *sizes) Collect(metrics chan<- prometheus.Metric) {
	set := func(d *prometheus.Desc, n int) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n))
	}
	s.of.changing.RLock()
	defer s.of.changing.RUnlock()
	groups, sources, aggregates := s.of.allGroups(), 0, 0
	for _, g := range groups {
		g.mu.Lock()
		sources += g.sourceSeries()
		aggregates += len(g.byID)
		g.mu.Unlock()
	}
	s.of.mu.Lock()
	targets := len(s.of.sources)
	s.of.mu.Unlock()
	set(s.groups, len(groups))
	set(s.targets, targets)
	set(s.sourceSeries, sources)
	set(s.series, aggregates)
}
