package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	promrelabel "github.com/prometheus/prometheus/model/relabel"

	"github.com/envoy-scraper/envoy-scraper/internal/config/yamltree"
	"github.com/envoy-scraper/envoy-scraper/internal/envoy"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// JobExtension has the settings of one job that Prometheus' scrape_configs do not have.
type JobExtension struct {
	Name     string `yaml:"name"`                // of the job
	PushDown string `yaml:"push_down,omitempty"` // pushDownAuto or pushDownOff; empty: pushDownAuto
	Pace     string `yaml:"pace,omitempty"`      // paceGentle or paceFixed; empty: paceGentle
	ShardBy  string `yaml:"shard_by,omitempty"`  // shardByTarget or shardByWorkload; empty: see ShardByWorkload
}

// The values of JobExtension.
const (
	pushDownAuto = "auto"  // targets are asked for filtered pages, see scrape.FilterOf
	pushDownOff  = "off"   // targets are asked for whole pages
	isOffToHelm  = "false" // what Helm, which reads YAML 1.1, makes of off
	paceGentle   = "gentle"
	paceFixed    = "fixed" // targets are scraped at every interval, however slow they are

	shardByTarget   = "target"   // each target is placed by itself
	shardByWorkload = "workload" // one instance has all pods of a workload
)

// PushDown reports whether the targets of a job may be asked for filtered pages.
func (c *Config) PushDown(job string) bool {
	own := c.Extension.of(job).PushDown
	return own != pushDownOff && own != isOffToHelm
}

// FixedPace reports whether the targets of a job are scraped at every interval, however slow they are.
func (c *Config) FixedPace(job string) bool { return c.Extension.of(job).Pace == paceFixed }

// of returns the settings of a job; zero: the file has none.
func (e Extension) of(job string) JobExtension {
	if i := slices.IndexFunc(e.Jobs, func(j JobExtension) bool { return j.Name == job }); i >= 0 {
		return e.Jobs[i]
	}
	return JobExtension{}
}

// validateJobs returns every problem of the entries. names are the names of the jobs.
func (e Extension) validateJobs(names []string) (errs []error) {
	first := map[string]int{}
	for i, j := range e.Jobs {
		key := fmt.Sprintf("jobs[%d]", i)
		other, twice := first[j.Name]
		switch {
		case j.Name == "":
			errs = append(errs, keyError{key, "", "the name is missing", "add the name of a job, as name: envoy-stats"})
		case twice:
			errs = append(errs, keyError{key + ".name", j.Name, fmt.Sprintf("jobs[%d] has this name too", other),
				"put all settings of the job into one entry"})
		case !slices.Contains(names, j.Name):
			fix := "remove the entry"
			if len(names) > 0 {
				fix = "write one of " + strings.Join(names, ", ")
			}
			errs = append(errs, keyError{key + ".name", j.Name, "no job has this name", fix})
		}
		if !twice {
			first[j.Name] = i
		}
		if j.PushDown == "" && j.Pace == "" && j.ShardBy == "" {
			errs = append(errs, keyError{key, j.Name, "push_down, pace and shard_by are missing, so the entry has " +
				"no effect", "add one of them, or remove the entry"})
		}
		errs = append(errs, validateWord(key+".push_down", j.PushDown, pushDownAuto, pushDownOff, isOffToHelm)...)
		errs = append(errs, validateWord(key+".pace", j.Pace, paceGentle, paceFixed)...)
		errs = append(errs, validateWord(key+".shard_by", j.ShardBy, shardByTarget, shardByWorkload)...)
	}
	return errs
}

// validateWord returns the problem of a value that is none of the words. Only the first two are shown to the user.
func validateWord(key, value string, words ...string) []error {
	if value == "" || slices.Contains(words, value) {
		return nil
	}
	either := words[0] + " or " + words[1]
	return []error{keyError{key, value, "must be " + either, "write " + either}}
}

// notePushDown notes for each job with rules which filter they make, or why they make none. It says nothing about jobs
// that are not of Envoy's page, and about those with push_down: off.
func (l *loader) notePushDown(cfg *Config) {
	for _, j := range l.jobs {
		if len(j.cfg.MetricRelabelConfigs) == 0 || !mayReadEnvoy(j.cfg) || !cfg.PushDown(j.cfg.JobName) {
			continue
		}
		const key = "metric_relabel_configs"
		n := Problem{Severity: SeverityNote, File: j.src.name, Line: yamltree.Line(j.node, key), Job: j.cfg.JobName,
			Key: yamltree.Join(j.path, key)}
		filter, why := scrape.FilterOf(j.cfg)
		n.Why = "sidecars are asked for their whole pages: " + why
		if filter != "" {
			n.Why = "sidecars are asked only for stats that these rules can keep, if that leaves out at least a " +
				"quarter of the lines: filter=" + scrape.ShortFilter(filter)
		}
		cfg.Notes = append(cfg.Notes, n)
	}
}

// mayReadEnvoy reports whether targets of a job can have the path of Envoy's page.
func mayReadEnvoy(cfg *promconfig.ScrapeConfig) bool {
	return cfg.MetricsPath == envoy.StatsPath || slices.ContainsFunc(cfg.RelabelConfigs,
		func(r *promrelabel.Config) bool { return r.TargetLabel == model.MetricsPathLabel })
}
