package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/relabel"
	"go.yaml.in/yaml/v3"

	"github.com/envoy-scraper/envoy-scraper/internal/config/yamltree"
	"github.com/envoy-scraper/envoy-scraper/internal/envoy"
	"github.com/envoy-scraper/envoy-scraper/internal/shard"
)

// refuseAggregates refuses entries of envoy_scraper.aggregate that the jobs exclude.
func (l *loader) refuseAggregates() {
	for _, c := range l.aggregateChecks() {
		c.refuseNativeHistograms()
	}
}

// lintAggregates warns about entries that are unwise with the jobs, the shards and the endpoints, and notes what the
// sums are.
func (l *loader) lintAggregates(cfg *Config, src *source) {
	differ := l.externalLabelsDiffer(src)
	for _, c := range l.aggregateChecks() {
		c.cfg, c.agentsDiffer = cfg, differ
		c.lintMatch()
		c.lintLabels()
		c.lintAs()
		c.lintIntervals()
		c.lintRules()
		c.lintPodLabels()
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

	agentsDiffer bool // external labels may tell agents apart
}

// externalLabelsDiffer reports whether an external label may be different in each agent: its value comes from the
// environment or the command line.
func (l *loader) externalLabelsDiffer(src *source) bool {
	for _, n := range scalars(yamltree.Get(src.root, "global", "external_labels")) {
		if l.env.written[n] != "" || strings.Contains(n.Value, "${") {
			return true
		}
	}
	return len(l.opts.ExternalLabels) > 0
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
	if _, mayBeHistogram := haveCommonString(c.anchored(), notATotal); !mayBeHistogram {
		return
	}
	for _, j := range c.jobs {
		key := ""
		switch {
		case j.cfg.ScrapeNativeHistogramsEnabled():
			key = "scrape_native_histograms"
		case j.cfg.ConvertClassicHistogramsToNHCBEnabled():
			key = "convert_classic_histograms_to_nhcb"
		default:
			continue
		}
		p := c.at(SeverityError, "match", c.Match, fmt.Sprintf("job %s has %s, and native histograms cannot be "+
			"summed: "+
			"their buckets may change from scrape to scrape", j.cfg.JobName, key),
			"set "+key+": false for the job, or let match find only counters, as istio_.*_total")
		c.add(p)
	}
}

// wholeNames matches the names that Envoy and Istio write.
const wholeNames = `^[a-zA-Z_:][a-zA-Z0-9_:]*$`

// lintMatch warns about expressions that match nothing, or a part of a histogram only.
func (c *aggregateCheck) lintMatch() {
	re, err := c.regexp()
	if err != nil {
		return
	}
	if _, any := haveCommonString(c.anchored(), wholeNames); !any {
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

// lintAs warns about labels that are the same in every agent.
func (c *aggregateCheck) lintAs() {
	several := ""
	switch {
	case c.opts.NodeName != "":
		several = flagNodeName + " says that there is an agent on each node"
	case slices.ContainsFunc(c.cfg.Shards.Periods, func(p shard.Period) bool { return p.Count > 1 }),
		slices.ContainsFunc(c.ext.Shards, func(p ShardPeriod) bool { return p.Count > 1 }):
		several = "several instances share the targets"
	}
	if several == "" {
		return
	}
	for _, j := range c.jobs {
		if c.opts.NodeName != "" && slices.Contains(c.ext.ClusterWideJobs, j.cfg.JobName) {
			c.warn("jobs", j.cfg.JobName, "the job is in cluster_wide_jobs: the agent on every node sums all its "+
				"targets, "+
				"so queries that add up the agents count each target once for every node",
				"scrape the job from a Deployment")
		}
	}
	if c.agentsDiffer || c.asDiffers() {
		return
	}
	name := slices.Sorted(maps.Keys(c.As))[0]
	c.warn("as."+name, c.As[name], several+", and the value is the same in each: all would write the same series, "+
		"and the "+
		"receiver would take some samples of each", `write what tells them apart, as instance: "%{NODE_NAME}" or `+
		`"%{POD_NAME}"`)
}

// asDiffers reports whether a label of the sums may be different in each agent: its value comes from the environment.
func (c *aggregateCheck) asDiffers() bool {
	for name := range c.As {
		if n := c.extPart.Node(yamltree.Join(c.key, "as."+name)); n != nil && c.env.written[n] != "" {
			return true
		}
	}
	return false
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
			"their sum "+
			"is up to %v behind", shortest.JobName, shortest.ScrapeInterval, longest.JobName, longest.ScrapeInterval,
			longest.ScrapeInterval), "keep the label job, or give the jobs one interval")
	}
}

// lintRules warns about metric_relabel_configs after which sums are worse than they could be.
func (c *aggregateCheck) lintRules() {
	const list = "metric_relabel_configs"
	for _, j := range c.jobs {
		if i := dropsName(j.cfg.MetricRelabelConfigs, envoy.Uptime); i >= 0 && mayReadEnvoy(j.cfg) {
			c.warnRule(j, list, i, "it drops "+
				envoy.Uptime+", by which "+c.key+" sees that an Envoy has restarted: a restart is then "+
				"seen only if counters fall, and what a new pod has counted before its first scrape is left out",
				"keep "+envoy.Uptime+" too")
		}
		if i := dropsLabel(j.cfg.MetricRelabelConfigs, model.BucketLabel); i >= 0 {
			c.warnRule(j, list, i, "it removes le, so all buckets of a histogram are one series, and cannot be "+
				"summed by "+c.key,
				"keep le")
		}
	}
}

