// Package lint warns about valid jobs that cannot have the intended effect. It warns only if this is certain:
//   - rules (rules.go): a rule drops native sidecars, or changes nothing,
//   - labels (labels.go): a rule reads a label that the job's discovery does not have, or expects a value that the
//     label cannot have,
//   - ports (ports.go): a sidecar is scraped on port 15090 and on port 15020, whose page repeats the first,
//   - parameters (params.go): usedonly hides the first increment of each counter,
//   - discovery (Jobs): a job has none, so it finds no targets.
//
// A matter of taste or of cost, such as a short interval, is no warning. A new warning about a job as a whole belongs
// in Jobs, one about anything except jobs in package config (warnings.go).
package lint

import (
	"strings"

	promconfig "github.com/prometheus/prometheus/config"
	"go.yaml.in/yaml/v3"

	"github.com/envoy-scraper/envoy-scraper/internal/config/hint"
	"github.com/envoy-scraper/envoy-scraper/internal/config/problem"
)

// Job is a job that was accepted without an error.
type Job struct {
	File   string
	Path   string // as scrape_configs[0]
	Node   *yaml.Node
	Config *promconfig.ScrapeConfig
}

// Jobs returns the warnings about jobs. show returns the text of a value that a warning may repeat.
func Jobs(jobs []Job, show func(value *yaml.Node, path string) string) problem.Problems {
	l := &linter{show: show}
	for _, j := range jobs {
		(&ruleList{linter: l, job: j, key: "relabel_configs", list: j.Config.RelabelConfigs, has: j.discovers}).lint()
		(&ruleList{linter: l, job: j, key: "metric_relabel_configs", list: j.Config.MetricRelabelConfigs,
			has: onSample}).lint()
		l.usedOnly(j)
		if len(j.Config.ServiceDiscoveryConfigs) == 0 {
			l.warn(j, j.Node.Line, j.Path, "", "the job has no discovery, so it finds no targets",
				"add "+strings.Join(hint.SupportedDiscoveries, " or "))
		}
	}
	l.ports(jobs)
	return l.problems
}

type linter struct {
	show     func(value *yaml.Node, path string) string
	problems problem.Problems
}

func (l *linter) warn(j Job, line int, key, value, why, fix string) {
	l.problems = append(l.problems, problem.Problem{Severity: problem.Warning, File: j.File, Line: line,
		Job: j.Config.JobName, Key: key, Value: value, Why: why, Fix: fix})
}
