package lint

import (
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/envoy-scraper/envoy-scraper/internal/config/yamltree"
)

const (
	envoyPort       = "15090" // Envoy's own page
	mergedPort      = "15020" // the agent's page, which repeats Envoy's
	portNumberLabel = kubePrefix + "pod_container_port_number"
	annotationLabel = kubePrefix + "pod_annotation_prometheus_io_port"
)

// portUse is a job that scrapes a port of pods.
type portUse struct {
	job  Job
	rule int // index in relabel_configs of the rule that selects the port
	why  string
}

// ports warns about jobs that scrape each sidecar twice: on Envoy's port, and on the agent's, whose page repeats it.
func (l *linter) ports(jobs []Job) {
	var own, merged []portUse
	for _, j := range jobs {
		if podDiscovery(j) != nil {
			own = append(own, usesOf(j, envoyPort)...)
			merged = append(merged, usesOf(j, mergedPort)...)
		}
		l.staticPorts(j)
	}
	for _, m := range merged {
		for _, o := range own {
			if o.job.Config != m.job.Config && !overlap(podDiscovery(o.job).NamespaceDiscovery.Names,
				podDiscovery(m.job).NamespaceDiscovery.Names) {
				continue
			}
			r := &ruleList{linter: l, job: m.job, key: "relabel_configs"}
			r.warn(m.rule, "", fmt.Sprintf("%s, and job %q scrapes 15090 of the same pods: the page on 15020 "+
				"repeats Envoy's, "+
				"so every Envoy series is scraped and stored twice", m.why, o.job.Config.JobName),
				"keep 15090 only, or drop injected pods here: "+
					"action: drop, source_labels: ["+annotationLabel+"], regex: 15020")
			break
		}
	}
}

func podDiscovery(j Job) *kubernetes.SDConfig {
	for _, d := range j.Config.ServiceDiscoveryConfigs {
		if k, ok := d.(*kubernetes.SDConfig); ok && k.Role == kubernetes.RolePod {
			return k
		}
	}
	return nil
}

// overlap reports whether two lists of namespaces have one in common. An empty list means all namespaces.
func overlap(a, b []string) bool {
	return len(a) == 0 || len(b) == 0 || slices.ContainsFunc(a, func(ns string) bool { return slices.Contains(b, ns) })
}

// usesOf returns how a job selects a port of its pods: at most one use.
func usesOf(j Job, port string) []portUse {
	for i, rule := range j.Config.RelabelConfigs {
		var why string
		switch {
		case rule.Action == relabel.Drop && excludes(rule, port):
			return nil
		case rule.Action == relabel.Replace && rule.TargetLabel == model.AddressLabel &&
			strings.HasSuffix(rule.Replacement, ":"+port):
			why = "it scrapes port " + port
		case rule.Action == relabel.Replace && rule.TargetLabel == model.AddressLabel && port == mergedPort &&
			followsAnnotation(rule):
			why = "it scrapes the port of the annotation prometheus.io/port, which Istio sets to 15020 in the " +
				"pods that it injects"
		case rule.Action == relabel.Keep && selects(rule, port):
			why = "it scrapes port " + port
		default:
			continue
		}
		if why != "" && !excludedLater(j.Config.RelabelConfigs[i+1:], port) {
			return []portUse{{j, i, why}}
		}
	}
	return nil
}

func excludedLater(list []*relabel.Config, port string) bool {
	return slices.ContainsFunc(list,
		func(rule *relabel.Config) bool { return rule.Action == relabel.Drop && excludes(rule, port) })
}

// followsAnnotation reports whether the rule takes the port of the address from the annotation prometheus.io/port.
func followsAnnotation(rule *relabel.Config) bool {
	return slices.Contains(rule.SourceLabels, annotationLabel) &&
		(strings.HasSuffix(rule.Replacement, "$2") || strings.HasSuffix(rule.Replacement, "${2}"))
}

// selects reports whether the rule keeps this port and not every port.
func selects(rule *relabel.Config, port string) bool {
	if len(rule.SourceLabels) != 1 {
		return false
	}
	switch string(rule.SourceLabels[0]) {
	case portNameLabel:
		return port == envoyPort && rule.Regex.MatchString(portName) && !rule.Regex.MatchString("x")
	case portNumberLabel, annotationLabel:
		return rule.Regex.MatchString(port) && !rule.Regex.MatchString("1")
	}
	return false
}

func excludes(rule *relabel.Config, port string) bool {
	if len(rule.SourceLabels) != 1 {
		return false
	}
	name := string(rule.SourceLabels[0])
	return (name == portNumberLabel || name == annotationLabel) && rule.Regex.MatchString(port)
}

// staticPorts warns about a static list with both ports of one host.
func (l *linter) staticPorts(j Job) {
	ports := map[string][]string{}
	for _, d := range j.Config.ServiceDiscoveryConfigs {
		groups, ok := d.(discovery.StaticConfig)
		if !ok {
			continue
		}
		for _, g := range groups {
			for _, t := range g.Targets {
				if host, port, err := net.SplitHostPort(string(t[model.AddressLabel])); err == nil {
					ports[host] = append(ports[host], port)
				}
			}
		}
	}
	for host, have := range ports {
		if slices.Contains(have, envoyPort) && slices.Contains(have, mergedPort) {
			l.warn(j, yamltree.Line(j.Node, "static_configs"), j.Path+".static_configs", host,
				"both 15090 and 15020 of one host: the page on 15020 repeats Envoy's", "keep 15090 only")
		}
	}
}
