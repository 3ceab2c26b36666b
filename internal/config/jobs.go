package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/prometheus/common/config"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"go.yaml.in/yaml/v3"

	"github.com/envoy-scraper/envoy-scraper/internal/config/hint"
	"github.com/envoy-scraper/envoy-scraper/internal/config/locate"
	"github.com/envoy-scraper/envoy-scraper/internal/config/yamltree"
)

// readJobs checks and reads the jobs of a file. Each job is checked on its own, so an error in one does not hide errors
// in the next.
func (l *loader) readJobs(src *source, main bool) {
	value := yamltree.Get(src.root, "scrape_configs")
	if yamltree.IsEmpty(value) {
		return
	}
	if value.Kind != yaml.SequenceNode {
		l.checkTop(src, "scrape_configs", value)
		return
	}
	for i, node := range value.Content {
		j := &job{src: src, path: fmt.Sprintf("scrape_configs[%d]", i), node: node, line: node.Line}
		l.readJob(j)
		if j.cfg != nil || main {
			l.jobs = append(l.jobs, j)
		}
	}
}

func (l *loader) readJob(j *job) {
	before := l.problems.Errors()
	part := locate.NewPart(l.refuseDiscoveries(j), j.path, func(n *yaml.Node) error {
		_, err := l.decodeJob(n)
		return err
	})
	if accepted := l.check(j.src, jobName(j.node), part); accepted != nil {
		j.cfg, _ = l.decodeJob(accepted)
	}
	j.clean = j.cfg != nil && l.problems.Errors() == before
	if j.cfg == nil && l.problems.Errors() == before { // the entry is empty, perhaps because a variable is
		l.add(Problem{File: j.src.name, Line: j.line, Key: j.path, Why: "not a job",
			Fix: "write a job, or remove the entry"})
	}
}

// decodeJob decodes and validates one job as prometheus/config does.
func (l *loader) decodeJob(n *yaml.Node) (*promconfig.ScrapeConfig, error) {
	var doc promconfig.ScrapeConfigs // decoded as a list, so that Prometheus' message about an empty entry applies
	list := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: []*yaml.Node{n}}
	if err := yamltree.DecodeStrict(yamltree.Mapping(yamltree.String("scrape_configs"), list), &doc); err != nil {
		return nil, err
	}
	if len(doc.ScrapeConfigs) != 1 {
		return nil, fmt.Errorf("empty or null scrape config section")
	}
	return doc.ScrapeConfigs[0], doc.ScrapeConfigs[0].Validate(l.global)
}

// refuseDiscoveries reports the kinds of discovery that envoy-scraper does not have, and returns the job without them.
func (l *loader) refuseDiscoveries(j *job) *yaml.Node {
	node := j.node
	if node.Kind != yaml.MappingNode {
		return node
	}
	for i := len(node.Content)/2 - 1; i >= 0; i-- {
		key := node.Content[2*i]
		if !strings.HasSuffix(key.Value, "_sd_configs") || slices.Contains(hint.SupportedDiscoveries, key.Value) {
			continue
		}
		p := Problem{File: j.src.name, Line: key.Line, Job: jobName(j.node), Key: yamltree.Join(j.path, key.Value)}
		if near := hint.NearestKey(key.Value, Extension{}); near != "" && !slices.Contains(promDiscoveries, key.Value) {
			p.Why, p.Fix = "unknown discovery", "did you mean "+near+"?"
		} else {
			p.Why = "envoy-scraper does not have this discovery, only " +
				strings.Join(hint.SupportedDiscoveries, ", ")
			p.Fix = "keep the job in Prometheus, or write its targets to a file for file_sd_configs"
		}
		l.add(p)
		node = yamltree.Without(node, i)
	}
	return node
}

