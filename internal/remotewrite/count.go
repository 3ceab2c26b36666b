package remotewrite

import (
	"sync/atomic"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/deliver"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/pack"
)

// account is what an endpoint sums up of the fates that its senders report, beside its metrics.
type account struct {
	delivered atomic.Int64 // samples that left the queue: growth compares them with what came
	inFlight  atomic.Int64 // samples of requests in flight that are settled already: not lost if the process ends now
	highest   atomic.Int64 // newest timestamp that the receiver accepted, Unix milliseconds
}

// count takes the fate that a sender reports. waited is the time that its lane waited for answers, in nanoseconds.
func (e *endpoint) count(f deliver.Fate, waited *atomic.Int64) {
	m := e.metrics
	if f.Posted {
		m.bytes.Add(float64(f.Bytes))
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
		advance(&e.account.highest, f.Newest)
	}
	m.delivered.Add(float64(f.Delivered))
	m.refuse(f.Complaint, f.Refused)
	m.drop(deliver.Unsupported, f.Unsupported)
	m.drop(f.Reason, f.Dropped)
	e.account.inFlight.Add(int64(f.Settled() - f.Done))
	e.account.delivered.Add(int64(f.Done))
}

// countPacked takes what became of a batch.
func (e *endpoint) countPacked(t pack.Tally) {
	m := e.metrics
	m.appended.Add(float64(t.Converted))
	m.exemplars.Add(float64(t.Exemplars))
	m.drop(relabelled, t.Relabelled)
	m.drop(deliver.Unsupported, t.Unsupported)
	m.drop(notNewer, t.NotNewer)
	m.drop(invalidLabels, t.InvalidLabels)
	if t.QueueFull.Samples > 0 {
		e.lost(queue.QueueFull, t.QueueFull)
	}
	if t.QueueError != nil {
		e.queueRefused(t.QueueRefused, t.QueueError)
	}
}

// advance sets a to v unless a is later already.
func advance(a *atomic.Int64, v int64) {
	for before := a.Load(); v > before && !a.CompareAndSwap(before, v); {
		before = a.Load()
	}
}
