package remotewrite

import (
	"cmp"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/deliver"
)

// Rejection is one or more samples that an endpoint refused for good.
type Rejection = deliver.Rejection

// EndpointStatus is the state of an endpoint for people.
type EndpointStatus struct {
	Name           string // as in metrics
	URL            string // without user info and query
	Protocol       string // "2.0" or "1.0"
	Lanes          int
	PendingSamples int
	PendingBytes   int64
	OldestPending  time.Time // zero: nothing is queued
	LastError      string
	LastErrorTime  time.Time
	LastSuccess    time.Time
	Unreachable    bool          // the last request failed in a way that may pass
	PendingLimit   int64         // bytes that may be queued; 0: unknown
	FullIn         time.Duration // until the limit is reached, at the pace of the last minutes; 0: the queue does not grow
	Rejected       []Rejection   // what was refused for good lately, newest first
}

// Status returns the state of each endpoint, in the order of the configuration.
func (w *Writers) Status() []EndpointStatus {
	endpoints := *w.endpoints.Load()
	out := make([]EndpointStatus, 0, len(endpoints))
	for _, e := range endpoints {
		out = append(out, e.status())
	}
	return out
}

func (e *endpoint) status() EndpointStatus {
	q, r := e.queue.Stats(), e.receiver.Status()
	out := EndpointStatus{
		Name: e.label, URL: e.settings.Load().redactedURL(), Lanes: len(e.packer.Lanes()),
		PendingSamples: q.Samples, PendingBytes: q.Bytes, PendingLimit: q.MaxBytes,
		Protocol: r.Protocol.String(), Unreachable: r.Unreachable, Rejected: r.Rejected,
		LastError: r.LastError, LastErrorTime: r.LastErrorTime, LastSuccess: r.LastSuccess,
		FullIn: e.filling.until(q.MaxBytes, time.Now(), cmp.Or(q.DiskBytes, q.Bytes)), // the limit is that of the disk, if any
	}
	if q.Requests > 0 {
		out.OldestPending = time.UnixMilli(q.Oldest)
	}
	return out
}
