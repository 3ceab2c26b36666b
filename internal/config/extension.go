package config

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/alecthomas/units"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"github.com/envoy-scraper/envoy-scraper/internal/config/locate"
	"github.com/envoy-scraper/envoy-scraper/internal/config/yamltree"
	"github.com/envoy-scraper/envoy-scraper/internal/queue"
)

// extensionKey is the top-level key of our own settings.
const extensionKey = "envoy_scraper"

// Extension has the settings of the block envoy_scraper.
type Extension struct {
	// ClusterWideJobs are not restricted to the node in node-local mode: every node scrapes all their targets.
	ClusterWideJobs []string `yaml:"cluster_wide_jobs,omitempty"`
	// OwnAddressJobs may connect to a pod's own address only, as the built-in job.
	OwnAddressJobs []string `yaml:"own_address_jobs,omitempty"`
	// Queue limits the backlog of each endpoint of remote_write.
	Queue QueueConfig `yaml:"queue,omitempty"`
	// Shards is the number of instances that share the targets, over time.
	Shards []ShardPeriod `yaml:"shards,omitempty"`
	// MaxDelay is how long a sample may wait, for every entry of remote_write; nil: batch_send_deadline applies.
	MaxDelay *model.Duration `yaml:"max_delay,omitempty"`
	// Endpoints are settings of single entries of remote_write.
	Endpoints []EndpointExtension `yaml:"endpoints,omitempty"`
	// Jobs are settings of single jobs.
	Jobs []JobExtension `yaml:"jobs,omitempty"`
	// Aggregate says which series are summed over their targets.
	Aggregate []AggregateExtension `yaml:"aggregate,omitempty"`
}

// QueueConfig is queue.Config as written in a file.
type QueueConfig struct {
	MaxBytes      units.Base2Bytes `yaml:"max_bytes,omitempty"`
	MaxMemory     units.Base2Bytes `yaml:"max_memory,omitempty"`
	MaxAge        model.Duration   `yaml:"max_age"`
	FsyncInterval model.Duration   `yaml:"fsync_interval"`
}

func defaultQueue() QueueConfig {
	d := queue.DefaultConfig()
	return QueueConfig{
		MaxBytes: units.Base2Bytes(d.MaxBytes), MaxMemory: units.Base2Bytes(d.MaxMemory),
		MaxAge: model.Duration(d.MaxAge), FsyncInterval: model.Duration(d.FsyncInterval),
	}
}

// UnmarshalYAML starts from the defaults: an explicit 0 stays 0; a missing key gets the default.
func (q *QueueConfig) UnmarshalYAML(decode func(any) error) error {
	*q = defaultQueue()
	type plain QueueConfig
	return decode((*plain)(q))
}

func (q QueueConfig) queue() queue.Config {
	return queue.Config{
		MaxBytes: int64(q.MaxBytes), MaxMemory: int64(q.MaxMemory),
		MaxAge: time.Duration(q.MaxAge), FsyncInterval: time.Duration(q.FsyncInterval),
	}
}

// DefaultExtension returns the settings of a file without the block.
func DefaultExtension() Extension {
	return Extension{Queue: defaultQueue()}
}

// UnmarshalYAML starts from the defaults: an explicit 0 stays 0; a missing key gets the default.
func (e *Extension) UnmarshalYAML(decode func(any) error) error {
	*e = DefaultExtension()
	type plain Extension // drops this method, so that decode does not recurse
	return decode((*plain)(e))
}

