package aggregate

import (
	"regexp"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// Block says which series are summed, and under which labels. It is an entry of envoy_scraper.aggregate, checked, with
// every default filled in. Immutable.
type Block struct {
	Jobs    []string       // names of scrape jobs, at least one
	Match   *regexp.Regexp // anchored, on the name of a series after metric_relabel_configs
	Without []string       // labels that aggregates do not have; nil if By is set
	By      []string       // labels that aggregates have, beside __name__ and le; nil if Without is set
	As      labels.Labels  // labels that aggregates get in addition; at least one
	Prefix  string         // is put before the name of each aggregate; empty: names stay
	Gauges  Gauges
	KeepRaw bool // the series that are summed are sent, too

	// Idle is how long an aggregate without a source is still written. At least 5 minutes.
	Idle time.Duration
	// SkipFirst leaves out what a series has when it is new on the page of a known target, as rate() over the series
	// itself would.
	SkipFirst bool
}

// Blocks that Apply takes; further ones have no effect.
const (
	MaxBlocks      = 120 // twice as many have numbers: those before are used until their aggregates are gone
	MaxBlocksOfJob = maxGroups
)

// BoundsLabel is a label that no block may set: the second of two aggregate histograms that differ in their bounds only
// has it.
const BoundsLabel = "bounds"

// Gauges says what becomes of gauges that a block matches.
type Gauges string

// The values of Gauges.
const (
	GaugesRaw Gauges = "raw" // they are sent as they are, the default
	GaugesSum Gauges = "sum" // the sum over all targets whose last scrape was good
	GaugesMax Gauges = "max"
	GaugesMin Gauges = "min"
)

// equal reports whether two blocks mean the same.
func (b *Block) equal(other *Block) bool {
	return slices.Equal(b.Jobs, other.Jobs) && b.Match.String() == other.Match.String() &&
		slices.Equal(b.Without, other.Without) && slices.Equal(b.By, other.By) && labels.Equal(b.As, other.As) &&
		b.Prefix == other.Prefix && b.Gauges == other.Gauges && b.KeepRaw == other.KeepRaw && b.Idle == other.Idle &&
		b.SkipFirst == other.SkipFirst
}

// Labels returns the labels that the aggregate of a series has. It ignores Match.
func (b *Block) Labels(of labels.Labels) labels.Labels {
	to := labels.NewBuilder(of)
	of.Range(func(l labels.Label) {
		if !b.keeps(l.Name) {
			to.Del(l.Name)
		}
	})
	b.As.Range(func(l labels.Label) { to.Set(l.Name, l.Value) })
	if name := of.Get(model.MetricNameLabel); name != "" {
		to.Set(model.MetricNameLabel, b.Prefix+name)
	}
	return to.Labels()
}

// keeps reports whether aggregates have a label of their sources.
func (b *Block) keeps(name string) bool {
	switch {
	case name == model.MetricNameLabel || name == model.BucketLabel:
		return true
	case b.By != nil:
		return slices.Contains(b.By, name)
	default:
		return !slices.Contains(b.Without, name)
	}
}
