package shard

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/labels"
)

// keys returns the keys of n targets as in a mesh: their names differ in a few digits.
func keys(n int) []uint64 {
	out := make([]uint64, n)
	for i := range out {
		host := fmt.Sprintf("10.%d.%d.%d:15090", i>>16, i>>8&255, i&255)
		ls := labels.FromStrings("instance", host, "job", "envoy-stats", "namespace", "shop", "pod_name",
			fmt.Sprintf("reviews-v1-%05d", i))
		out[i] = Key(ls, "http://"+host+"/stats/prometheus")
	}
	return out
}

// Instances of different builds must agree on keys and owners.
func TestOwnersNeverChange(t *testing.T) {
	ls := labels.FromStrings("instance", "10.0.0.1:15090", "job", "envoy-stats")
	const url = "http://10.0.0.1:15090/stats/prometheus"
	const text = "instance\xff10.0.0.1:15090\xffjob\xffenvoy-stats\xffhttp://10.0.0.1:15090/stats/prometheus"
	key := Key(ls, url)
	if want := uint64(0x8ba483339715407d); key != want {
		t.Errorf("the key of a target is %#x, want %#x: XXH64 of %q", key, want, text)
	}
	var got []int
	for n := 1; n <= 12; n++ {
		got = append(got, Owner(key, n))
	}
	if want := "[0 0 0 0 4 4 4 4 4 4 4 4]"; fmt.Sprint(got) != want {
		t.Errorf("owners by number of instances = %v, want %v", got, want)
	}
	other := labels.FromStrings("instance", "10.0.0.1:15090", "job", "envoy-statt")
	if Key(ls, url+"?a") == key || Key(other, url) == key {
		t.Error("another target has the same key")
	}
}

// TestKeysOfWorkloadsNeverChange: as TestOwnersNeverChange, for jobs that are shared by workload.
func TestKeysOfWorkloadsNeverChange(t *testing.T) {
	const job, namespace, owner = "envoy-stats", "shop", "ReplicaSet/reviews-v1"
	key := WorkloadKey(job, namespace, owner)
	want := xxhash.Sum64String("envoy-stats\xffshop\xffReplicaSet/reviews-v1")
	if key != want || key != 0x3ef5eebde21a8138 {
		t.Errorf("the key of a workload is %#x, want %#x", key, want)
	}
	for _, other := range []uint64{
		WorkloadKey("envoy-statt", namespace, owner), WorkloadKey(job, "shot", owner),
		WorkloadKey(job, namespace, "StatefulSet/reviews-v1"), WorkloadKey(job+namespace, "", owner),
	} {
		if other == key {
			t.Error("another workload has the same key")
		}
	}
}

// workloads returns how many pods the workloads of a made-up mesh have: 19,350 pods in 3,031 workloads. Most workloads
// have a few pods; ten are gateways and the like with 100 to 400.
func workloads() (replicas []int) {
	for _, c := range []struct{ workloads, replicas int }{
		{900, 2}, {900, 3}, {600, 5}, {350, 10}, {180, 20}, {70, 30}, {21, 50}, {6, 100}, {3, 200}, {1, 400},
	} {
		for range c.workloads {
			replicas = append(replicas, c.replicas)
		}
	}
	return replicas
}

// TestSharesByWorkload prints the table of docs/shards.md with -v: the largest share of an instance, by pods.
func TestSharesByWorkload(t *testing.T) {
	const byTargetMeshes = 10 // fewer, since their shares hardly differ
	const meshes = 50         // with other names
	sizes := workloads()
	pods := 0
	for _, replicas := range sizes {
		pods += replicas
	}
	t.Logf("%d pods in %d workloads, the largest of %d", pods, len(sizes), sizes[len(sizes)-1])
	for _, c := range []struct {
		count, giant int     // pods of one more workload
		most         float64 // bound of the mean of the largest share, in shares of the average
	}{{2, 0, 1.10}, {3, 0, 1.10}, {5, 0, 1.20}, {10, 0, 1.35}, {20, 0, 1.6}, {10, 2000, 2.1}, {10, 4000, 2.8}} {
		total, byTarget, byWorkload, worst := float64(pods+c.giant), 0.0, 0.0, 0.0
		for mesh := range meshes {
			targets, together := make([]float64, c.count), make([]float64, c.count)
			for i, replicas := range append(sizes[:len(sizes):len(sizes)], c.giant) {
				name := fmt.Sprintf("ReplicaSet/web-%d-%d", mesh, i)
				together[Owner(WorkloadKey("envoy-stats", "shop", name), c.count)] += float64(replicas)
				if mesh >= byTargetMeshes {
					continue
				}
				for n := range replicas {
					key := WorkloadKey("envoy-stats", "shop", fmt.Sprintf("%s-%d", name, n)) // any key of its own
					targets[Owner(key, c.count)]++
				}
			}
			average := total / float64(c.count)
			byTarget += slices.Max(targets) / average / byTargetMeshes
			byWorkload += slices.Max(together) / average / meshes
			worst = max(worst, slices.Max(together)/average)
		}
		t.Logf("%2d instances, giant of %4d pods: the largest share is %.2f of the average by target, %.2f by "+
			"workload, %.2f in the worst of %d meshes", c.count, c.giant, byTarget, byWorkload, worst, meshes)
		if byWorkload > c.most || byTarget > 1.15 {
			t.Errorf("%d instances, giant of %d pods: the largest share is %.2f of the average by target and %.2f by "+
				"workload", c.count, c.giant, byTarget, byWorkload)
		}
	}
}

