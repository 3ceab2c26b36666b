package scrape

import (
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// Health is what the last scrape of a target said of it.
type Health string

// The health of a target, in the words of Prometheus' API.
const (
	HealthUnknown Health = "unknown" // not scraped yet
	HealthUp      Health = "up"
	HealthDown    Health = "down"
)

// TargetStatus is a target as people see it: a copy, valid for as long as one likes.
type TargetStatus struct {
	Job        string
	URL        string               // never with credentials
	Labels     labels.Labels        // the public labels that its series carry
	Discovered func() labels.Labels // the labels before relabeling, made anew at each call
	Health     Health
	LastScrape time.Time     // start of the last scrape; zero: none yet
	Duration   time.Duration // of the last scrape
	Err        string        // why the last scrape failed; empty: it did not
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

// PoolStatus is one job: how many targets discovery found, and what became of them.
type PoolStatus struct {
	Job          string
	Targets      []TargetStatus  // running, by URL
	Dropped      []DroppedTarget // at most keep_dropped_targets
	DroppedCount int             // all of them
	Others       int             // targets that other instances scrape, see Pools.Shard
	Errors       []string        // discovered targets that are no valid target (no address, bad interval): why
}

// Discovery is what a group of a job's discovery held, for the pages that explain each step.
type Discovery struct {
	Job    string
	Labels model.LabelSet
}