// promDiscoveries are discoveries of Prometheus whose names differ from one of ours by a few letters. They are no
// typing errors.
var promDiscoveries = []string{"dns_sd_configs", "ec2_sd_configs", "gce_sd_configs", "uyuni_sd_configs",
	"nomad_sd_configs", "stackit_sd_configs"}

// jobName returns the job_name as written, or "".
func jobName(n *yaml.Node) string {
	if name := yamltree.Get(n, "job_name"); name != nil && name.Kind == yaml.ScalarNode {
		return name.Value
	}
	return ""
}

// readJobFiles reads the files of scrape_config_files. Patterns are relative to the file that has them.
func (l *loader) readJobFiles(src *source) {
	value := yamltree.Get(src.root, "scrape_config_files")
	if yamltree.IsEmpty(value) {
		return
	}
	if l.checkTop(src, "scrape_config_files", value) == nil {
		return
	}
	for i, item := range yamltree.Items(value) {
		if l.env.broken[item] {
			continue
		}
		pattern := config.JoinDir(src.dir, item.Value)
		files, err := filepath.Glob(pattern)
		p := Problem{File: src.name, Line: item.Line, Key: fmt.Sprintf("scrape_config_files[%d]", i),
			Value: l.show(item, "")}
		if err != nil {
			p.Why, p.Fix = err.Error(), "correct the pattern"
			l.add(p)
		}
		if err == nil && len(files) == 0 {
			// A pattern may match files later. A missing file without a pattern is an error: a reload would remove its
			// jobs.
			if p.Severity = l.missingFile(""); !strings.ContainsAny(item.Value, `*?[\`) {
				p.Severity = SeverityError
			}
			p.Why, p.Fix = "no file has this name", "correct the path, which is relative to this file"
			l.add(p)
		}
		for _, name := range files {
			l.readJobFile(name)
		}
	}
}

func (l *loader) readJobFile(name string) {
	src := l.open(name)
	if src == nil || !l.normalize(src) {
		return
	}
	l.replaceVariables(src)
	for i := 0; i+1 < len(src.root.Content); i += 2 {
		if key := src.root.Content[i]; key.Value != "scrape_configs" {
			l.add(Problem{File: name, Line: key.Line, Key: key.Value,
				Why: "a file of jobs can have scrape_configs only",
				Fix: "move it to the main file"})
		}
	}
	l.readJobs(src, false)
}

// checkJobNames reports two jobs with the same name. prometheus/config checks that within one file only.
func (l *loader) checkJobNames() {
	first := map[string]*job{}
	for _, j := range l.jobs {
		name := jobName(j.node)
		f, twice := first[name]
		switch {
		case name == "":
		case twice:
			l.add(Problem{File: j.src.name, Line: nameLine(j), Job: name, Key: j.path + ".job_name", Value: name,
				Why: fmt.Sprintf("another job has this name, at %s:%d", f.src.name,
					nameLine(f)), Fix: "rename one of the jobs"})
		case l.opts.SelfScrape && name == selfJob:
			l.add(Problem{File: j.src.name, Line: nameLine(j), Job: name, Key: j.path + ".job_name", Value: name,
				Why: "--self-scrape makes a job of this name", Fix: "rename the job, or remove --self-scrape"})
		default:
			first[name] = j
		}
	}
}

func nameLine(j *job) int {
	if at := yamltree.Index(j.node, "job_name"); at >= 0 {
		return j.node.Content[2*at].Line
	}
	return j.line
}

// fillKubeconfig gives the file of --kubeconfig to each Kubernetes discovery that has neither api_server nor
// kubeconfig_file.
func (l *loader) fillKubeconfig(j *job) {
	if l.opts.Kubeconfig == "" {
		return
	}
	for _, d := range j.cfg.ServiceDiscoveryConfigs {
		if k, ok := d.(*kubernetes.SDConfig); ok && k.APIServer.URL == nil && k.KubeConfig == "" {
			k.KubeConfig = absolute(l.opts.Kubeconfig)
		}
	}
}
