package remotewrite

import (
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
