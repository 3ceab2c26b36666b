package config

import (
	"net/url"

	"go.yaml.in/yaml/v3"

	"github.com/envoy-scraper/envoy-scraper/internal/config/lint"
	"github.com/envoy-scraper/envoy-scraper/internal/config/yamltree"
)

// warn warns about settings that are valid but cannot have the intended effect: those of jobs (package lint), and those
// of the whole file. lintShards (shards.go) has the warnings about shards.
func (l *loader) warn() {
	var jobs []lint.Job
	for _, j := range l.jobs {
		if j.cfg != nil && j.clean {
			jobs = append(jobs, lint.Job{File: j.src.name, Path: j.path, Node: j.node, Config: j.cfg})
		}
	}
	l.problems = append(l.problems, lint.Jobs(jobs, l.show)...)
	for _, r := range l.remotes {
		if u := yamltree.Get(r.node, "url"); u != nil && u.Kind == yaml.ScalarNode && u.Value != "" &&
			!l.env.broken[u] {
			l.lintURL(Problem{File: l.opts.File, Line: u.Line, Key: r.path + ".url", Value: l.show(u, "")}, u.Value)
		}
	}
	if flag := l.opts.RemoteWriteURL; flag != "" {
		l.lintURL(Problem{File: flagRemoteWriteURL, Value: redactURL(flag)}, flag)
	}
	if len(l.jobs) == 0 && !l.opts.SelfScrape && l.problems.Errors() == 0 {
		l.add(Problem{Severity: SeverityWarning, File: l.opts.File, Key: "scrape_configs",
			Why: "there is no job, so nothing is scraped", Fix: "add a job; envoy-scraper config prints one"})
	}
}

// lintURL warns about a URL to which nothing can be sent. p has its position.
func (l *loader) lintURL(p Problem, text string) {
	u, err := url.Parse(text)
	switch {
	case err != nil: // reported as an error
		return
	case u.Scheme != "http" && u.Scheme != "https":
		if p.File == flagRemoteWriteURL {
			return // reported as an error
		}
		p.Why, p.Fix = "not an http:// or https:// URL, so nothing can be sent to it", "write the complete URL, as "+
			"http://prometheus:9090/api/v1/write"
	case u.Path == "" || u.Path == "/":
		p.Why, p.Fix = "the URL has no path; Prometheus accepts samples at /api/v1/write only",
			"write the complete URL, as http://prometheus:9090/api/v1/write"
	default:
		return
	}
	p.Severity = SeverityWarning
	l.add(p)
}
