// Package config reads what the user wrote, a configuration in Prometheus' own format or none at all, and hands out
// what the stages run on. prometheus/config decides what every key means; this package only
//   - finds out which keys were written, puts %{NAME} into values, and cuts out our own block (tree.go, env.go, document.go),
//   - finds the line and key of everything that prometheus/config refuses, all at once (settle.go, locate.go),
//   - refuses and warns of what an agent does not have, and of rules that miss their purpose (lint*.go),
//   - applies the few deliberate differences that docs/differences.md lists.
//
// Load never changes anything outside its result, and reads files only: the one named, its scrape_config_files, and
// whether the files exist that it names.
package config

import (
	"slices"
	"time"

	promconfig "github.com/prometheus/prometheus/config"

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
)

// Options is what the command line and the environment add to a file.
type Options struct {
	File           string            // empty: the built-in reference job
	RemoteWriteURL string            // used where the file has no remote_write
	Kubeconfig     string            // for every pod discovery that names no API server
	NodeName       string            // not empty: only the pods of this node
	ShardIndex     string            // of this instance, or ShardOrdinal; empty: it has all targets
	ShardCount     string            // of instances; empty: the file says it
	ExternalLabels map[string]string // win over global.external_labels
	SelfScrape     bool              // also scrape ListenAddress
	ListenAddress  string            // of our own server, as known before it listens: see Config.SetSelfAddress
	Hostname       string            // names this process in its own metrics; empty: the node's or the machine's name
	FlushDeadline  time.Duration     // how long a stop may take to deliver what is queued
	Ephemeral      bool              // what is queued goes with the process, though it is on disk
	LogLevel       string            // where the file has no runtime.log_level; empty: Prometheus' default

	// LookupEnv finds the values of %{NAME}; nil: os.LookupEnv.
	LookupEnv func(string) (string, bool)

	// Check is for looking at a file without running it: a missing remote_write becomes a warning.
	Check bool
	// Strict makes an error of a file that the configuration names and that is not there, which else is a warning.
	Strict bool
}

// Config is a configuration that passed every check. It is not changed after Load, but by SetSelfAddress.
type Config struct {
	// Prometheus is the file as Prometheus reads it. ScrapeConfigs there are the file's own; run on Jobs instead.
	Prometheus *promconfig.Config
	// Jobs are all jobs: the file's, those of scrape_config_files, and the self-scrape.
	Jobs        []*promconfig.ScrapeConfig
	RemoteWrite remotewrite.Config
	Extension   Extension
	Shards      shard.Map // zero: this instance has all targets
	Warnings    []Problem

	// BuiltinJob names the job that came with the program; empty: none.
	BuiltinJob string

	opts Options
}

// OwnAddressOnly tells that a job may dial a pod's own address only: the built-in one, and those that the file lists.
func (c *Config) OwnAddressOnly(job string) bool {
	return job == c.BuiltinJob || slices.Contains(c.Extension.OwnAddressJobs, job)
}

// Unsharded tells that every instance has a job to itself, however many share the others: its own metrics.
func (c *Config) Unsharded(job string) bool { return c.opts.SelfScrape && job == selfJob }
