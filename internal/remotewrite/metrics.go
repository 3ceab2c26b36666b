package remotewrite

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/deliver"
)

// Reasons why samples did not arrive, beside those of senders.
const (
	queueFull     deliver.Reason = "queue_full"     // the oldest samples made room in a full queue
	diskFull      deliver.Reason = "disk_full"      // the disk did not take them, and memory is bounded
	queueError    deliver.Reason = "queue_error"    // the queue refused them
	refusedSample deliver.Reason = "refused"        // the receiver refused them for good
	notNewer      deliver.Reason = "not_newer"      // not newer than the last sample of the series or target
	invalidLabels deliver.Reason = "invalid_labels" // a receiver would refuse or silently drop them
	relabelled    deliver.Reason = "write_relabel"  // write_relabel_configs dropped them
	abandoned     deliver.Reason = "abandoned"      // not delivered before the flush deadline of a stop or a removal
)

var reasons = []deliver.Reason{queueFull, diskFull, queueError, refusedSample, deliver.TooOld, notNewer,
	invalidLabels, relabelled,
	abandoned, deliver.Unsupported, deliver.Damaged, deliver.IsolationBudget}

type metrics struct {
	appended  *prometheus.CounterVec
	accepted  *prometheus.CounterVec
	dropped   *prometheus.CounterVec
	rejected  *prometheus.CounterVec
	delivered *prometheus.CounterVec
	requests  *prometheus.CounterVec
	answers   *prometheus.CounterVec
	retries   *prometheus.CounterVec
	bytes     *prometheus.CounterVec
	duration  *prometheus.HistogramVec
	exemplars *prometheus.CounterVec
	metadata  *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg) // a nil reg gives working, unregistered metrics
	name := func(what string) string { return "envoy_scraper_remotewrite_" + what }
	counter := func(what, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: name(what), Help: help},
			append([]string{"endpoint"}, labels...))
	}
	return &metrics{
		appended: counter("samples_total",
			"Samples that were scraped, including native histograms and staleness markers."),
		accepted:  counter("samples_accepted_total", "Samples that the endpoint accepted."),
		dropped:   counter("samples_dropped_total", "Samples that are lost for the endpoint, by reason.", "reason"),
		exemplars: counter("exemplars_total", "Exemplars that were packed into requests."),
		metadata: counter("metadata_total",
			"Metric families whose metadata was sent in requests of its own (remote write 1.0), "+
				"by outcome: accepted, refused.", "outcome"),
		rejected: counter("rejected_samples_total",
			"Samples that the endpoint refused for good, by the reason that it gave.", "reason"),
		delivered: counter("samples_already_delivered_total",
			"Samples that the endpoint refused because an earlier process had delivered them."),
		requests: counter("requests_total",
			"Requests, by outcome: accepted, retry, slow_retry, refused, split, isolate, other_protocol.",
			"outcome"),
		answers: counter("answers_total",
			"Answers to requests, by status, or by error if there was no answer: timeout, dns, refused, network.",
			"answer"),
		retries: counter("retries_total", "Requests that failed and are retried."),
		bytes:   counter("sent_bytes_total", "Compressed bytes of request bodies, including retries."),
		duration: f.NewHistogramVec(prometheus.HistogramOpts{Name: name("send_duration_seconds"),
			Help:    "Time from sending a request to its answer.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}}, []string{"endpoint"}),
	}
}

// forget removes all metrics of a removed endpoint.
func (m *metrics) forget(label string) {
	of := prometheus.Labels{"endpoint": label}
	for _, c := range []*prometheus.CounterVec{m.appended, m.accepted, m.dropped, m.rejected, m.delivered, m.requests,
		m.answers,
		m.retries, m.bytes, m.exemplars, m.metadata} {
		c.DeletePartialMatch(of)
	}
	m.duration.DeletePartialMatch(of)
}

// keptMetrics is how long the counters of a removed endpoint stay in /metrics: long enough for some scrapes, so that
// abandoned samples are seen.
const keptMetrics = 15 * time.Minute

// removedMetrics are metrics that are not counted up any more.
type removedMetrics struct {
	label string
	ended <-chan struct{} // closed when the endpoint has ended; until then it may still count
	since time.Time       // when that was noticed; zero: not yet
}

// endpointMetrics are the metrics of one endpoint. The label is looked up once.
type endpointMetrics struct {
	appended, accepted, delivered, exemplars, retries, bytes prometheus.Counter
	duration                                                 prometheus.Observer
	dropped                                                  map[deliver.Reason]prometheus.Counter
	rejected                                                 map[deliver.Complaint]prometheus.Counter
	requests                                                 map[deliver.Outcome]prometheus.Counter
	answers                                                  map[string]prometheus.Counter
	metadataAccepted, metadataRefused                        prometheus.Counter
}

func (m *metrics) endpoint(label string) *endpointMetrics {
	e := &endpointMetrics{
		appended: m.appended.WithLabelValues(label), accepted: m.accepted.WithLabelValues(label),
		delivered: m.delivered.WithLabelValues(label),
		exemplars: m.exemplars.WithLabelValues(label), retries: m.retries.WithLabelValues(label),
		bytes: m.bytes.WithLabelValues(label), duration: m.duration.WithLabelValues(label),
		dropped: map[deliver.Reason]prometheus.Counter{}, rejected: map[deliver.Complaint]prometheus.Counter{},
		requests: map[deliver.Outcome]prometheus.Counter{}, answers: map[string]prometheus.Counter{},
		metadataAccepted: m.metadata.WithLabelValues(label,
			deliver.Accepted.String()), metadataRefused: m.metadata.WithLabelValues(label, deliver.Refused.String()),
	}
	for _, r := range reasons {
		e.dropped[r] = m.dropped.WithLabelValues(label, string(r))
	}
	for _, c := range deliver.Complaints {
		e.rejected[c] = m.rejected.WithLabelValues(label, string(c))
	}
	for _, a := range deliver.Answers {
		e.answers[a] = m.answers.WithLabelValues(label, a)
	}
	for _, o := range deliver.Outcomes {
		e.requests[o] = m.requests.WithLabelValues(label, o.String())
	}
	return e
}

// drop counts n samples that will never arrive.
func (e *endpointMetrics) drop(r deliver.Reason, n int) {
	if n > 0 {
		e.dropped[r].Add(float64(n))
	}
}

// refuse counts n samples that the receiver refused for good.
func (e *endpointMetrics) refuse(c deliver.Complaint, n int) {
	if n > 0 {
		e.drop(refusedSample, n)
		e.rejected[c].Add(float64(n))
	}
}

// pendingCollector reads the state of queues when metrics are collected.
type pendingCollector struct {
	status                                func() []EndpointStatus
	samples, bytes, oldest, fullIn, limit *prometheus.Desc
}

func newPendingCollector(status func() []EndpointStatus) *pendingCollector {
	desc := func(what, help string) *prometheus.Desc {
		return prometheus.NewDesc("envoy_scraper_remotewrite_"+what, help, []string{"endpoint"}, nil)
	}
	return &pendingCollector{
		status: status,
		samples: desc("pending_samples",
			"Samples in the queue of the endpoint, including those of requests in flight."),
		bytes:  desc("pending_bytes", "Compressed bytes in the queue of the endpoint."),
		oldest: desc("pending_oldest_seconds", "Age of the oldest sample in the queue; 0 if the queue is empty."),
		limit:  desc("pending_limit_bytes", "Size of the queue above which the oldest samples are dropped."),
		fullIn: desc("pending_full_seconds",
			"Time until the queue is full if it grows as in the last two minutes; +Inf if it does not grow."),
	}
}

// Describe implements prometheus.Collector.
func (c *pendingCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.samples
	ch <- c.bytes
	ch <- c.oldest
	ch <- c.limit
	ch <- c.fullIn
}

// Collect implements prometheus.Collector.
func (c *pendingCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, label string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, label)
	}
	for _, s := range c.status() {
		age := 0.0
		if !s.OldestPending.IsZero() {
			age = max(0, time.Since(s.OldestPending).Seconds())
		}
		gauge(c.samples, float64(s.PendingSamples), s.Name)
		gauge(c.bytes, float64(s.PendingBytes), s.Name)
		gauge(c.oldest, age, s.Name)
		if s.PendingLimit == 0 {
			continue
		}
		full := math.Inf(1)
		if s.FullIn > 0 {
			full = s.FullIn.Seconds()
		}
		gauge(c.limit, float64(s.PendingLimit), s.Name)
		gauge(c.fullIn, full, s.Name)
	}
}
