package config

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/aggregate"
)

// AggregateExtension is an entry of envoy_scraper.aggregate as written. Its lines in a file:
//
//	jobs: [envoy-stats]
//	match: istio_.*
//	as: {instance: "%{NODE_NAME}"}
type AggregateExtension struct {
	Jobs       []string          `yaml:"jobs"`
	Match      string            `yaml:"match"`                 // on the name of a series, anchored
	Without    []string          `yaml:"without,omitempty"`     // nil, and By is nil: aggregate.DefaultWithout
	By         *[]string         `yaml:"by,omitempty"`          // instead of Without; empty: no label but As
	As         map[string]string `yaml:"as"`                    // labels that the sums get
	Prefix     string            `yaml:"prefix,omitempty"`      // of the sums' names
	Idle       *model.Duration   `yaml:"idle,omitempty"`        // nil: defaultIdle
	Gauges     aggregate.Gauges  `yaml:"gauges,omitempty"`      // empty: aggregate.GaugesRaw
	KeepRaw    bool              `yaml:"keep_raw,omitempty"`    // the series are sent beside their sum
	CountFirst *bool             `yaml:"count_first,omitempty"` // nil: true
}

const (
	// defaultIdle outlasts a rolling restart of a workload.
	defaultIdle = model.Duration(15 * time.Minute)
	// leastIdle is how far Prometheus' queries look back: a sum that ended earlier would leave holes.
	leastIdle = lookBack
)

// Aggregates returns the blocks of envoy_scraper.aggregate, with every default filled in.
func (c *Config) Aggregates() []aggregate.Block {
	var blocks []aggregate.Block
	for _, e := range c.Extension.Aggregate {
		blocks = append(blocks, e.block())
	}
	return blocks
}

// Aggregated reports whether a block of envoy_scraper.aggregate sums series of a job.
func (c *Config) Aggregated(job string) bool {
	return slices.ContainsFunc(c.Extension.Aggregate, func(e AggregateExtension) bool {
		return slices.Contains(e.Jobs, job)
	})
}

// block returns the entry, which has been validated, with its defaults.
func (e AggregateExtension) block() aggregate.Block {
	match, _ := e.regexp()
	b := aggregate.Block{
		Jobs: e.Jobs, Match: match, Without: e.Without, As: labels.FromMap(e.As), Prefix: e.Prefix,
		Gauges: cmp.Or(e.Gauges, aggregate.GaugesRaw), KeepRaw: e.KeepRaw, Idle: time.Duration(defaultIdle),
		SkipFirst: e.CountFirst != nil && !*e.CountFirst,
	}
	if e.By != nil {
		b.By = append([]string{}, *e.By...)
	}
	if b.Without == nil && b.By == nil {
		b.Without = aggregate.DefaultWithout()
	}
	if e.Idle != nil {
		b.Idle = time.Duration(*e.Idle)
	}
	return b
}

// MarshalYAML writes the entry with every default.
func (e AggregateExtension) MarshalYAML() (any, error) {
	b, idle := e.block(), model.Duration(e.block().Idle)
	e.Without, e.Idle, e.Gauges = b.Without, &idle, b.Gauges
	e.CountFirst = new(bool)
	*e.CountFirst = !b.SkipFirst
	type plain AggregateExtension // drops this method, so that encode does not recurse
	return plain(e), nil
}

// regexp returns match, anchored as the expressions of relabeling.
func (e AggregateExtension) regexp() (*regexp.Regexp, error) {
	return regexp.Compile("^(?s:" + e.Match + ")$")
}

// keeps reports whether sums have a label of their sources.
func (e AggregateExtension) keeps(label string) bool {
	b := e.block()
	return b.Labels(labels.FromStrings(label, "x")).Has(label)
}

// validateAggregate returns every problem of the entries. jobs are the names of the jobs.
func (e Extension) validateAggregate(jobs []string, scheme model.ValidationScheme) (errs []error) {
	if n := len(e.Aggregate); n > aggregate.MaxBlocks {
		errs = append(errs, keyError{"aggregate", fmt.Sprintf("%d entries", n), fmt.Sprintf("more than %d",
			aggregate.MaxBlocks), "put entries with the same labels into one"})
		return errs
	}
	for i, entry := range e.Aggregate {
		v := aggregateValidator{AggregateExtension: entry, key: fmt.Sprintf("aggregate[%d]", i), scheme: scheme}
		v.checkJobs(jobs)
		v.checkMatch()
		v.checkLabels()
		v.checkAs()
		v.checkRest()
		errs = append(errs, v.errs...)
	}
	return append(errs, e.validatePairs()...)
}

// aggregateValidator collects the problems of one entry.
type aggregateValidator struct {
	AggregateExtension
	key    string // as aggregate[0]
	scheme model.ValidationScheme
	errs   []error
}

// refuse adds a problem of a key of the entry.
func (v *aggregateValidator) refuse(key, value, why, fix string) {
	v.errs = append(v.errs, keyError{v.key + "." + key, value, why, fix})
}

