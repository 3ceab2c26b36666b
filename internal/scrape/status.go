package scrape

import (
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/envoy"
	"github.com/envoy-scraper/envoy-scraper/internal/via"
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
	Duplicates int // of the kept ones, those of a series that the page had already shown; the first of each counts

	Pod          Pod         // that discovery found the target in; zero: it is not a pod's
	PageBytes    int64       // of the last page, uncompressed, as far as it was read
	WireBytes    int64       // of the last page, as it was sent
	Failure      string      // why the last scrape failed: a reason of envoy_scraper_scrape_failures_total
	FailingSince time.Time   // start of the first of the scrapes in a row that failed; zero: the last did not fail
	Failures     int         // scrapes in a row that failed
	Signs        envoy.Signs // kinds of metrics that the target's pages have shown
	// Shape is a hash of the series that the target's pages have shown. Targets that show one and the same page have
	// one Shape, unless series came and went between their scrapes.
	Shape uint64
	// Started is when the Envoy behind the page started, by its uptime. Zero: not known, or rules drop the uptime.
	Started time.Time
	// Restarted is when a scrape first saw a smaller uptime than the one before. Zero: none did.
	Restarted time.Time

	Turns       int       // it is asked at each turn of this many: 1, or more while it is slow to answer
	SlowedSince time.Time // since when Turns is more than 1; zero: it is not

	Filter   string // with which Envoy leaves out what rules drop, see FilterOf; empty: pages are whole
	WhyWhole string // why pages are whole: a clause without a full stop; empty if there is a Filter
	Whole    PageSize
}

// Every returns the time between two scrapes: the interval, or several of them while the target is slow to answer.
func (t *TargetStatus) Every() time.Duration { return time.Duration(max(t.Turns, 1)) * t.Interval }

// PageSize is how much the last good whole page of a target held. The zero value says that there was none.
type PageSize struct {
	Bytes   int64 // uncompressed
	Samples int   // before metric relabeling
}

// Pod names a pod. The zero value names none.
type Pod = via.Pod

// IsLimit reports whether a reason of envoy_scraper_scrape_failures_total is a limit of the job or of the process.
func IsLimit(failure string) bool {
	switch failure {
	case "label_limit", "memory", "body_size_limit", "sample_limit", "bucket_limit", "growth_limit", "target_limit":
		return true
	default:
		return false
	}
}

// DroppedTarget is a discovered target that relabeling left out.
type DroppedTarget struct {
	Job        string
	Discovered func() labels.Labels // before relabeling
	Pod        Pod                  // that it was found in; zero: it is not a pod's

	// Only FullStatus sets the following.
	Rule int  // that left it out, from 1; 0: a rule of before the last reload
	Port Port // that it was found by
}

// Port is a port of a container of a pod. Fields that discovery did not keep are empty.
type Port struct{ Container, Name, Number string }

// FoundTarget is a discovered target that is not scraped from here for another reason than a rule.
type FoundTarget struct {
	Job        string
	Discovered func() labels.Labels // before relabeling
	Pod        Pod                  // that it was found in; zero: it is not a pod's
	Reason     string               // why it is invalid
	Same       Pod                  // that the equal target was found in
	Shard      int                  // index of the instance that scrapes it
}

// PoolStatus is one job: the targets that discovery found, by what relabeling and sharding made of them.
type PoolStatus struct {
	Job          string
	Targets      []TargetStatus  // running, by URL
	Dropped      []DroppedTarget // at most keep_dropped_targets
	DroppedCount int             // all of them
	Others       int             // targets that other instances scrape, see Pools.Shard
	Errors       []string        // why discovered targets are invalid: no address, a bad interval

	// Only FullStatus lists the following.
	Invalid    []FoundTarget // discovered targets that cannot be scraped, with Reason
	Duplicates []FoundTarget // targets that equal another one of the job, which is scraped; with Same
	Elsewhere  []FoundTarget // targets that other instances scrape, with Shard
	Shards     int           // number of instances that share the targets; 0: they do not
}
