package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"

	"github.com/envoy-scraper/envoy-scraper/internal/config/yamltree"
)

// refuseAggregates refuses entries of envoy_scraper.aggregate that the jobs exclude.
func (l *loader) refuseAggregates(src *source) {
	external := l.writtenExternalLabels(src)
	for _, c := range l.aggregateChecks() {
		c.external = external
		c.refuseNativeHistograms()
		c.refuseKeepRaw()
	}
}

// lintAggregates warns about entries that are unwise with the jobs, the shards and the endpoints, and notes what the
// sums are.
func (l *loader) lintAggregates(cfg *Config, src *source) {
	external := l.writtenExternalLabels(src)
	for _, c := range l.aggregateChecks() {
		c.cfg, c.external = cfg, external
		c.lintMatch()
		c.lintLabels()
		c.lintAs()
		c.lintIntervals()
		c.lintRules()
		c.lintPodLabels()
		c.lintPodNames()
		c.lintEndpoints()
		c.noteKeepRaw()
		c.noteSums()
	}
}

func (l *loader) aggregateChecks() (all []*aggregateCheck) {
	for i, e := range l.ext.Aggregate {
		c := &aggregateCheck{loader: l, AggregateExtension: e, key: fmt.Sprintf("%s.aggregate[%d]", extensionKey, i)}
		for _, j := range l.jobs {
			if j.cfg != nil && j.clean && slices.Contains(e.Jobs, j.cfg.JobName) {
				c.jobs = append(c.jobs, j)
			}
		}
		all = append(all, c)
	}
	return all
}

// aggregateCheck is the check of one entry.
type aggregateCheck struct {
	*loader
	AggregateExtension
	cfg  *Config
	key  string // as envoy_scraper.aggregate[0]
	jobs []*job // of the entry, those without an error

	external []writtenLabel // external labels of the file and of the command line
}

// at returns a problem about a key of the entry.
func (c *aggregateCheck) at(severity Severity, key, value, why, fix string) Problem {
	value = c.shown(key, value)
	path := c.key
	if key != "" {
		path = yamltree.Join(c.key, key)
	}
	return Problem{Severity: severity, File: c.extFile, Line: c.extPart.LineOf(path), Key: path, Value: value, Why: why,
		Fix: fix}
}

// shown returns the value of a key for a message: as written, without the content of a variable.
func (c *aggregateCheck) shown(key, value string) string {
	return cmp.Or(c.env.written[c.extPart.Node(yamltree.Join(c.key, key))], value)
}

// shownAs returns a label of as for a message.
func (c *aggregateCheck) shownAs(name string) string { return c.shown("as."+name, c.As[name]) }

func (c *aggregateCheck) warn(key, value, why, fix string) {
	c.add(c.at(SeverityWarning, key, value, why, fix))
}

// notATotal matches the names that do not end in _total, as the counters of Istio do.
const notATotal = `^(?s:.{0,5}|.*([^l]|[^a]l|[^t]al|[^o]tal|[^t]otal|[^_]total))$`

// refuseNativeHistograms refuses jobs whose histograms are native ones. Envoy may change their resolution from one
// scrape to the next, so there is no difference of two scrapes to add. A match of names that end in _total has no
// histogram.
func (c *aggregateCheck) refuseNativeHistograms() {
	if _, got := haveCommonString(c.anchored(), notATotal); got == disjoint {
		return
	}
	for _, j := range c.jobs {
		switch label := setsNative(j.cfg); {
		case j.cfg.ScrapeNativeHistogramsEnabled():
			c.refuseNative(j, "has scrape_native_histograms", "set scrape_native_histograms: false for the job")
		case j.cfg.ConvertClassicHistogramsToNHCBEnabled():
			c.refuseNative(j, "has convert_classic_histograms_to_nhcb",
				"set convert_classic_histograms_to_nhcb: false for the job")
		case label != "":
			c.refuseNative(j, "sets the label "+label, "do not set the label")
		}
	}
}

func (c *aggregateCheck) refuseNative(j *job, has, fix string) {
	c.add(c.at(SeverityError, "match", c.Match, fmt.Sprintf("job %s %s, and native histograms cannot be summed: "+
		"their buckets may change from scrape to scrape", j.cfg.JobName, has),
		fix+", or let match find only counters, as istio_.*_total"))
}

// setsNative returns a label by which some targets of a job get native histograms; empty: none.
func setsNative(cfg *promconfig.ScrapeConfig) string {
	for _, label := range []string{"__scrape_native_histograms__", "__convert_classic_histograms_to_nhcb__"} {
		for _, r := range cfg.RelabelConfigs {
			if on, err := strconv.ParseBool(r.Replacement); r.TargetLabel == label && (on || err != nil) {
				return label
			}
		}
		for _, set := range staticLabels(cfg) {
			if on, _ := strconv.ParseBool(string(set[model.LabelName(label)])); on {
				return label
			}
		}
	}
	return ""
}

// staticLabels returns the labels of the static targets of a job.
func staticLabels(cfg *promconfig.ScrapeConfig) (all []model.LabelSet) {
	for _, d := range cfg.ServiceDiscoveryConfigs {
		if static, ok := d.(discovery.StaticConfig); ok {
			for _, g := range static {
				all = append(all, g.Labels)
			}
		}
	}
	return all
}

