package config

import (
	"errors"
	"fmt"
	"time"

	"github.com/alecthomas/units"
	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
)

// extensionKey is the top-level block that is ours alone.
const extensionKey = "envoy_scraper"

// Extension is the block envoy_scraper.
type Extension struct {
	// ClusterWideJobs are left as they are in node-local mode: every node runs them whole.
	ClusterWideJobs []string `yaml:"cluster_wide_jobs,omitempty"`
	// OwnAddressJobs may dial a pod's own address only, as the built-in job may.
	OwnAddressJobs []string `yaml:"own_address_jobs,omitempty"`
	// Queue bounds what waits for each endpoint of remote_write.
	Queue QueueConfig `yaml:"queue,omitempty"`
	// Shards is how many instances share the targets, by the instant from which on.
	Shards []ShardPeriod `yaml:"shards,omitempty"`
}

// QueueConfig is queue.Config as it stands in a file.
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

// UnmarshalYAML starts from the defaults, so that an explicit zero survives.
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

// DefaultExtension is the block where the file has none.
func DefaultExtension() Extension {
	return Extension{Queue: defaultQueue()}
}

// UnmarshalYAML starts from the defaults, so that an explicit zero survives.
func (e *Extension) UnmarshalYAML(decode func(any) error) error {
	*e = DefaultExtension()
	type plain Extension // drops this method, so that decode does not recurse
	return decode((*plain)(e))
}

// Validate reports every problem at once, each with the key to change.
func (e Extension) Validate(jobs []string) error {
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
				errs = append(errs, keyError{fmt.Sprintf("%s[%d]", list.key, i), job, "no job has this name"})
			case seen[job]:
				errs = append(errs, keyError{fmt.Sprintf("%s[%d]", list.key, i), job, "listed twice"})
			}
			seen[job] = true
		}
	}
	errs = append(errs, validateShards(e.Shards)...)
	var joined interface{ Unwrap() []error }
	if errors.As(e.Queue.queue().Validate(), &joined) {
		for _, err := range joined.Unwrap() {
			var fe *queue.FieldError
			if errors.As(err, &fe) {
				errs = append(errs, keyError{"queue." + fe.Key, fe.Value, fe.Why})
			}
		}
	}
	return errors.Join(errs...)
}

// keyError is a problem of one key of the block.
type keyError struct{ key, value, why string }

func (e keyError) Error() string { return fmt.Sprintf("%s: %s: %s", e.key, e.value, e.why) }
