package scrape

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
	"github.com/envoy-scraper/envoy-scraper/internal/via"
)

type metrics struct {
	scrapes        *prometheus.CounterVec
	failures       *prometheus.CounterVec
	samples        *prometheus.CounterVec
	pageBytes      *prometheus.CounterVec
	wireBytes      *prometheus.CounterVec
	filtered       *prometheus.CounterVec
	filterFaults   *prometheus.CounterVec
	jobSeries      *prometheus.GaugeVec
	droppedSamples *prometheus.CounterVec
	duration       *prometheus.HistogramVec
	targets        *prometheus.GaugeVec
	others         *prometheus.GaugeVec
	droppedTargets *prometheus.GaugeVec
	invalid        *prometheus.GaugeVec
	limited        *prometheus.CounterVec
	skipped        prometheus.Counter
	slowed         *prometheus.GaugeVec
	leftOut        *prometheus.CounterVec
	running        prometheus.Gauge

	reading, readingLimit prometheus.Gauge
	memoryWaits           prometheus.Counter

	shards prometheus.Gauge
	moves  *prometheus.CounterVec
}

const metricPrefix = "envoy_scraper_scrape_"

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: metricPrefix + name, Help: help}, labels)
	}
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: metricPrefix + name, Help: help})
	}
	gauges := func(name, help string) *prometheus.GaugeVec {
		return f.NewGaugeVec(prometheus.GaugeOpts{Name: metricPrefix + name, Help: help}, []string{"job"})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Name: metricPrefix + name, Help: help})
	}
	return &metrics{
		scrapes:   counters("scrapes_total", "Scrapes that ended, successful or failed.", "job"),
		failures:  counters("failures_total", "Scrapes that failed, by reason.", "job", "reason"),
		samples:   counters("samples_total", "Samples read from pages, before metric relabeling.", "job"),
		pageBytes: counters("page_bytes_total", "Bytes of the pages that were read, uncompressed.", "job"),
		wireBytes: counters("wire_bytes_total",
			"Bytes of the pages that were read, as the targets sent them, without headers.", "job"),
		filtered: counters("filtered_total",
			"Requests for filtered pages: those without what metric_relabel_configs drop.", "job"),
		filterFaults: counters("filter_faults_total",
			"What spoke against the filter of such a request, or against the whole page that checks it, by reason.",
			"job", "reason"),
		jobSeries: gauges("job_series", "Series on the last page of each target of the job, after metric relabeling, "+
			"counted for each target. Targets whose last scrape failed have none."),
		droppedSamples: counters("dropped_samples_total", "Samples read from pages but not sent, by reason.", "job",
			"reason"),
		duration: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: metricPrefix + "duration_seconds", Help: "How long scrapes took.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"job"}),
		targets:        gauges("targets", "Targets that this instance scrapes."),
		others:         gauges("other_shards_targets", "Targets that other instances scrape."),
		droppedTargets: gauges("dropped_targets", "Discovered targets that relabeling left out."),
		invalid: gauges("invalid_targets",
			"Discovered targets that cannot be scraped (no address, a bad interval)."),
		limited: counters("label_limit_exceeded_total",
			"Scrapes that failed because a label limit was exceeded.", "job"),
		skipped: counter("skipped_total",
			"Scrapes that were due while the target's previous scrape was still running, and so were skipped."),
		slowed: gauges("slowed_targets",
			"Targets that are not asked at every turn because they are slow to answer."),
		leftOut: counters("left_out_total",
			"Turns that were left out because the target was slow to answer. They have no sample, not even of up.",
			"job"),
		running: gauge("running", "Scrapes running now."),
		reading: gauge("reading", "Pages that are being read now."),
		readingLimit: gauge("reading_limit",
			"Maximum number of pages read at the same time, from --scrape.max-memory."),
		memoryWaits: counter("memory_waits_total", "Scrapes that had to wait for memory, with or without success."),
		shards:      gauge("shards", "Number of instances that share the targets; 0 if they are not shared."),
		moves: counters("handovers_total",
			"Targets that moved to this instance (here) or to another one (away).", "direction"),
	}
}

// gaugeOf registers a gauge that is computed when it is read.
func gaugeOf(reg prometheus.Registerer, name, help string, value func() int) {
	promauto.With(reg).NewGaugeFunc(prometheus.GaugeOpts{Name: metricPrefix + name, Help: help},
		func() float64 { return float64(value()) })
}

// showMemory adds the sizes of the tables that grow and shrink with the mesh.
func (e *env) showMemory(reg prometheus.Registerer) {
	gaugeOf(reg, "series", "Number of distinct series, counted once for all targets that share them.", e.table.Len)
	gaugeOf(reg, "symbols", "Number of distinct strings in label names, label values and metadata of all series.",
		e.table.SymbolCount)
	gaugeOf(reg, "layouts", "Number of distinct pages apart from values, counted once for all targets that share them.",
		e.layouts.Len)
}