// wholeNames matches the names that Envoy and Istio write.
const wholeNames = `^[a-zA-Z_:][a-zA-Z0-9_:]*$`

// lintMatch warns about expressions that match nothing, or a part of a histogram only.
func (c *aggregateCheck) lintMatch() {
	re, err := c.regexp()
	if err != nil {
		return
	}
	if _, got := haveCommonString(c.anchored(), wholeNames); got == disjoint {
		c.warn("match", c.Match, "no name of Envoy's can match it: names have letters, digits, _ and : only, so "+
			"nothing "+
			"is summed", "correct the expression, as istio_.*")
		return
	}
	if strings.HasSuffix(c.Match, "_") && isWord(c.Match) {
		c.warn("match", c.Match, "the expression must match the whole name of a series, so nothing is summed",
			"write "+c.shown("match", c.Match)+".*")
		return
	}
	for _, family := range envoyHistograms {
		var with, without []string
		for _, part := range []string{"_bucket", "_sum", "_count"} {
			if re.MatchString(family + part) {
				with = append(with, family+part)
			} else {
				without = append(without, family+part)
			}
		}
		switch {
		case len(with) == 0 && re.MatchString(family):
			c.warn("match", c.Match, fmt.Sprintf("%s is a histogram, whose series are named %s, so it is not summed",
				family, strings.Join(without, ", ")), "match these names too, as "+family+".*")
			return
		case len(with) > 0 && len(without) > 0:
			c.warn("match", c.Match, fmt.Sprintf("it matches %s, but not %s: the histogram is summed in part, and the "+
				"rest has a series per pod", strings.Join(with, ", "), strings.Join(without, ", ")),
				"match "+family+"_.*, or drop the rest with metric_relabel_configs")
			return
		}
	}
}

// envoyHistograms are histograms that a job for sidecars usually has.
var envoyHistograms = []string{
	"istio_request_duration_milliseconds", "istio_request_bytes", "istio_response_bytes",
	"envoy_cluster_upstream_rq_time", "envoy_http_downstream_rq_time",
}

// lintLabels warns about labels of without and by that have no effect.
func (c *aggregateCheck) lintLabels() {
	for i, name := range c.Without {
		if name == model.QuantileLabel {
			c.warn(fmt.Sprintf("without[%d]", i), name, "has no effect: quantiles cannot be summed and are sent as "+
				"they "+
				"are", "remove it")
		}
	}
	for i, name := range c.block().By {
		if _, set := c.As[name]; set {
			c.warn(fmt.Sprintf("by[%d]", i), name, "has no effect: as sets this label", "remove it here")
		}
	}
	if !c.keeps(model.JobLabel) && len(c.jobs) > 1 {
		c.warn("", "", "the sums have no label job, so the series of all its jobs are added up",
			"keep job, unless the jobs have different pods")
	}
}

// lintIntervals warns about sums over jobs with different intervals. Such a sum is right, but it is written at the
// longest interval.
func (c *aggregateCheck) lintIntervals() {
	if c.keeps(model.JobLabel) || len(c.jobs) < 2 {
		return // each job has sums of its own
	}
	shortest, longest := c.jobs[0].cfg, c.jobs[0].cfg
	for _, j := range c.jobs[1:] {
		if j.cfg.ScrapeInterval < shortest.ScrapeInterval {
			shortest = j.cfg
		}
		if j.cfg.ScrapeInterval > longest.ScrapeInterval {
			longest = j.cfg
		}
	}
	if shortest.ScrapeInterval != longest.ScrapeInterval {
		c.warn("jobs", strings.Join(c.Jobs, ", "), fmt.Sprintf("job %s is scraped every %v and job %s every %v: "+
			"their sum is up to %v behind",
			shortest.JobName, shortest.ScrapeInterval, longest.JobName, longest.ScrapeInterval,
			longest.ScrapeInterval), "keep the label job, or give the jobs one interval")
	}
}

// noteSums notes what the sums of the entry are.
func (c *aggregateCheck) noteSums() {
	b := c.block()
	labels := "without " + strings.Join(b.Without, ", ")
	if b.By != nil {
		labels = "by " + cmp.Or(strings.Join(b.By, ", "), "no label")
	}
	var intervals []model.Duration
	for _, j := range c.jobs {
		intervals = append(intervals, j.cfg.ScrapeInterval)
	}
	when := "at the interval of each job"
	slices.Sort(intervals)
	if n := len(slices.Compact(intervals)); n == 1 {
		when = "every " + intervals[0].String()
	}
	names := ""
	if c.Prefix != "" {
		names = ", named " + c.shown("prefix", c.Prefix) + "…"
	}
	var as []string
	for _, name := range slices.Sorted(maps.Keys(c.As)) {
		as = append(as, fmt.Sprintf("%s=%q", name, c.shownAs(name)))
	}
	why := fmt.Sprintf("sums of %s of %s, %s, with %s%s, written %s", c.shown("match", c.Match),
		strings.Join(c.Jobs, ", "), labels, strings.Join(as, ", "), names, when)
	c.cfg.Notes = append(c.cfg.Notes, c.at(SeverityNote, "", "", why, ""))
}
