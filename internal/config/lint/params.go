package lint

import "github.com/envoy-scraper/envoy-scraper/internal/config/yamltree"

// usedOnly warns about the parameter usedonly, with which Envoy shows only stats that have been used.
func (l *linter) usedOnly(j Job) {
	if _, written := j.Config.Params["usedonly"]; !written {
		return
	}
	l.warn(j, yamltree.Line(j.Node, "params", "usedonly"), yamltree.Join(j.Path, "params.usedonly"), "",
		"a counter is not shown before its first increment, so increase() and rate() miss that increment; where Envoy "+
			"evicts unused stats (statsEvictionInterval of Istio 1.28 and later), idle series also vanish and come "+
			"back at each eviction; and the job has no filter of its rules",
		"remove it, and drop families with metric_relabel_configs instead, which push_down makes a filter of")
}
