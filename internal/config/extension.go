package config

import (
	"errors"
	"fmt"
)

// extensionKey is the top-level block that is ours alone.
const extensionKey = "envoy_scraper"

// Extension is the block envoy_scraper.
type Extension struct {
	// ClusterWideJobs are left as they are in node-local mode: every node runs them whole.
	ClusterWideJobs []string `yaml:"cluster_wide_jobs,omitempty"`
}

// DefaultExtension is the block where the file has none.
func DefaultExtension() Extension {
	return Extension{}
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
	seen := map[string]bool{}
	for i, job := range e.ClusterWideJobs {
		switch {
		case !known[job]:
			errs = append(errs, keyError{fmt.Sprintf("cluster_wide_jobs[%d]", i), job, "no job has this name"})
		case seen[job]:
			errs = append(errs, keyError{fmt.Sprintf("cluster_wide_jobs[%d]", i), job, "the job is listed twice"})
		}
		seen[job] = true
	}
	return errors.Join(errs...)
}

// keyError is a problem of one key of the block.
type keyError struct{ key, value, why string }

func (e keyError) Error() string { return fmt.Sprintf("%s: %s: %s", e.key, e.value, e.why) }
