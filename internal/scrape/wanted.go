package scrape

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/shard"
)

// wanted holds the targets of a job, also those of other instances. It changes group by group, and the result is the
// same as if all groups were relabeled: equal targets of several groups are one target, which shows the discovered
// labels of the first group by discovery and source.
type wanted struct {
	groups  map[groupKey]*relabeled
	targets map[uint64]origin   // by hash: the first of equal targets
	equals  map[uint64][]origin // by hash: the others, in any order
	keys    map[uint64]int      // shard key -> how many targets have it; empty if instances cannot share the targets
	byOwner string              // the job's name if instances share its targets by workload; else empty
	others  int                 // targets of other instances, by isOthers
	dropped int                 // targets that relabeling left out
	invalid int                 // targets without an address, with a bad interval, and so on

	isOthers func(key uint64) bool // of a placement key, see keyOf
}

// groupKey names a group of a job.
type groupKey struct {
	discovery uint64
	source    string
}

func (k groupKey) compare(other groupKey) int {
	return cmp.Or(cmp.Compare(k.discovery, other.discovery), strings.Compare(k.source, other.source))
}

// relabeled is a group after relabeling. Targets that are neither in kept nor in invalid were dropped. Immutable.
type relabeled struct {
	key     groupKey
	group   *targetgroup.Group
	kept    []keptTarget
	invalid []invalidTarget
}

type keptTarget struct {
	index          int    // in the group
	hash, shardKey uint64 // see target
}

type invalidTarget struct {
	index  int // in the group
	reason string
}

// origin says which target of which group a target was made from.
type origin struct {
	from     *relabeled
	index    int    // in the group
	shardKey uint64 // of the target
}

func (o origin) compare(other origin) int {
	return cmp.Or(o.from.key.compare(other.from.key), cmp.Compare(o.index, other.index))
}

// found returns the labels of the target before relabeling.
func (o origin) found() foundTarget {
	return foundTarget{o.from.group.Targets[o.index], o.from.group.Labels}
}

func newWanted(isOthers func(key uint64) bool) wanted {
	return wanted{
		groups: map[groupKey]*relabeled{}, targets: map[uint64]origin{}, equals: map[uint64][]origin{},
		keys: map[uint64]int{}, isOthers: isOthers,
	}
}

// count returns how many targets have a placement key for which is returns true.
func (w *wanted) count(is func(key uint64) bool) (n int) {
	if len(w.keys) == 0 {
		return 0
	}
	for hash := range w.targets {
		if key := w.keyOf(hash); key != 0 && is(key) {
			n++
		}
	}
	return n
}

// set puts r in the place of the group with the same key.
func (w *wanted) set(r *relabeled) {
	w.remove(r.key)
	w.groups[r.key] = r
	w.invalid += len(r.invalid)
	w.dropped += r.dropped()
	for _, k := range r.kept {
		w.addTarget(k.hash, origin{r, k.index, k.shardKey})
	}
}

func (w *wanted) addTarget(hash uint64, o origin) {
	w.countOthers(hash, -1)
	defer w.countOthers(hash, 1)
	first, ok := w.targets[hash]
	switch {
	case !ok:
		w.targets[hash] = o
		w.countKey(o.shardKey, 1)
	case o.compare(first) < 0:
		w.targets[hash] = o
		w.equals[hash] = append(w.equals[hash], first)
	default:
		w.equals[hash] = append(w.equals[hash], o)
	}
}

// remove takes a group out, and returns it; nil: there is none.
func (w *wanted) remove(key groupKey) *relabeled {
	r := w.groups[key]
	if r == nil {
		return nil
	}
	delete(w.groups, key)
	w.invalid -= len(r.invalid)
	w.dropped -= r.dropped()
	for _, k := range r.kept {
		w.removeTarget(k.hash, origin{r, k.index, k.shardKey})
	}
	return r
}

func (w *wanted) removeTarget(hash uint64, o origin) {
	w.countOthers(hash, -1)
	defer w.countOthers(hash, 1)
	equals := w.equals[hash]
	switch {
	case w.targets[hash] != o:
		equals = slices.DeleteFunc(equals, func(other origin) bool { return other == o })
	case len(equals) > 0:
		next := slices.MinFunc(equals, origin.compare)
		w.targets[hash] = next
		equals = slices.DeleteFunc(equals, func(other origin) bool { return other == next })
	default:
		delete(w.targets, hash)
		w.countKey(o.shardKey, -1)
	}
	if len(equals) == 0 {
		delete(w.equals, hash)
	} else {
		w.equals[hash] = equals
	}
}

// countKey adds by, 1 or -1, to the number of targets with a shard key.
func (w *wanted) countKey(key uint64, by int) {
	if key == 0 {
		return
	}
	if w.keys[key] += by; w.keys[key] == 0 {
		delete(w.keys, key)
	}
}