// Validate returns every problem, each with its key. jobs and endpoints are the names of the jobs and of the entries of
// remote_write, scheme has the rules for names of labels.
func (e Extension) Validate(jobs, endpoints []string, scheme model.ValidationScheme) error {
	var errs []error
	known := map[string]bool{}
	for _, job := range jobs {
		known[job] = true
	}
	for _, list := range []struct {
		key  string
		jobs []string
	}{{"cluster_wide_jobs", e.ClusterWideJobs}, {"own_address_jobs", e.OwnAddressJobs}} {
		seen := map[string]bool{}
		for i, job := range list.jobs {
			switch {
			case !known[job]:
				errs = append(errs, keyError{fmt.Sprintf("%s[%d]", list.key, i), job, "no job has this name",
					correctIt})
			case seen[job]:
				errs = append(errs, keyError{fmt.Sprintf("%s[%d]", list.key, i), job, "listed twice", correctIt})
			}
			seen[job] = true
		}
	}
	errs = append(errs, validateShards(e.Shards)...)
	errs = append(errs, e.validateDelays(endpoints)...)
	errs = append(errs, e.validateJobs(jobs)...)
	errs = append(errs, e.validateAggregate(jobs, scheme)...)
	var joined interface{ Unwrap() []error }
	if errors.As(e.Queue.queue().Validate(), &joined) {
		for _, err := range joined.Unwrap() {
			var fe *queue.FieldError
			if errors.As(err, &fe) {
				errs = append(errs, keyError{"queue." + fe.Key, fe.Value, fe.Why, correctIt})
			}
		}
	}
	return errors.Join(errs...)
}

// correctIt is the fix of a problem whose reason says what to do.
const correctIt = "correct it, or remove it"

// keyError is a problem of one key below envoy_scraper.
type keyError struct{ key, value, why, fix string }

func (e keyError) Error() string { return fmt.Sprintf("%s: %s: %s", e.key, e.value, e.why) }

// readExtension checks and reads the block envoy_scraper.
func (l *loader) readExtension(src *source, key, value *yaml.Node) {
	l.extPart, l.extFile = locate.NewPart(value, extensionKey, func(n *yaml.Node) error {
		return yamltree.DecodeStrict(n, new(Extension))
	}), src.name
	if yamltree.IsEmpty(value) {
		return
	}
	if rest := l.check(src, "", l.extPart); rest != nil {
		_ = yamltree.DecodeStrict(rest, &l.ext) // it was accepted above
	}
}

// checkExtension validates the settings of the block, once all jobs are known.
func (l *loader) checkExtension() {
	if l.extPart == nil {
		return
	}
	var jobs, endpoints []string
	for _, j := range l.jobs {
		jobs = append(jobs, jobName(j.node))
	}
	for _, r := range l.remotes {
		if name := yamltree.Get(r.node, "name"); !yamltree.IsEmpty(name) && name.Value != "" {
			endpoints = append(endpoints, name.Value)
		}
	}
	var joined interface{ Unwrap() []error }
	if !errors.As(l.ext.Validate(jobs, endpoints, l.labelScheme()), &joined) {
		return
	}
	for _, err := range joined.Unwrap() {
		p := Problem{File: l.extFile, Line: l.extPart.LineOf(extensionKey), Key: extensionKey, Why: err.Error(),
			Fix: correctIt}
		var ke keyError
		if errors.As(err, &ke) {
			p.Key, p.Value, p.Why, p.Fix = extensionKey+"."+ke.key, ke.value, ke.why, ke.fix
			n, line := l.nearestNode(p.Key)
			if p.Line = line; n != nil {
				if l.env.broken[n] || l.refused[n] {
					continue // reported
				}
				p.Value, p.Why = cmp.Or(l.env.written[n], p.Value), l.hideSecrets(p.Why, n, l.extPart)
			}
		}
		l.add(p)
	}
}

// nearestNode returns the value of the block at a path, and its line. If there is none, it returns nil and the line of
// the nearest value above it.
func (l *loader) nearestNode(path string) (*yaml.Node, int) {
	n := l.extPart.Node(path)
	at := n
	for at == nil && strings.Contains(path, ".") {
		path = path[:strings.LastIndexByte(path, '.')]
		at = l.extPart.Node(path)
	}
	if at == nil {
		return nil, l.extPart.LineOf(extensionKey)
	}
	return n, l.extPart.Position(at).Line
}