// warnRule adds a warning about the i-th rule of a job.
func (c *aggregateCheck) warnRule(j *job, list string, i int, why, fix string) {
	c.add(Problem{Severity: SeverityWarning, File: j.src.name, Line: ruleLine(j.node, list, i), Job: j.cfg.JobName,
		Key: fmt.Sprintf("%s.%s[%d]", j.path, list, i), Why: why, Fix: fix})
}

// ruleLine returns the line of the i-th rule of a job or an endpoint.
func ruleLine(n *yaml.Node, list string, i int) int {
	if rules := yamltree.Items(yamltree.Get(n, list)); i < len(rules) {
		return rules[i].Line
	}
	return yamltree.Line(n, list)
}

// dropsName returns the index of the rule that certainly drops a series of this name, or -1. Rules that may change the
// name end the search.
func dropsName(rules []*relabel.Config, name string) int {
	for i, r := range rules {
		onName := len(r.SourceLabels) == 1 && r.SourceLabels[0] == model.MetricNameLabel
		switch r.Action {
		case relabel.Keep, relabel.Drop:
			if onName && r.Regex.MatchString(name) == (r.Action == relabel.Drop) {
				return i
			}
		case relabel.Replace, relabel.Lowercase, relabel.Uppercase, relabel.LabelMap, relabel.HashMod:
			if r.Action == relabel.LabelMap || r.TargetLabel == model.MetricNameLabel ||
				strings.Contains(r.TargetLabel, "$") {
				return -1
			}
		}
	}
	return -1
}

// dropsLabel returns the index of the labeldrop or labelkeep that removes a label, or -1.
func dropsLabel(rules []*relabel.Config, label string) int {
	return slices.IndexFunc(rules, func(r *relabel.Config) bool {
		return r.Action == relabel.LabelDrop && r.Regex.MatchString(label) ||
			r.Action == relabel.LabelKeep && !r.Regex.MatchString(label)
	})
}

// podLabels are labels of pods that are another one in every pod, or after every rollout of a workload.
var podLabels = []string{
	"pod_template_hash", "controller_revision_hash", "statefulset_kubernetes_io_pod_name",
	"apps_kubernetes_io_pod_index",
}

// lintPodLabels warns about a labelmap that copies such labels of pods, and sums that keep them.
func (c *aggregateCheck) lintPodLabels() {
	for _, j := range c.jobs {
		for i, r := range j.cfg.RelabelConfigs {
			if r.Action != relabel.LabelMap {
				continue
			}
			var kept []string
			for _, label := range podLabels {
				const meta = model.MetaLabelPrefix + "kubernetes_pod_label_"
				if !r.Regex.MatchString(meta + label) {
					continue
				}
				as := r.Regex.ReplaceAllString(meta+label, r.Replacement)
				if c.keeps(as) && dropsLabel(j.cfg.RelabelConfigs[i+1:], as) < 0 &&
					dropsLabel(j.cfg.MetricRelabelConfigs, as) < 0 {
					kept = append(kept, as)
				}
			}
			if len(kept) == 0 {
				continue
			}
			names := strings.Join(kept, ", ")
			c.warnRule(j, "relabel_configs", i, fmt.Sprintf("it copies labels of pods, among them %s: the sums of "+
				"%s would "+
				"be other series after every rollout, or in every pod", names, c.key), "add "+names+" to without")
		}
	}
}

// lintEndpoints warns about write_relabel_configs that remove what tells agents apart.
func (c *aggregateCheck) lintEndpoints() {
	for i, rw := range c.cfg.Prometheus.RemoteWriteConfigs {
		for _, name := range slices.Sorted(maps.Keys(c.As)) {
			k := dropsLabel(rw.WriteRelabelConfigs, name)
			if k < 0 || i >= len(c.remotes) {
				continue
			}
			c.lintEndpoint(c.remotes[i], rw, k, name)
		}
	}
}

func (c *aggregateCheck) lintEndpoint(r *remote, rw *promconfig.RemoteWriteConfig, rule int, label string) {
	const list = "write_relabel_configs"
	c.add(Problem{Severity: SeverityWarning, File: c.opts.File, Line: ruleLine(r.node, list, rule),
		Key: fmt.Sprintf("%s.%s[%d]", r.path, list, rule), Value: rw.WriteRelabelConfigs[rule].Regex.String(),
		Why: fmt.Sprintf("it removes %s, which %s.as sets: the sums of two agents would be the same "+
			"series", label, c.key),
		Fix: "keep this label"})
}

// noteKeepRaw notes what queries must do if a sum has the name of its series.
func (c *aggregateCheck) noteKeepRaw() {
	if !c.KeepRaw || c.Prefix != "" {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(c.As)) {
		if name != model.InstanceLabel {
			why := fmt.Sprintf(`series and sums have the same names: a query must select %[1]s="%[2]s" for the sums, or `+
				`%[1]s!="%[2]s" for the series; without it, it counts twice`, name, c.shownAs(name))
			n := c.at(SeverityNote, "keep_raw", "", why, "")
			c.cfg.Notes = append(c.cfg.Notes, n)
			return
		}
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