func (v *aggregateValidator) checkJobs(names []string) {
	if len(v.Jobs) == 0 {
		v.refuse("jobs", "", "missing, so nothing is summed", "add the names of jobs, as jobs: [envoy-stats]")
	}
	for i, job := range v.Jobs {
		key := fmt.Sprintf("jobs[%d]", i)
		switch {
		case !slices.Contains(names, job):
			fix := "remove it"
			if len(names) > 0 {
				fix = "write one of " + strings.Join(names, ", ")
			}
			v.refuse(key, job, "no job has this name", fix)
		case slices.Contains(v.Jobs[:i], job):
			v.refuse(key, job, "listed twice", "remove one of the two")
		}
	}
}

func (v *aggregateValidator) checkMatch() {
	if v.Match == "" {
		v.refuse("match", "", "missing, so nothing is summed",
			"add an expression for the names of series, as match: istio_.*")
		return
	}
	if _, err := v.regexp(); err != nil {
		v.refuse("match", v.Match, err.Error(), "correct the regular expression (RE2 syntax)")
	}
}

// checkLabels checks without and by.
func (v *aggregateValidator) checkLabels() {
	if v.Without != nil && v.By != nil {
		v.refuse("by", "", "without is written too", "remove one of the two")
	}
	if v.Without != nil && len(v.Without) == 0 {
		v.refuse("without", "[]", "the list is empty",
			"write the labels that sums shall not have, or remove the key: then they are "+
				strings.Join(aggregate.DefaultWithout(), ", "))
	}
	for _, list := range []struct {
		key   string
		names []string
	}{{"without", v.Without}, {"by", v.block().By}} {
		for i, name := range list.names {
			key := fmt.Sprintf("%s[%d]", list.key, i)
			if v.isSumLabel(key, name, name) && slices.Contains(list.names[:i], name) {
				v.refuse(key, name, "listed twice", "remove one of the two")
			}
		}
	}
}

// isSumLabel reports whether a block may keep, remove or set a label. If not, it refuses the label. shown is the value
// of the key.
func (v *aggregateValidator) isSumLabel(key, name, shown string) bool {
	switch {
	case name == model.MetricNameLabel:
		v.refuse(key, shown, "the sums of different metrics cannot be mixed", "remove it: sums always have a name")
	case name == model.BucketLabel:
		v.refuse(key, shown, "le tells the buckets of a histogram apart", "remove it: sums always have it")
	case !v.scheme.IsValidLabelName(name):
		v.refuse(key, shown, "not a valid label name", "correct it")
	case strings.HasPrefix(name, model.ReservedLabelPrefix):
		v.refuse(key, shown, "labels that start with __ are never sent", "remove it")
	default:
		return true
	}
	return false
}

// checkAs checks the labels of the sums, without which two agents would write the same series.
func (v *aggregateValidator) checkAs() {
	if len(v.As) == 0 {
		v.refuse("as", "", "missing: it tells the sums of this agent from those of another, which would be the "+
			"same series otherwise", `add as: {instance: "%{NODE_NAME}"} for a DaemonSet, or "%{POD_NAME}"`)
	}
	for _, name := range slices.Sorted(maps.Keys(v.As)) {
		key, value := "as."+name, v.As[name]
		switch {
		case name == model.JobLabel:
			v.refuse(key, value, "job stays the name of the scrape job", "use another label, as instance")
		case name == aggregate.BoundsLabel:
			v.refuse(key, value, "sums of histograms with different bounds have this label", "use another label, "+
				"as instance")
		case !v.isSumLabel(key, name, value):
		case value == "":
			v.refuse(key, value, emptyAs, emptyAsFix)
		case !model.LabelValue(value).IsValid():
			v.refuse(key, "", "not valid UTF-8", "correct the value")
		}
	}
}

const (
	emptyAs = "the value is empty, so the sums of two agents would be the same series"
	// emptyAsFix is also the fix of a variable of as that is not set.
	emptyAsFix = "set NODE_NAME of the pod from spec.nodeName, or POD_NAME from metadata.name (fieldRef), or write " +
		"what tells this agent from the others; to check a file elsewhere, give --node-name"
)

// isAsPath reports whether a path is that of a label of as, as envoy_scraper.aggregate[0].as.instance.
func isAsPath(path string) bool {
	rest, ok := strings.CutPrefix(path, extensionKey+".aggregate[")
	_, label, found := strings.Cut(rest, "].as.")
	return ok && found && label != ""
}

// checkRest checks prefix, idle and gauges.
func (v *aggregateValidator) checkRest() {
	if v.Prefix != "" && !model.LegacyValidation.IsValidMetricName(v.Prefix) {
		v.refuse("prefix", v.Prefix, "not the beginning of a metric's name",
			"write letters, digits, _ and :, as 'workload:'")
	}
	if v.Idle != nil && *v.Idle < leastIdle {
		v.refuse("idle", v.Idle.String(), fmt.Sprintf("less than %v, the time that Prometheus' queries look back: "+
			"a sum would end while its last value still counts", leastIdle), fmt.Sprintf("write at least "+
			"%v", leastIdle))
	}
	switch v.Gauges {
	case "", aggregate.GaugesRaw, aggregate.GaugesSum, aggregate.GaugesMax, aggregate.GaugesMin:
	default:
		v.refuse("gauges", string(v.Gauges), "must be raw, sum, max or min", "write raw, sum, max or min")
	}
}
