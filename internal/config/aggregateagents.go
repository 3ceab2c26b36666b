package config

import (
	"maps"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/envoy-scraper/envoy-scraper/internal/config/yamltree"
	"github.com/envoy-scraper/envoy-scraper/internal/shard"
)

// writtenLabel is a label whose value may have variables.
type writtenLabel struct {
	name, written, value string
}

// writtenExternalLabels returns the external labels. Those of the command line have no variables.
func (l *loader) writtenExternalLabels(src *source) (all []writtenLabel) {
	if n := yamltree.Get(src.root, "global", "external_labels"); n != nil && n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			name, value := n.Content[i].Value, n.Content[i+1]
			if _, replaced := l.opts.ExternalLabels[name]; !replaced {
				all = append(all, writtenLabel{name, l.env.written[value] + value.Value, expand(value.Value)})
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.opts.ExternalLabels)) {
		all = append(all, writtenLabel{name: name, value: l.opts.ExternalLabels[name]})
	}
	return all
}

// expand replaces ${NAME} in the value of an external label, as Prometheus does.
func expand(value string) string {
	return os.Expand(value, func(name string) string {
		if name == "$" {
			return name
		}
		return os.Getenv(name)
	})
}

// lintAs warns if no label tells the sums of one agent from those of another.
func (c *aggregateCheck) lintAs() {
	shared := slices.ContainsFunc(c.cfg.Shards.Periods, func(p shard.Period) bool { return p.Count > 1 }) ||
		slices.ContainsFunc(c.ext.Shards, func(p ShardPeriod) bool { return p.Count > 1 })
	onNodes := c.opts.NodeName != ""
	if onNodes {
		c.lintClusterWide()
	}
	if !shared && !onNodes || c.agentsDiffer(!shared) {
		return
	}
	several, example := "several instances share the targets", `"%{POD_NAME}"`
	if !shared {
		several, example = flagNodeName+" says that there is an agent on each node", `"%{NODE_NAME}"`
	}
	name := slices.Sorted(maps.Keys(c.As))[0]
	c.warn("as."+name, c.As[name], several+", and this value does not say which one it is: if two have the same "+
		"value, they write the same series, and the receiver takes some samples of each",
		"write what tells them apart, as instance: "+example)
}

func (c *aggregateCheck) lintClusterWide() {
	for _, j := range c.jobs {
		if slices.Contains(c.ext.ClusterWideJobs, j.cfg.JobName) {
			c.warn("jobs", j.cfg.JobName, "the job is in cluster_wide_jobs: the agent on every node sums all its "+
				"targets, so queries that add up the agents count each target once for every node",
				"scrape the job from a Deployment")
		}
	}
}

// agentsDiffer reports whether a label of the sums has the name or the address of the agent's pod; with nodes, that of
// its node will do.
func (c *aggregateCheck) agentsDiffer(nodes bool) bool {
	for name, value := range c.As {
		if n := c.extPart.Node(yamltree.Join(c.key, "as."+name)); c.isOwn(c.env.written[n], value, nodes) {
			return true
		}
	}
	return slices.ContainsFunc(c.external, func(l writtenLabel) bool {
		_, hidden := c.As[l.name]
		return !hidden && c.isOwn(l.written, l.value, nodes)
	})
}

// isOwn reports whether a value has one of the usual variables, or the content of one.
func (c *aggregateCheck) isOwn(written, value string, nodes bool) bool {
	names := []string{"POD_NAME", "POD_IP", "HOSTNAME"}
	if nodes {
		names = append(names, nodeNameVariable, "NODE_IP", "HOST_IP")
	}
	return nodes && strings.Contains(value, c.opts.NodeName) || slices.ContainsFunc(names, func(name string) bool {
		content, _ := c.opts.LookupEnv(name)
		return strings.Contains(written, "%{"+name+"}") || strings.Contains(written, "${"+name+"}") ||
			content != "" && strings.Contains(value, content)
	})
}
