package scrape

import (
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// Health says how the last scrape of a target ended.
type Health string

// The health of a target, in the words of Prometheus' API.
const (
	HealthUnknown Health = "unknown" // not scraped yet
	HealthUp      Health = "up"
	HealthDown    Health = "down"
)

// TargetStatus is a target as pages show it. It is a copy.
type TargetStatus struct {
	Job        string
	URL        string               // never with credentials
	Labels     labels.Labels        // those that its series have
	Discovered func() labels.Labels // returns the labels before relabeling
	Health     Health
	LastScrape time.Time     // start of the last scrape; zero: none yet
	Duration   time.Duration // of the last scrape
	Err        string        // why the last scrape failed; empty if it did not
	Interval   time.Duration
	Timeout    time.Duration
	Samples    int // read by the last scrape, before metric relabeling
	Kept       int // what metric relabeling left of them
}

// DroppedTarget is a discovered target that relabeling left out.
type DroppedTarget struct {
	Job        string
	Discovered func() labels.Labels // before relabeling
}

// PoolStatus is one job: the targets that discovery found, by what relabeling and sharding made of them.
type PoolStatus struct {
	Job          string
	Targets      []TargetStatus  // running, by URL
	Dropped      []DroppedTarget // at most keep_dropped_targets
	DroppedCount int             // all of them
	Others       int             // targets that other instances scrape, see Pools.Shard
	Errors       []string        // why discovered targets are invalid: no address, a bad interval
}