// TestOwnerIsTheAlgorithmOfThePaper compares with keys and owners of the paper's code.
func TestOwnerIsTheAlgorithmOfThePaper(t *testing.T) {
	for _, tc := range []struct {
		key   uint64
		count int
		want  int
	}{
		{0, 1, 0}, {0, 60, 0}, {1, 1, 0}, {1, 2, 0}, {1, 60, 55}, {256, 1024, 520},
		{0xdead10cc, 666, 361}, {10863919174838991, 11, 6},
	} {
		if got := Owner(tc.key, tc.count); got != tc.want {
			t.Errorf("Owner(%d, %d) = %d, want %d", tc.key, tc.count, got, tc.want)
		}
	}
}

func TestSharesAreBalanced(t *testing.T) {
	all := keys(20000)
	for n := 1; n <= 50; n++ {
		shares := make([]int, n)
		for _, k := range all {
			shares[Owner(k, n)]++
		}
		mean := float64(len(all)) / float64(n)
		for i, share := range shares {
			if off := math.Abs(float64(share) - mean); off > 5*math.Sqrt(mean) {
				t.Errorf("instance %d of %d has %d targets, the mean being %.0f", i, n, share, mean)
			}
		}
	}
}

// A target moves only from an instance that leaves or to one that joins.
func TestAsFewAsPossibleMove(t *testing.T) {
	all := keys(20000)
	for _, step := range [][2]int{{1, 2}, {3, 5}, {5, 3}, {10, 11}, {11, 10}, {7, 49}} {
		from, to := step[0], step[1]
		moved := 0
		for _, k := range all {
			before, after := Owner(k, from), Owner(k, to)
			if before == after {
				continue
			}
			moved++
			if max(before, after) < min(from, to) {
				t.Fatalf("from %d to %d instances a target moves from %d to %d, both of which stay",
					from, to, before, after)
			}
		}
		least := float64(len(all)) * math.Abs(float64(from-to)) / float64(max(from, to))
		if off := math.Abs(float64(moved) - least); off > 5*math.Sqrt(least) {
			t.Errorf("from %d to %d instances %d targets move, the least being %.0f", from, to, moved, least)
		}
	}
}

func TestPhasesAndTheNextChange(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 11, 24, 15, minute, 0, 0, time.UTC) }
	m := Map{Index: 1, Periods: []Period{
		{Count: 3}, {Count: 5, From: at(10)}, {Count: 5, From: at(15)}, {Count: 3, From: at(20)},
	}}
	for _, tc := range []struct {
		now   time.Time
		phase Phase
		next  time.Time
	}{
		{at(9), Phase{Count: 3}, at(10)},
		{at(10).Add(-1), Phase{Count: 3}, at(10)},
		{at(10), Phase{Count: 5, Before: 3, Since: at(10)}, at(20)},
		{at(16), Phase{Count: 5, Before: 3, Since: at(10)}, at(20)},
		{at(20), Phase{Count: 3, Before: 5, Since: at(20)}, time.Time{}},
	} {
		if got := m.At(tc.now); got != tc.phase {
			t.Errorf("at %v: %+v, want %+v", tc.now, got, tc.phase)
		}
		if next, ok := m.Next(tc.now); ok == tc.next.IsZero() || !next.From.Equal(tc.next) {
			t.Errorf("after %v the next change is at %v, want %v", tc.now, next.From, tc.next)
		}
	}
	if !m.On() || (Map{}).On() {
		t.Error("a map without periods is on, or one with periods is not")
	}
	other := m
	other.Periods = append([]Period{{Count: 4}}, m.Periods[1:]...)
	if m.Equal(other) || !m.Equal(Map{Index: 1, Periods: append([]Period(nil), m.Periods...)}) ||
		m.Equal(Map{Index: 2, Periods: m.Periods}) {
		t.Error("Equal differs from what the maps hold")
	}
}
