package remotewrite

import (
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/deliver"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
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
	HeldSamples    int // of PendingSamples: they wait for later scrapes
	PendingBytes   int64
	OldestPending  time.Time // zero: nothing is queued
	LastError      string
	LastErrorTime  time.Time
	LastSuccess    time.Time
	Unreachable    bool  // the last request failed in a way that may pass
	PendingLimit   int64 // bytes that may be queued; 0: unknown
	SentBytes      int64 // of requests since the start, compressed, with those of retries
	SentSamples    int64 // since the start, that the receiver accepted
	// until the limit is reached, at the pace of the last minutes; 0: the queue does not grow
	FullIn   time.Duration
	Rejected []Rejection // what was refused for good lately, newest first
}

// rejectionTime is the time since the last rejection after which a 1.0 receiver is expected to take whole requests.
const rejectionTime = 10 * time.Minute

// rejectsAs10 reports whether the receiver speaks remote write 1.0 and rejected samples lately.
func (s *EndpointStatus) rejectsAs10(now time.Time) bool {
	return s.Protocol == wire.V1.String() && len(s.Rejected) > 0 && now.Sub(s.Rejected[0].Last) < rejectionTime
}
