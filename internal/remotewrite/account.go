package remotewrite

import (
	"errors"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/deliver"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/pack"
)

// account counts what happens to the samples of an endpoint: in metrics, and in sums that growth and a stop need.
type account struct {
	metrics *endpointMetrics
	log     *zap.Logger
	lines   deliver.LogLimit

	done     atomic.Int64 // samples that left the queue; growth compares them with appended samples
	inFlight atomic.Int64 // settled samples of requests in flight: they are not lost if the process ends now
	highest  atomic.Int64 // newest timestamp that the receiver accepted, Unix milliseconds

	sentBytes, sentSamples atomic.Int64 // as in EndpointStatus
}

// fate counts the fate that a sender reports. waited is the time that its lane waited for answers, in nanoseconds.
func (a *account) fate(f deliver.Fate, waited *atomic.Int64) {
	m := a.metrics
	if f.Posted {
		m.bytes.Add(float64(f.Bytes))
		a.sentBytes.Add(int64(f.Bytes))
		m.duration.Observe(f.Took.Seconds())
	}
	if f.Answered {
		m.requests[f.Outcome].Inc()
		m.answers[f.Answer].Inc()
		if f.DecidesRequest() {
			waited.Add(int64(f.Took))
		} else {
			m.retries.Inc()
		}
	}
	if f.Accepted > 0 {
		m.accepted.Add(float64(f.Accepted))
		a.sentSamples.Add(int64(f.Accepted))
		advance(&a.highest, f.Newest)
	}
	m.delivered.Add(float64(f.Delivered))
	m.refuse(f.Complaint, f.Refused)
	m.drop(deliver.Unsupported, f.Unsupported)
	m.drop(f.Reason, f.Dropped)
	a.inFlight.Add(int64(f.Settled() - f.Done))
	a.done.Add(int64(f.Done))
}

// batch counts what became of the samples of a batch.
func (a *account) batch(t pack.Tally) {
	m := a.metrics
	m.appended.Add(float64(t.Converted))
	m.exemplars.Add(float64(t.Exemplars))
	m.drop(relabelled, t.Relabelled)
	m.drop(deliver.Unsupported, t.Unsupported)
	m.drop(notNewer, t.NotNewer)
	m.drop(invalidLabels, t.InvalidLabels)
	if t.QueueFull.Samples > 0 {
		a.lost(queue.QueueFull, t.QueueFull)
	}
	if t.QueueError != nil {
		a.queueRefused(t.QueueRefused, t.QueueError)
	}
}

// lost counts samples that the queue lost.
func (a *account) lost(r queue.Reason, l queue.Loss) {
	a.metrics.drop(map[queue.Reason]deliver.Reason{
		queue.QueueFull: queueFull, queue.DiskFull: diskFull, queue.TooOld: deliver.TooOld,
		queue.Damaged: deliver.Damaged,
	}[r], l.Samples)
	if a.lines.Allow("lost " + string(r)) {
		a.log.Error("remote write queue lost samples", zap.String("reason", string(r)), zap.Int("samples", l.Samples))
	}
}

// queueRefused counts samples that the queue did not take.
func (a *account) queueRefused(samples int, err error) {
	if errors.Is(err, queue.ErrClosed) {
		a.metrics.drop(abandoned, samples)
		return
	}
	a.metrics.drop(queueError, samples)
	if a.lines.Allow("queue") {
		a.log.Error("remote write queue refuses samples", zap.Int("samples", samples), zap.Error(err))
	}
}

// advance sets at to v unless it is later already.
func advance(at *atomic.Int64, v int64) {
	for before := at.Load(); v > before && !at.CompareAndSwap(before, v); {
		before = at.Load()
	}
}
