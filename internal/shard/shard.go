// Package shard decides which of several instances scrapes a target, now and after an instant at which their number
// changes. Every instance, on every machine and in every build, comes to the same answer: nothing here depends on a
// seed, on the layout of labels in memory or on the order in which instances start.
//
// A target's key is the XXH64 (https://xxhash.com, seed 0) of its labels and URL after relabeling. Its owner is the
// jump consistent hash of the key: J. Lamping and E. Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm", 2014,
// https://arxiv.org/abs/1406.2294. When the number of instances goes from n to m, only |n-m|/max(n,m) of all targets
// move, which is the least possible. Each moves to an instance that joins or from one that leaves, and those have the
// highest numbers, as the pods that a StatefulSet adds and removes.
package shard

import (
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/labels"
)

// Key identifies a target by its public labels and its whole URL. It is the hash of, for example,
// "instance\xff10.0.0.1:15090\xffjob\xffenvoy-stats\xffhttp://10.0.0.1:15090/stats/prometheus".
func Key(public labels.Labels, url string) uint64 {
	var text []byte
	public.Range(func(l labels.Label) { // by name, in order
		text = append(text, l.Name...)
		text = append(text, 0xff) // not in any UTF-8 text
		text = append(text, l.Value...)
		text = append(text, 0xff)
	})
	return xxhash.Sum64(append(text, url...))
}

// WorkloadKey identifies a workload of a job, for jobs whose targets are shared by workload. It is the hash of, for
// example, "envoy-stats\xffshop\xffReplicaSet/reviews-v1".
func WorkloadKey(job, namespace, owner string) uint64 {
	text := make([]byte, 0, 128)
	for _, part := range []string{job, namespace} {
		text = append(append(text, part...), 0xff)
	}
	return xxhash.Sum64(append(text, owner...))
}

// Owner returns the instance, from 0 to count-1, that a target belongs to. count is at least 1.
func Owner(key uint64, count int) int {
	owner, next := int64(-1), int64(0)
	for next < int64(count) {
		owner = next
		key = key*2862933555777941757 + 1
		next = int64(float64(owner+1) * (float64(1<<31) / float64(key>>33+1)))
	}
	return int(owner)
}

// Period is the number of instances from an instant on.
type Period struct {
	Count int
	From  time.Time // zero: always
}

// Map is what an instance knows about the others. The zero value: there are no others.
type Map struct {
	Index   int      // of this instance, from 0
	Periods []Period // ordered by From; the first holds from the beginning
}

// On reports whether there are other instances to share targets with.
func (m Map) On() bool { return len(m.Periods) > 0 }

// Equal reports whether two maps are the same.
func (m Map) Equal(other Map) bool {
	return m.Index == other.Index && slices.EqualFunc(m.Periods, other.Periods, func(a, b Period) bool {
		return a.Count == b.Count && a.From.Equal(b.From)
	})
}

// Phase is the number of instances at an instant, with the last change.
type Phase struct {
	Count  int
	Before int       // number of instances until Since; 0: there was no change
	Since  time.Time // of the last change
}

// At returns the phase at an instant.
func (m Map) At(now time.Time) Phase {
	var p Phase
	for _, period := range m.Periods {
		if period.From.After(now) {
			break
		}
		if period.Count != p.Count {
			p = Phase{Count: period.Count, Before: p.Count, Since: period.From}
		}
	}
	return p
}

// Next returns the next change after an instant; false: none is known.
func (m Map) Next(now time.Time) (Period, bool) {
	count := m.At(now).Count
	for _, period := range m.Periods {
		if period.From.After(now) && period.Count != count {
			return period, true
		}
	}
	return Period{}, false
}

// Mine reports whether a target belongs to this instance if there are count instances.
func (m Map) Mine(key uint64, count int) bool { return Owner(key, count) == m.Index }
