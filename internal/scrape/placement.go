package scrape

import (
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/shard"
)

// A target has two keys. Its shard key is its own: it says when the target is due, see target.offset. Its placement key
// says which instance has it. That is the shard key, but in a job by workload all pods of a workload have one placement
// key:
//
//	pod reviews-v1-6c9f8bcb9d-mm6jd of ReplicaSet/reviews-v1-6c9f8bcb9d in namespace shop, job envoy-stats
//	shop\xffReplicaSet/reviews-v1, with the job, is the text whose hash is the placement key
//
// It follows from labels that discovery found, so it is the same in all instances, and a rollout does not change it.

// PlacementKey returns the key that says which instance has a target, for those that have no Pools. public are the
// labels of the target's series, url is with secrets; own and group are the labels before relabeling.
func PlacementKey(job string, byWorkload bool, public labels.Labels, url string, own, group model.LabelSet) uint64 {
	w := wanted{}
	if byWorkload {
		w.byOwner = job
	}
	return w.placement(shard.Key(public, url), foundTarget{own, group})
}

// placement returns the placement key of a target from its shard key and the labels before relabeling. A target that is
// not of a pod, or whose pod has no controller, is placed by its shard key.
func (w *wanted) placement(shardKey uint64, found foundTarget) uint64 {
	if w.byOwner == "" || shardKey == 0 {
		return shardKey
	}
	pod := podIn(found.own, found.group)
	owner := discovery.OwnerOf(found.own, found.group)
	if pod == (Pod{}) || owner == "" {
		return shardKey
	}
	return shard.WorkloadKey(w.byOwner, pod.Namespace, owner)
}

// keyOf returns the placement key of the target with a hash; 0: there is no such target, or instances cannot share it.
// Equal targets can be pods of different workloads: the least key counts, whichever of them discovery found first.
func (w *wanted) keyOf(hash uint64) uint64 {
	o, ok := w.targets[hash]
	if !ok || w.byOwner == "" {
		return o.shardKey
	}
	key := w.placement(o.shardKey, o.found())
	for _, equal := range w.equals[hash] {
		key = min(key, w.placement(equal.shardKey, equal.found()))
	}
	return key
}

// shareBy takes from the job's state how instances share its targets.
func (w *wanted) shareBy(state *jobState) {
	by := ""
	if state.byWorkload {
		by = state.cfg.JobName
	}
	if w.byOwner != by {
		w.byOwner = by
		w.others = w.count(w.isOthers)
	}
}

// isByWorkload reports whether one instance has all pods of a workload of a job.
func (o Options) isByWorkload(job string) bool {
	return o.isKeyed(job) && o.ShardByWorkload != nil && o.ShardByWorkload(job)
}

// isKeyed reports whether the targets of a job have keys, so that instances can share them.
func (o Options) isKeyed(job string) bool {
	return o.Sharded && (o.Unsharded == nil || !o.Unsharded(job))
}
