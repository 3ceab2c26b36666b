package scrape

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
)

type metrics struct {
	scrapes  *prometheus.CounterVec
	failures *prometheus.CounterVec
	samples  *prometheus.CounterVec
	dropped  *prometheus.CounterVec
	duration *prometheus.HistogramVec
	targets  *prometheus.GaugeVec
	others   *prometheus.GaugeVec
	unwanted *prometheus.GaugeVec
	invalid  *prometheus.GaugeVec
	limited  *prometheus.CounterVec
	skipped  prometheus.Counter
	running  prometheus.Gauge

	reading, readingLimit prometheus.Gauge
	memoryWaits           prometheus.Counter

	shards prometheus.Gauge
	moves  *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: "envoy_scraper_scrape_" + name, Help: help}, labels)
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return f.NewGaugeVec(prometheus.GaugeOpts{Name: "envoy_scraper_scrape_" + name, Help: help}, []string{"job"})
	}
	return &metrics{
		scrapes:  counter("scrapes_total", "Scrapes that ran to their end, good or bad.", "job"),
		failures: counter("failures_total", "Scrapes that failed, by reason.", "job", "reason"),
		samples:  counter("samples_total", "Samples read from pages, before metric relabeling.", "job"),
		dropped:  counter("dropped_samples_total", "Samples read but not handed on, by reason.", "job", "reason"),
		duration: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "envoy_scraper_scrape_duration_seconds", Help: "How long scrapes took.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"job"}),
		targets:  gauge("targets", "Targets being scraped."),
		others:   gauge("other_shards_targets", "Targets that other instances scrape."),
		unwanted: gauge("dropped_targets", "Discovered targets that relabeling left out."),
		invalid:  gauge("invalid_targets", "Discovered targets that cannot be scraped (no address, a bad interval)."),
		limited:  counter("label_limit_exceeded_total", "Scrapes that failed for a label limit.", "job"),
		skipped: f.NewCounter(prometheus.CounterOpts{
			Name: "envoy_scraper_scrape_skipped_total", Help: "Turns that passed unused because the target's scrape before was still running.",
		}),
		running: f.NewGauge(prometheus.GaugeOpts{Name: "envoy_scraper_scrape_running", Help: "Scrapes running now."}),
		reading: f.NewGauge(prometheus.GaugeOpts{Name: "envoy_scraper_scrape_reading", Help: "Pages being read now, each with memory of its own."}),
		readingLimit: f.NewGauge(prometheus.GaugeOpts{
			Name: "envoy_scraper_scrape_reading_limit", Help: "Pages that may be read at the same time: --scrape.max-memory.",
		}),
		memoryWaits: f.NewCounter(prometheus.CounterOpts{
			Name: "envoy_scraper_scrape_memory_waits_total", Help: "Scrapes that had to wait for memory, whether they got it within their timeout or not.",
		}),
		shards: f.NewGauge(prometheus.GaugeOpts{Name: "envoy_scraper_scrape_shards", Help: "Instances that share the targets, by the map in force. 0: none do."}),
		moves:  counter("handovers_total", "Targets taken over from another instance, or left to one.", "direction"),
	}
}

// showMemory adds what grows with the mesh, and must shrink with it.
func (e *env) showMemory(reg prometheus.Registerer) {
	f := promauto.With(reg)
	gauge := func(name, help string, value func() int) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: "envoy_scraper_scrape_" + name, Help: help}, func() float64 { return float64(value()) })
	}
	gauge("series", "Different series of all targets, less what they owe to their target: replicas share them.", e.table.Len)
	gauge("symbols", "Different strings in label names, label values and metadata of all series.", e.table.SymbolCount)
	gauge("layouts", "Different pages of all targets but for the values: replicas share them.", e.layouts.Len)
}

// showConnections adds the number of open connections to targets, and its bound.
func (e *env) showConnections(reg prometheus.Registerer, d *connLimit) {
	f := promauto.With(reg)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "envoy_scraper_scrape_connections", Help: "Open connections to targets, in use or kept between scrapes.",
	}, func() float64 { held, _ := d.slots.counts(); return float64(held) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "envoy_scraper_scrape_connections_limit", Help: "Connections to targets that may be open: three quarters of the limit of open files.",
	}, func() float64 { return float64(d.slots.limit) })
}

// jobMetrics are the metrics of one job, looked up once.
type jobMetrics struct {
	scrapes, samples, droppedByRules, duplicates, outOfBounds, outOfOrder, lost, labelLimit prometheus.Counter
	duration                                                                                prometheus.Observer
	failures                                                                                *prometheus.CounterVec // of all jobs
	job                                                                                     string
	gone                                                                                    atomic.Bool // forgotten, though a scrape may still run
}

// failed counts a failed scrape, unless its job was forgotten meanwhile: its metrics would be there again, for ever.
func (m *jobMetrics) failed(reason string) {
	if !m.gone.Load() {
		m.failures.WithLabelValues(m.job, reason).Inc()
	}
}

func (m *metrics) of(job string) *jobMetrics {
	dropped := func(reason string) prometheus.Counter { return m.dropped.WithLabelValues(job, reason) }
	return &jobMetrics{
		scrapes: m.scrapes.WithLabelValues(job), samples: m.samples.WithLabelValues(job),
		droppedByRules: dropped("metric_relabeling"), duplicates: dropped("duplicate"),
		outOfBounds: dropped("too_far_ahead"), outOfOrder: dropped("out_of_order"), lost: dropped("failed_scrape"),
		labelLimit: m.limited.WithLabelValues(job), duration: m.duration.WithLabelValues(job),
		failures: m.failures, job: job,
	}
}

// forget ends the series of a job that is no longer configured.
func (m *metrics) forget(job string) {
	by := prometheus.Labels{"job": job}
	for _, v := range []interface {
		DeletePartialMatch(prometheus.Labels) int
	}{m.scrapes, m.failures, m.samples, m.dropped, m.duration, m.targets, m.others, m.unwanted, m.invalid, m.limited} {
		v.DeletePartialMatch(by)
	}
}

// reasonOf is the closed set of reasons for which a scrape fails.
func reasonOf(err error) string {
	var netErr net.Error
	var refused *forbiddenError
	var labelLimit *limitError
	var panicked *panicError
	var noMemory *memoryError
	switch {
	case errors.As(err, &panicked):
		return "panic"
	case errors.As(err, &labelLimit):
		return "label_limit"
	case errors.As(err, &noMemory):
		return "memory"
	case errors.As(err, &refused):
		return "forbidden_address"
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
	case strings.HasPrefix(err.Error(), "server returned HTTP status"):
		return "status"
	case errors.As(err, &netErr), errors.Is(err, syscall.ECONNRESET):
		return "network"
	default:
		return "page"
	}
}
