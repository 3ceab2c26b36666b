package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/kubernetes"

	"github.com/envoy-scraper/envoy-scraper/internal/config/yamltree"
)

// nodeField is the field of a pod with the name of its node.
const nodeField = "spec.nodeName"

// nodeNameVariable is the usual variable for the name of the node (downward API).
const nodeNameVariable = "NODE_NAME"

// nodeLocal restricts every pod discovery to the pods of our node. Other discoveries would find the same targets on
// every node, so they are refused. Jobs of cluster_wide_jobs are not changed.
func (l *loader) nodeLocal() {
	node := l.opts.NodeName
	if node == "" {
		return
	}
	if strings.ContainsAny(node, ",=!\\ ") {
		l.add(Problem{File: flagNodeName, Value: node, Why: "not the name of a node",
			Fix: "give the node's name as kubectl get nodes prints it"})
		return
	}
	for _, j := range l.jobs {
		if j.cfg == nil || slices.Contains(l.ext.ClusterWideJobs, j.cfg.JobName) {
			continue
		}
		for _, d := range j.cfg.ServiceDiscoveryConfigs {
			if k, ok := d.(*kubernetes.SDConfig); ok && k.Role == kubernetes.RolePod {
				selectNode(k, node)
				continue
			}
			l.refuseClusterWide(j, d)
		}
	}
}

// selectNode adds the node to the pod selector, unless the selector names a node already.
func selectNode(k *kubernetes.SDConfig, node string) {
	field := nodeField + "=" + node
	for i := range k.Selectors {
		s := &k.Selectors[i]
		switch {
		case s.Role != kubernetes.RolePod:
			continue
		case namesNode(s.Field):
		case s.Field == "":
			s.Field = field
		default:
			s.Field += "," + field
		}
		return
	}
	k.Selectors = append(k.Selectors, kubernetes.SelectorConfig{Role: kubernetes.RolePod, Field: field})
}

// namesNode reports whether a field selector requires a node, as spec.nodeName=a. spec.nodeName!=a does not.
func namesNode(field string) bool {
	for term := range strings.SplitSeq(field, ",") {
		if name, _, ok := strings.Cut(term, "="); ok && strings.TrimSpace(name) == nodeField {
			return true
		}
	}
	return false
}

// isOnNode reports whether a discovery finds pods of a node only.
func isOnNode(d discovery.Config, node string) bool {
	k, ok := d.(*kubernetes.SDConfig)
	if !ok || k.Role != kubernetes.RolePod {
		return false
	}
	return slices.ContainsFunc(k.Selectors, func(s kubernetes.SelectorConfig) bool {
		return s.Role == kubernetes.RolePod && slices.ContainsFunc(strings.Split(s.Field, ","), func(term string) bool {
			name, value, ok := strings.Cut(strings.ReplaceAll(term, "==", "="), "=")
			return ok && strings.TrimSpace(name) == nodeField && strings.TrimSpace(value) == node
		})
	})
}

func (l *loader) refuseClusterWide(j *job, d discovery.Config) {
	key, what := d.Name()+"_sd_configs", d.Name()+" discovery"
	switch k := d.(type) {
	case discovery.StaticConfig:
		key, what = "static_configs", "a static list"
	case *kubernetes.SDConfig:
		what = fmt.Sprintf("kubernetes discovery with role %s", k.Role)
	}
	l.add(Problem{File: j.src.name, Line: yamltree.Line(j.node, key), Job: j.cfg.JobName,
		Key: yamltree.Join(j.path, key),
		Why: fmt.Sprintf("%s finds the same targets on every node, and %s makes each node scrape only its own pods",
			what, flagNodeName),
		Fix: fmt.Sprintf("use role: pod, move the job to a Deployment, or list it under %s.cluster_wide_jobs to "+
			"scrape it from every node", extensionKey)})
}