// countOthers adds by, 1 or -1, to others, if there is a target with a hash and another instance has it.
func (w *wanted) countOthers(hash uint64, by int) {
	if w.isOthers(w.keyOf(hash)) {
		w.others += by
	}
}

func (r *relabeled) dropped() int { return len(r.group.Targets) - len(r.kept) - len(r.invalid) }

// isDropped reports whether relabeling left out a target of the group.
func (r *relabeled) isDropped(index int) bool {
	return !slices.ContainsFunc(r.kept, func(k keptTarget) bool { return k.index == index }) &&
		!slices.ContainsFunc(r.invalid, func(i invalidTarget) bool { return i.index == index })
}

// hasTargetOf reports whether the group has a target of a pod for which of returns true.
func (r *relabeled) hasTargetOf(of func(Pod) bool) bool {
	return slices.ContainsFunc(r.group.Targets, func(own model.LabelSet) bool { return of(podIn(own, r.group.Labels)) })
}

// unwanted returns the groups that have dropped or invalid targets.
func (w *wanted) unwanted() (all []*relabeled) {
	for _, r := range w.groups {
		if r.dropped() > 0 || len(r.invalid) > 0 {
			all = append(all, r)
		}
	}
	return all
}

func sortGroups(groups []*relabeled) {
	slices.SortFunc(groups, func(a, b *relabeled) int { return a.key.compare(b.key) })
}

// describe lists dropped and invalid targets for pages, in the order of discovery and source. It lists at most
// keep_dropped_targets dropped ones, or, with rules, all of them with the rule that dropped each. It leaves out dropped
// ones of pods for which of returns false.
func describe(cfg *promconfig.ScrapeConfig, groups []*relabeled, rules *ruleFinder, of func(Pod) bool) (
	dropped []DroppedTarget, invalid []string,
) {
	sortGroups(groups)
	most := 0
	for _, r := range groups {
		most += r.dropped()
	}
	if rules == nil && cfg.KeepDroppedTargets != 0 {
		most = min(most, int(cfg.KeepDroppedTargets))
	}
	dropped = make([]DroppedTarget, 0, most)
	for _, r := range groups {
		for _, i := range r.invalid {
			invalid = append(invalid, fmt.Sprintf("target %d of %s: %s", i.index, r.key.source, i.reason))
		}
		for index, own := range r.group.Targets {
			if len(dropped) == most {
				break
			}
			pod := podIn(own, r.group.Labels)
			if !r.isDropped(index) || !of(pod) {
				continue
			}
			t := DroppedTarget{Job: cfg.JobName, Pod: pod,
				Discovered: func() labels.Labels { return discovered(cfg, own, r.group.Labels) }}
			if rules != nil {
				t.Rule, t.Port = rules.rule(own, r.group.Labels), containerPort(own)
			}
			dropped = append(dropped, t)
		}
	}
	return dropped, invalid
}

// relabeler makes targets of a job's groups.
type relabeler struct {
	cfg        *promconfig.ScrapeConfig
	ownAddress bool   // a pod's target must have the pod's own address
	keyed      bool   // instances can share the targets, so each needs a shard key
	viaPods    bool   // pods are read through their API server
	onNode     bool   // all pods are on this node
	node       string // the name of this node; empty: not known
	builder    *labels.Builder
	scratch    model.LabelSet
}

// relabel makes the targets of a group, in the order of kept.
func (r *relabeler) relabel(key groupKey, group *targetgroup.Group) (*relabeled, []*target) {
	made := &relabeled{key: key, group: group}
	var targets []*target
	for i := range group.Targets {
		t, err := r.target(group, i)
		switch {
		case err != nil:
			made.invalid = append(made.invalid, invalidTarget{i, err.Error()})
		case t != nil:
			made.kept = append(made.kept, keptTarget{i, t.hash, t.shardKey})
			targets = append(targets, t)
		}
	}
	return made, targets
}

// target makes one target of a group. It returns nil without an error if relabeling drops it.
func (r *relabeler) target(group *targetgroup.Group, index int) (*target, error) {
	own := discovery.Own(group.Targets[index], group.Labels, r.scratch)
	t, err := makeTarget(r.builder, r.cfg, own, group, r.ownAddress)
	if t != nil && r.keyed {
		t.shardKey = shard.Key(t.labels, t.url)
	}
	if t != nil {
		t.near = r.isNear(t.hostPort, own, group.Labels)
	}
	if t != nil && r.viaPods {
		if err := t.readThroughPod(r.cfg, own, group.Labels); err != nil {
			return nil, err
		}
	}
	return t, err
}
