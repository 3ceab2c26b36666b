package via

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

const metricPrefix = "envoy_scraper_via_"

type metrics struct {
	requests prometheus.Counter
	refusals *prometheus.CounterVec
	bytes    prometheus.Counter
	waited   prometheus.Counter
}

// newMetrics registers the metrics. They exist, and are zero, also if pages are read directly.
func newMetrics(reg prometheus.Registerer, way Way, l *limiter) *metrics {
	f := promauto.With(reg)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: metricPrefix + "api_server",
		Help: "Whether pages of pods are read through the API server (1) or directly (0), see --via.",
	}, func() float64 {
		if way == APIServer {
			return 1
		}
		return 0
	})
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: metricPrefix + "targets", Help: "Targets that are read through the API server.",
	}, func() float64 { return float64(l.targets.Load()) })
	return &metrics{
		requests: f.NewCounter(prometheus.CounterOpts{
			Name: metricPrefix + "requests_total", Help: "Requests for pages sent through the API server.",
		}),
		refusals: f.NewCounterVec(prometheus.CounterOpts{
			Name: metricPrefix + "refusals_total",
			Help: "Requests that the API server answered itself, instead of the pod, by reason.",
		}, []string{"reason"}),
		bytes: f.NewCounter(prometheus.CounterOpts{
			Name: metricPrefix + "read_bytes_total",
			Help: "Bytes of pages read through the API server, as they were sent.",
		}),
		waited: f.NewCounter(prometheus.CounterOpts{
			Name: metricPrefix + "rate_wait_seconds_total",
			Help: "Seconds that scrapes waited because pages are read through the API server at --via.max-rate.",
		}),
	}
}