// showConnections adds the number of open connections to targets, and its limit.
func showConnections(reg prometheus.Registerer, d *connLimit) {
	gaugeOf(reg, "connections", "Open connections to targets, in use or kept between scrapes.",
		func() int { held, _ := d.slots.counts(); return held })
	gaugeOf(reg, "connections_limit", "Maximum number of open connections to targets: three quarters of the limit of "+
		"open files.", func() int { return d.slots.limit })
}

// jobMetrics are the metrics of one job, looked up once.
type jobMetrics struct {
	scrapes, samples, pageBytes, wireBytes, droppedByRules prometheus.Counter
	duplicates, outOfBounds, outOfOrder, lost, labelLimit  prometheus.Counter
	filtered, leftOut                                      prometheus.Counter
	series, slowed                                         prometheus.Gauge

	duration               prometheus.Observer
	failures, filterFaults *prometheus.CounterVec // of all jobs
	job                    string
	gone                   atomic.Bool // the job was removed, though a scrape may still run
}

// failed counts a failed scrape, unless its job was removed meanwhile: that would create its metrics again.
func (m *jobMetrics) failed(reason string) {
	if !m.gone.Load() {
		m.failures.WithLabelValues(m.job, reason).Inc()
	}
}

// Reasons of filter_faults_total.
const (
	faultLost    = "lost_series" // a series that rules keep was on the whole page, and not on the filtered one before
	faultRefused = "refused"     // the target answered the filter with an error, or nothing
	faultFailed  = "failed"      // scrapes with the filter failed, and those without did not
	faultWhole   = "whole_page"  // the whole page was bad, and the filtered one good
)

// filterFault counts what spoke against a filter, as failed does.
func (m *jobMetrics) filterFault(reason string) {
	if !m.gone.Load() {
		m.filterFaults.WithLabelValues(m.job, reason).Inc()
	}
}

func (m *metrics) of(job string) *jobMetrics {
	dropped := func(reason string) prometheus.Counter { return m.droppedSamples.WithLabelValues(job, reason) }
	return &jobMetrics{
		scrapes: m.scrapes.WithLabelValues(job), samples: m.samples.WithLabelValues(job),
		droppedByRules: dropped("metric_relabeling"), duplicates: dropped("duplicate"),
		outOfBounds: dropped("too_far_ahead"), outOfOrder: dropped("out_of_order"), lost: dropped("failed_scrape"),
		labelLimit: m.limited.WithLabelValues(job), duration: m.duration.WithLabelValues(job),
		pageBytes: m.pageBytes.WithLabelValues(job), wireBytes: m.wireBytes.WithLabelValues(job),
		series: m.jobSeries.WithLabelValues(job), slowed: m.slowed.WithLabelValues(job),
		filtered: m.filtered.WithLabelValues(job), leftOut: m.leftOut.WithLabelValues(job),
		failures: m.failures, filterFaults: m.filterFaults, job: job,
	}
}

// forget deletes the metrics of a removed job.
func (m *metrics) forget(job string) {
	by := prometheus.Labels{"job": job}
	for _, v := range []interface {
		DeletePartialMatch(prometheus.Labels) int
	}{m.scrapes, m.failures, m.samples, m.pageBytes, m.wireBytes, m.filtered, m.filterFaults, m.jobSeries,
		m.droppedSamples, m.duration, m.targets, m.others, m.droppedTargets, m.invalid, m.limited, m.slowed,
		m.leftOut} {
		v.DeletePartialMatch(by)
	}
}

// reasonOf returns why a scrape failed, as the label reason of failures_total.
func reasonOf(err error) string {
	var netErr net.Error
	var refused *forbiddenError
	var labelLimit *limitError
	var panicked *panicError
	var noMemory *memoryError
	var apiServer *via.Refusal
	var noServer *via.ServerError
	var tooMany *via.TooManyTargetsError
	var tooFast *via.RateError
	var status *statusError
	switch {
	case errors.As(err, &panicked):
		return "panic"
	case errors.As(err, &labelLimit):
		return "label_limit"
	case errors.As(err, &noMemory):
		return "memory"
	case errors.As(err, &refused):
		return "forbidden_address"
	case errors.As(err, &apiServer), errors.As(err, &noServer):
		return "api_server"
	case errors.As(err, &tooMany):
		return "via_limit"
	case errors.As(err, &tooFast):
		return "via_rate"
	case errors.Is(err, errBodyLimit):
		return "body_size_limit"
	case errors.Is(err, exposition.ErrSampleLimit):
		return "sample_limit"
	case errors.Is(err, exposition.ErrBucketLimit):
		return "bucket_limit"
	case errors.Is(err, exposition.ErrGrowthLimit):
		return "growth_limit"
	case errors.Is(err, errTargetLimit):
		return "target_limit"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return "timeout"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return "emfile"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.As(err, &status):
		return "status"
	case errors.As(err, &netErr), errors.Is(err, syscall.ECONNRESET):
		return "network"
	default:
		return "page"
	}
}
