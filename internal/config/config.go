// Package config reads a configuration in Prometheus' format, or uses the built-in one, and returns the settings of the
// stages. prometheus/config decides what every key means. Load (load.go) takes these steps:
//   - parse the file, convert a list of jobs to a complete file (document.go, syntax.go), and replace %{NAME} by
//     environment variables (env.go),
//   - read our own block envoy_scraper (extension.go, shards.go, delay.go, jobsettings.go, aggregate.go),
//   - check global, each job and each remote_write entry on its own, and report every value that prometheus/config
//     refuses, with line, key and fix (check.go, jobs.go, remote.go; packages locate and hint),
//   - refuse what an agent does not have (keys.go), and warn about jobs that cannot have the intended effect
//     (warnings.go, package lint), and about sums (aggregatelint.go),
//   - report missing files (files.go),
//   - pass the whole file to prometheus/config and apply our defaults, flags and max_delay (limits.go, nodelocal.go,
//     selfscrape.go, delay.go). docs/differences.md lists the differences from Prometheus.
//
// Redacted (redact.go) prints the effective configuration, Exposures (exposure.go) its insecure settings.
//
// Load changes nothing outside its result. It reads the file, its scrape_config_files, environment variables and the
// name of the host, and checks whether the files exist that the configuration names.
package config

import (
	"slices"
	"time"

	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"

	"github.com/envoy-scraper/envoy-scraper/internal/config/problem"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite"
	"github.com/envoy-scraper/envoy-scraper/internal/shard"
)

// Problem is one thing about a configuration that the user should change.
type Problem = problem.Problem

// Problems is the error of Load: every problem, warnings too.
type Problems = problem.Problems

// Severity says whether a configuration with a Problem can run.
type Severity = problem.Severity

// The severities of a Problem.
const (
	SeverityError   = problem.Error
	SeverityWarning = problem.Warning
	SeverityNote    = problem.Note
)

// Options are the settings of the command line and the environment.
type Options struct {
	File           string            // empty: the built-in job
	RemoteWriteURL string            // receiver if the file has no remote_write
	Kubeconfig     string            // for every Kubernetes discovery that names no API server
	NodeName       string            // if set, only the pods of this node are scraped
	ShardIndex     string            // index of this instance, or ShardOrdinal; empty: it scrapes all targets
	ShardCount     string            // number of instances; empty: the file says it
	ExternalLabels map[string]string // override global.external_labels
	SelfScrape     bool              // also scrape ListenAddress
	ListenAddress  string            // of our own server; its port may still be open, see Config.SetSelfAddress
	Hostname       string            // instance label of our own metrics; empty: the name of the node or the machine
	FlushDeadline  time.Duration     // longest time that a stop delivers queued samples
	Ephemeral      bool              // the queue on disk is lost when the process ends
	LogLevel       string            // used if the file has no runtime.log_level; empty: Prometheus' default

	// LookupEnv returns the value of an environment variable for %{NAME}. The default is os.LookupEnv.
	LookupEnv func(string) (string, bool)

	// Check is set to check a file without running it: a missing remote_write is only a warning.
	Check bool
	// Strict makes a missing file that the configuration names an error instead of a warning.
	Strict bool
}

// Config is a configuration that passed every check. Only SetSelfAddress changes it after Load.
type Config struct {
	// Prometheus is the file as Prometheus reads it. Use Jobs instead of its ScrapeConfigs.
	Prometheus *promconfig.Config
	// Jobs are all jobs: those of the file, of scrape_config_files, and the self-scrape.
	Jobs        []*promconfig.ScrapeConfig
	RemoteWrite remotewrite.Config
	Extension   Extension
	Shards      shard.Map // zero: this instance scrapes all targets
	Warnings    []Problem
	Notes       []Problem // what settings do: how many scrapes a request holds, which filters rules make

	// BuiltinJob is the name of the built-in job; empty: a file was given.
	BuiltinJob string

	writtenCompression map[string]bool // jobs that write enable_compression

	opts Options
}

// OwnAddressOnly reports whether a job may connect to a pod's own address only: the built-in job, and own_address_jobs.
func (c *Config) OwnAddressOnly(job string) bool {
	return job == c.BuiltinJob || slices.Contains(c.Extension.OwnAddressJobs, job)
}

// EncodingByPlace reports whether where a target is decides how its page is compressed: in jobs that do not write
// enable_compression.
func (c *Config) EncodingByPlace(job string) bool { return !c.writtenCompression[job] }

// OnNode reports whether a job finds pods of this node only.
func (c *Config) OnNode(job string) bool {
	for _, j := range c.Jobs {
		if j.JobName == job && c.opts.NodeName != "" {
			elsewhere := func(d discovery.Config) bool { return !isOnNode(d, c.opts.NodeName) }
			return len(j.ServiceDiscoveryConfigs) > 0 && !slices.ContainsFunc(j.ServiceDiscoveryConfigs, elsewhere)
		}
	}
	return false
}

// ShardByWorkload reports whether all pods of a workload are scraped by one of the instances that share the targets of
// a job: by default, if a block sums series of the job. It means nothing if there is one instance, or for a job that is
// not shared.
func (c *Config) ShardByWorkload(job string) bool {
	by := c.Extension.of(job).ShardBy
	return by == shardByWorkload || by == "" && c.Aggregated(job)
}

// PlacesByWorkload reports whether the workload of a job's targets decides which instance scrapes them.
func (c *Config) PlacesByWorkload(job string) bool {
	return c.Shards.On() && !c.Unsharded(job) && c.ShardByWorkload(job)
}

// Unsharded reports whether every instance scrapes the whole job: that of our own metrics.
func (c *Config) Unsharded(job string) bool { return c.opts.SelfScrape && job == selfJob }
