package config

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/relabel"
	"go.yaml.in/yaml/v3"
)

// lint warns of what is valid and surely misses its purpose. It only speaks where it is certain: a rule that might have
// a purpose is let alone.
func (l *loader) lint() {
	for _, j := range l.jobs {
		if j.cfg == nil || !j.clean {
			continue
		}
		l.lintRules(&rules{l: l, job: j, key: "relabel_configs", list: j.cfg.RelabelConfigs, has: j.discovers})
		l.lintRules(&rules{l: l, job: j, key: "metric_relabel_configs", list: j.cfg.MetricRelabelConfigs, has: onSample})
		if len(j.cfg.ServiceDiscoveryConfigs) == 0 {
			l.warn(j, j.node, j.path, "", "the job has no discovery, so it finds no targets", "add "+strings.Join(supportedDiscoveries, " or "))
		}
	}
	l.lintPorts()
	for _, r := range l.remotes {
		if u := get(r.node, "url"); u != nil && u.Kind == yaml.ScalarNode && u.Value != "" && !l.env.broken[u] {
			l.lintURL(Problem{File: l.opts.File, Line: u.Line, Key: r.path + ".url", Value: l.show(u, "")}, u.Value)
		}
	}
	if flag := l.opts.RemoteWriteURL; flag != "" {
		l.lintURL(Problem{File: flagRemoteWriteURL, Value: redactURL(flag)}, flag)
	}
	if len(l.jobs) == 0 && !l.opts.SelfScrape && l.problems.Errors() == 0 {
		l.add(Problem{Severity: SeverityWarning, File: l.opts.File, Key: "scrape_configs", Why: "there is no job, so nothing is scraped",
			Fix: "add a job, as envoy-scraper config prints one"})
	}
}

// lintURL warns of a URL to which nothing can be sent. p says where it stands.
func (l *loader) lintURL(p Problem, text string) {
	u, err := url.Parse(text)
	switch {
	case err != nil: // refused already
		return
	case u.Scheme != "http" && u.Scheme != "https":
		if p.File == flagRemoteWriteURL {
			return // refused already
		}
		p.Why, p.Fix = "neither http:// nor https://, so nothing can be sent there", "write the whole URL, as http://prometheus:9090/api/v1/write"
	case u.Path == "" || u.Path == "/":
		p.Why, p.Fix = "the URL has no path, and a Prometheus takes samples at /api/v1/write only", "write the whole URL, as http://prometheus:9090/api/v1/write"
	default:
		return
	}
	p.Severity = SeverityWarning
	l.add(p)
}

// warn adds a warning about a value of a job.
func (l *loader) warn(j *job, n *yaml.Node, key, value, why, fix string) {
	l.add(Problem{Severity: SeverityWarning, File: j.src.name, Line: n.Line, Job: j.cfg.JobName, Key: key, Value: value, Why: why, Fix: fix})
}

// rules is one list of rules of a job, and which labels there can be before the first of them.
type rules struct {
	l    *loader
	job  *job
	key  string
	list []*relabel.Config
	has  func(label string) bool
}

// warn adds a warning about the i-th rule, at its key where it has that.
func (r *rules) warn(i int, key, why, fix string) {
	path, line, value := fmt.Sprintf("%s.%s[%d]", r.job.path, r.key, i), r.job.line, ""
	if nodes := items(get(r.job.node, r.key)); i < len(nodes) {
		line = nodes[i].Line
		if at := index(nodes[i], key); at >= 0 {
			path, line, value = join(path, key), nodes[i].Content[2*at].Line, r.l.show(nodes[i].Content[2*at+1], "")
		}
	}
	r.l.add(Problem{Severity: SeverityWarning, File: r.job.src.name, Line: line, Job: r.job.cfg.JobName, Key: path, Value: value, Why: why, Fix: fix})
}

// unit is what the rules choose among.
func (r *rules) unit() string {
	if r.key == "relabel_configs" {
		return "target"
	}
	return "sample"
}

func (l *loader) lintRules(r *rules) {
	for i, rule := range r.list {
		switch rule.Action {
		case relabel.LabelDrop, relabel.LabelKeep:
			r.lintLabelDrop(i, rule)
		case relabel.Keep, relabel.Drop, relabel.Replace:
			if len(rule.SourceLabels) > 0 && !r.lintAbsent(i, rule) {
				r.lintInit(i, rule)
				r.lintValues(i, rule)
			}
		}
	}
}

// lintLabelDrop: labels that start with __ never reach a series, so dropping them changes nothing, unless a later rule
// would have read them.
func (r *rules) lintLabelDrop(i int, rule *relabel.Config) {
	pattern := strings.TrimLeft(rule.Regex.String(), "^(")
	switch {
	case rule.Action == relabel.LabelKeep && r.unit() == "target" && !rule.Regex.MatchString(model.AddressLabel):
		r.warn(i, "regex", "it removes __address__ too, without which there is no target", "drop the labels that are too many by labeldrop instead")
	case rule.Action == relabel.LabelDrop && strings.HasPrefix(pattern, model.MetaLabelPrefix) && !r.readLater(i, rule):
		r.warn(i, "regex", "dropping __meta_ labels changes nothing: labels that start with __ are never stored", "remove the rule")
	}
}

// readLater: a rule after the i-th reads a label that the i-th drops.
func (r *rules) readLater(i int, drop *relabel.Config) bool {
	for _, rule := range r.list[i+1:] {
		if rule.Action == relabel.LabelMap {
			return true
		}
		for _, name := range rule.SourceLabels {
			if drop.Regex.MatchString(string(name)) {
				return true
			}
		}
	}
	return false
}

// initLabel says whether a container is an init container.
const initLabel = "__meta_kubernetes_pod_container_init"

// lintInit: since native sidecars, proxies are init containers.
func (r *rules) lintInit(i int, rule *relabel.Config) {
	if len(rule.SourceLabels) != 1 || rule.SourceLabels[0] != initLabel || !r.untouched(i, initLabel) {
		return
	}
	dropsInit := rule.Action == relabel.Drop && rule.Regex.MatchString("true") ||
		rule.Action == relabel.Keep && !rule.Regex.MatchString("true")
	if dropsInit {
		r.warn(i, "regex", "it drops init containers, and native sidecars are init containers (Istio's by default since 1.27)",
			"remove the rule: a keep on the port's name is enough")
	}
}

// untouched: no rule before the i-th may have written the label.
func (r *rules) untouched(i int, label string) bool {
	for _, rule := range r.list[:i] {
		switch {
		case rule.Action == relabel.LabelMap:
			return false
		case rule.TargetLabel == label || strings.Contains(rule.TargetLabel, "$"):
			return false
		}
	}
	return true
}

// onSample: which labels a sample can have. Those that start with __ are gone, but for its name.
func onSample(label string) bool {
	return label == model.MetricNameLabel || !strings.HasPrefix(label, "__")
}
