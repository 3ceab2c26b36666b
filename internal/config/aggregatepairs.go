package config

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/internal/aggregate"
)

// validatePairs refuses two entries that can match one series, or that can write one. If that is not found out within
// the bound of haveCommonString, it says nothing. Of two entries that match a series, the first one wins then.
func (e Extension) validatePairs() (errs []error) {
	ofJob := map[string]int{}
	for i, entry := range e.Aggregate {
		key := fmt.Sprintf("aggregate[%d]", i)
		for _, job := range entry.Jobs {
			if ofJob[job]++; ofJob[job] == aggregate.MaxBlocksOfJob+1 {
				errs = append(errs, keyError{key + ".jobs", job, fmt.Sprintf("the job is in more than %d entries",
					aggregate.MaxBlocksOfJob), "put entries with the same labels into one"})
			}
		}
		for k, before := range e.Aggregate[:i] {
			if why, fix := before.conflictWith(entry, k); why != "" {
				errs = append(errs, keyError{key + ".match", entry.Match, why, fix})
			}
		}
	}
	return errs
}

// conflictWith returns why an entry and a later one exclude each other; empty: they do not. k is the number of the
// first.
func (e AggregateExtension) conflictWith(later AggregateExtension, k int) (why, fix string) {
	shared := slices.IndexFunc(later.Jobs, func(job string) bool { return slices.Contains(e.Jobs, job) })
	if shared >= 0 {
		if name, got := haveCommonString(e.anchored(), later.anchored()); got == common {
			return fmt.Sprintf("aggregate[%d] matches some of these series too (%q of job %s, for example), and a "+
					"series has one sum", k, name, later.Jobs[shared]),
				"change one of the expressions, or put all into one entry"
		}
	}
	oneJob := shared >= 0 || !e.keeps(model.JobLabel) && !later.keeps(model.JobLabel)
	if !oneJob || !e.sameLabels(later) {
		return "", ""
	}
	if name, got := haveCommonString(e.written(), later.written()); got == common {
		return fmt.Sprintf("aggregate[%d] writes sums with the same names and labels (%q, for example), so a series "+
				"would have two values", k, name),
			"put the jobs into one entry, or give a label of as another value in each"
	}
	return "", ""
}

// sameLabels reports whether sums of both entries can have the same labels. They cannot if a label of as has different
// values. Different lists do not help: what only one of them removes may be missing from the series.
func (e AggregateExtension) sameLabels(other AggregateExtension) bool {
	for name, value := range e.As {
		if v, ok := other.As[name]; ok && v != value || !ok && !other.keeps(name) {
			return false
		}
	}
	for name := range other.As {
		if _, ok := e.As[name]; !ok && !e.keeps(name) {
			return false
		}
	}
	return true
}

// matchesNothing is an expression that no string matches.
const matchesNothing = `[^\x00-\x{10FFFF}]`

// anchored returns the text of match, or matchesNothing if it is missing or wrong, which is reported.
func (e AggregateExtension) anchored() string {
	if re, err := e.regexp(); err == nil && e.Match != "" {
		return re.String()
	}
	return matchesNothing
}

// written returns an expression of the names of the sums.
func (e AggregateExtension) written() string {
	if e.anchored() == matchesNothing {
		return matchesNothing
	}
	return "^" + regexp.QuoteMeta(e.Prefix) + "(?s:" + e.Match + ")$"
}
