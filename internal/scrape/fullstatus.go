package scrape

import (
	"slices"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	promrelabel "github.com/prometheus/prometheus/model/relabel"
	promscrape "github.com/prometheus/prometheus/scrape"

	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/shard"
)

// FullStatus returns what Status does, with every discovered target: all that rules dropped, whatever
// keep_dropped_targets says, each with its rule; invalid ones; duplicates; and those of other instances. It keeps
// nothing, and runs the rules of each dropped target again, which takes a few microseconds each.
func (ps *Pools) FullStatus() []PoolStatus { return ps.status(true, ofAnyPod) }

// FullStatusOf returns what FullStatus does, but lists only the targets of one pod. It runs the rules of those alone.
func (ps *Pools) FullStatusOf(pod Pod) []PoolStatus {
	return ps.status(true, func(p Pod) bool { return p == pod })
}

// equalTarget is a target that equals another one.
type equalTarget struct{ this, first origin }

// ownedTarget is a target of another instance.
type ownedTarget struct {
	origin
	owner int
}

// fullJob is what FullStatus reads of a job, beside what Status reads.
type fullJob struct {
	equals    []equalTarget
	elsewhere []ownedTarget
}

// collectAll copies what FullStatus describes and Status does not. ps.mu is held.
func (j *statusJob) collectAll(ps *Pools, p *pool) {
	for hash, equals := range p.wanted.equals {
		for _, o := range equals {
			j.equals = append(j.equals, equalTarget{o, p.wanted.targets[hash]})
		}
	}
	if !ps.isShared(p) {
		return
	}
	j.status.Shards = ps.phase.Count
	for hash, o := range p.wanted.targets {
		if key := p.wanted.keyOf(hash); ps.isOthers(p, key) {
			j.elsewhere = append(j.elsewhere, ownedTarget{o, shard.Owner(key, ps.phase.Count)})
		}
	}
}

// describeAll describes what collectAll copied, in the order of discovery and source.
func (j *statusJob) describeAll() {
	slices.SortFunc(j.equals, func(a, b equalTarget) int { return a.this.compare(b.this) })
	slices.SortFunc(j.elsewhere, func(a, b ownedTarget) int { return a.compare(b.origin) })
	of := func(o origin) FoundTarget {
		found := o.found()
		return FoundTarget{
			Job: j.status.Job, Pod: podIn(found.own, found.group),
			Discovered: func() labels.Labels { return discovered(j.cfg, found.own, found.group) },
		}
	}
	sortGroups(j.unwanted)
	for _, r := range j.unwanted {
		for _, bad := range r.invalid {
			t := of(origin{from: r, index: bad.index})
			t.Reason = bad.reason
			j.status.Invalid = append(j.status.Invalid, t)
		}
	}
	for _, e := range j.equals {
		t := of(e.this)
		t.Same = of(e.first).Pod
		j.status.Duplicates = append(j.status.Duplicates, t)
	}
	for _, e := range j.elsewhere {
		t := of(e.origin)
		t.Shard = e.owner
		j.status.Elsewhere = append(j.status.Elsewhere, t)
	}
}

// ruleFinder finds the rule that left out a target. Not safe for concurrent use.
type ruleFinder struct {
	cfg     *promconfig.ScrapeConfig
	builder *labels.Builder
	scratch model.LabelSet
}

func newRuleFinder(cfg *promconfig.ScrapeConfig) *ruleFinder {
	return &ruleFinder{cfg, labels.NewBuilder(labels.EmptyLabels()), model.LabelSet{}}
}

// rule returns the number of the rule that left out a target, from 1, or 0 if no rule does.
func (f *ruleFinder) rule(own, group model.LabelSet) int {
	promscrape.PopulateDiscoveredLabels(f.builder, f.cfg, discovery.Own(own, group, f.scratch), group)
	for i, rule := range f.cfg.RelabelConfigs {
		if !promrelabel.ProcessBuilder(f.builder, rule) {
			return i + 1
		}
	}
	return 0
}
