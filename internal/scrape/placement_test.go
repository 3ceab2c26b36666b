package scrape

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
	"github.com/envoy-scraper/envoy-scraper/internal/shard"
)

func byWorkload() Options { return Options{ShardByWorkload: func(string) bool { return true }} }

// pod returns a pod of a Deployment in namespace shop, as discovery finds it. hash is the one of the ReplicaSet's name.
func pod(host, deployment, hash string) model.LabelSet {
	l := at(host)
	l["__meta_kubernetes_namespace"], l["__meta_kubernetes_pod_name"] = "shop", model.LabelValue("pod-"+host)
	l["__meta_kubernetes_pod_controller_kind"] = "ReplicaSet"
	l["__meta_kubernetes_pod_controller_name"] = model.LabelValue(deployment + "-" + hash)
	return l
}

// pods adds n pods of a Deployment with pages, and returns their hosts and their discovered labels.
func (f *fleet) pods(n int, deployment, hash string) (hosts []string, found []model.LabelSet) {
	for i := range n {
		host := fmt.Sprintf("%s-%s-%d:1", deployment, hash, i)
		f.pages.set(host, "x 1\n")
		hosts, found = append(hosts, host), append(found, pod(host, deployment, hash))
	}
	return hosts, found
}

const oldHash, newHash = "6c9f8bcb9d", "7f6d8c4b5c"

// movingDeployment returns a Deployment that moves from instance 0 to instance 1 when one instance becomes two.
func movingDeployment() string {
	for i := 0; ; i++ {
		name := fmt.Sprint("moving", i)
		if shard.Owner(shard.WorkloadKey("envoy", "shop", "ReplicaSet/"+name), 2) == 1 {
			return name
		}
	}
}

// TestAWorkloadIsScrapedByOneInstance: all pods of a Deployment have one instance, also after a rollout, and they are
// not scraped at the same time. A target that is not of a pod is placed by itself.
func TestAWorkloadIsScrapedByOneInstance(t *testing.T) {
	fleetWith(t, 3, byWorkload(), changes(3), func(t *testing.T, f *fleet) {
		const deployments, replicas = 12, 5
		var hosts [deployments][]string
		var before, after []model.LabelSet
		for i := range deployments {
			name := fmt.Sprint("web", i)
			old, found := f.pods(replicas, name, oldHash)
			before = append(before, found...)
			young, found := f.pods(replicas, name, newHash)
			after = append(after, found...)
			hosts[i] = append(old, young...)
		}
		single, found := f.hosts(30)
		before, after = append(before, found...), append(after, found...)
		f.discover(before...)
		pass(50 * time.Second)
		f.discover(after...)
		pass(50 * time.Second)
		owners := map[int]bool{}
		for _, pods := range hosts {
			owner, due := -1, map[time.Duration]bool{}
			for _, host := range pods {
				all := f.of(host)
				if len(all) < 4 {
					t.Fatalf("%s: %d samples", host, len(all))
				}
				for _, s := range all {
					if owner < 0 {
						owner = s.by
					}
					if s.by != owner {
						t.Errorf("%s: a sample of instance %d, the first of its workload being of %d", host, s.by,
							owner)
					}
				}
				due[all[0].at.Sub(time.Unix(0, 0))%(10*time.Second)] = true
			}
			if owners[owner] = true; len(due) <= replicas {
				t.Errorf("%d pods of a workload are due at %d different times in an interval", 2*replicas, len(due))
			}
		}
		for _, host := range single {
			owners[3+f.of(host)[0].by] = true
		}
		if len(owners) != 6 {
			t.Errorf("instances that have workloads, and 3 + those that have other targets: %v; want all", owners)
		}
	})
}

// TestPodsOfAWorkloadMoveTogether: 1 instance becomes 2 and 1 again. Each pod misses one sample for each move.
func TestPodsOfAWorkloadMoveTogether(t *testing.T) {
	fleetWith(t, 2, byWorkload(), changes(1, 2, 1), func(t *testing.T, f *fleet) {
		hosts, found := f.pods(10, movingDeployment(), oldHash)
		f.discover(found...)
		pass(50 * time.Second)
		first := f.instances[0]
		first.mu.Lock()
		for _, l := range first.jobs["envoy"].loops { // the schedule knows, should the pools be late
			if m := first.nextMove(l.pool, l.target); !m.at.Equal(f.maps[1].From) {
				t.Errorf("%s is to move at %v, want %v", l.target.shown, m.at, f.maps[1].From)
			}
		}
		first.mu.Unlock()
		pass(250 * time.Second)
		for _, host := range hosts {
			moves := 0
			all := f.of(host)
			for i := 1; i < len(all); i++ {
				d, moved := all[i].at.Sub(all[i-1].at), all[i].by != all[i-1].by
				if moved {
					moves++
				}
				if all[i].stale || moved != (d == 20*time.Second) || !moved && d != 10*time.Second {
					t.Errorf("%s: %+v follows %+v", host, all[i], all[i-1])
				}
			}
			if moves != 2 {
				t.Errorf("%s: %d moves, want 2", host, moves)
			}
		}
	})
}

// TestAPodThatEndsWhileItsWorkloadMoves: other pods of the workload stay. The instance that scraped the pod last sends
// its markers, once.
func TestAPodThatEndsWhileItsWorkloadMoves(t *testing.T) {
	const interval, instant = 10 * time.Second, 100 * time.Second
	for _, c := range []struct {
		name string
		gone time.Duration // after the start
		by   int           // the instance that sends the markers
	}{
		{"shortly before", instant - time.Second, 0},
		{"after, before the other scraped it", instant + time.Second, 0},
		{"after the other scraped it", instant + 2*interval, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			fleetWith(t, 2, byWorkload(), changes(1, 2), func(t *testing.T, f *fleet) {
				hosts, found := f.pods(3, movingDeployment(), oldHash)
				f.discover(found...)
				pass(c.gone)
				f.discover(found[1:]...)
				pass(5 * interval)
				for i, host := range hosts {
					marks := ""
					for _, s := range f.of(host) {
						if s.stale {
							marks += fmt.Sprint(s.by)
						}
					}
					if want := map[bool]string{true: fmt.Sprint(c.by)}[i == 0]; marks != want {
						t.Errorf("%s: marked stale by %q, want %q", host, marks, want)
					}
				}
			})
		})
	}
}

// withoutControllers returns pods as discovery finds them if no rule reads their controllers.
func withoutControllers(found []model.LabelSet) (trimmed []model.LabelSet) {
	for _, l := range found {
		l = l.Clone()
		delete(l, "__meta_kubernetes_pod_controller_kind")
		delete(l, "__meta_kubernetes_pod_controller_name")
		trimmed = append(trimmed, l)
	}
	return trimmed
}

// TestSharingByWorkloadFromAReloadOnMarksNothing: the instances reload one after another, and back. Targets that move
// may miss samples or have some twice, but they get no markers, since another instance scrapes them.
func TestSharingByWorkloadFromAReloadOnMarksNothing(t *testing.T) {
	on := false
	opts := Options{ShardByWorkload: func(string) bool { return on }}
	fleetWith(t, 3, opts, changes(3), func(t *testing.T, f *fleet) {
		var hosts []string
		var found []model.LabelSet
		for i := range 6 {
			h, l := f.pods(5, fmt.Sprint("web", i), oldHash)
			hosts, found = append(hosts, h...), append(found, l...)
		}
		f.discover(withoutControllers(found)...)
		pass(50 * time.Second)
		for _, on = range []bool{true, false} {
			for _, r := range f.instances {
				if on { // discovery has to list the pods again, with their controllers
					r.Hold([]string{"envoy"})
				}
				r.apply(t, job(t, ""))
				pass(time.Second)
				r.discover(found...)
				pass(2 * time.Second)
			}
			pass(50 * time.Second)
			sum := 0
			for _, r := range f.instances {
				s := r.Status()[0]
				if sum += len(s.Targets); len(s.Targets)+s.Others != len(hosts) {
					t.Errorf("%d targets, %d of others, want %d together", len(s.Targets), s.Others, len(hosts))
				}
			}
			if sum != len(hosts) {
				t.Errorf("by workload %v: the instances have %d of %d targets", on, sum, len(hosts))
			}
		}
		moved := 0
		for _, host := range hosts {
			all := f.of(host)
			for i, s := range all {
				if s.stale {
					t.Errorf("%s was marked stale by instance %d", host, s.by)
				}
				if i > 0 && s.by != all[i-1].by {
					moved++
				}
			}
		}
		if moved < 20 {
			t.Errorf("%d moves, too few to test anything", moved)
		}
	})
}

// TestWhereATargetIsPlaced: the command targets and the pools agree.
func TestWhereATargetIsPlaced(t *testing.T) {
	found := []model.LabelSet{at("plain:1"), pod("a:1", "web", oldHash), pod("b:1", "web", newHash),
		pod("c:1", "db", oldHash)}
	for _, on := range []bool{false, true} {
		opts := Options{Sharded: true, ShardByWorkload: func(string) bool { return on }, transport: &pages{}}
		keys := map[uint64]int{}
		for index := range 40 {
			table := series.NewTable()
			r := &rig{Pools: New(table, &sink{table: table}, opts, zap.NewNop(), nil), table: table}
			r.Shard(shard.Map{Index: index, Periods: []shard.Period{{Count: 40}}})
			r.apply(t, job(t, ""))
			r.discover(found...)
			s := r.Status()[0]
			for _, tg := range s.Targets {
				for _, l := range found {
					if string(l[model.AddressLabel]) != tg.Labels.Get("instance") {
						continue
					}
					key := PlacementKey("envoy", on, tg.Labels, tg.URL, l, nil)
					if keys[key]++; shard.Owner(key, 40) != index {
						t.Errorf("by workload %v: %s is at instance %d, want %d", on, tg.URL, index,
							shard.Owner(key, 40))
					}
				}
			}
		}
		if want := map[bool]int{false: 4, true: 3}[on]; len(keys) != want {
			t.Errorf("by workload %v: %d keys, want %d", on, len(keys), want)
		}
	}
}

// TestHiddenLabelsDoNotMatterWhileATargetMoves: a reload changes a label that no series has. The target is the same to
// the instance that has it now, so the one before sends no markers.
func TestHiddenLabelsDoNotMatterWhileATargetMoves(t *testing.T) {
	for name, opts := range map[string]Options{"by target": {}, "by workload": byWorkload()} {
		t.Run(name, func(t *testing.T) {
			fleetWith(t, 2, opts, changes(1, 2), func(t *testing.T, f *fleet) {
				host := movingHost(t)
				f.pages.set(host, "x 1\n")
				found := []model.LabelSet{at(host)}
				if opts.ShardByWorkload != nil {
					_, found = f.pods(3, movingDeployment(), oldHash)
				}
				f.discover(found...)
				pass(101 * time.Second)
				for _, r := range f.instances {
					r.apply(t, job(t, "  relabel_configs: [{target_label: __tmp_x, replacement: y}]\n"))
				}
				pass(50 * time.Second)
				for _, l := range found {
					all := f.of(string(l[model.AddressLabel]))
					for _, s := range all {
						if s.stale {
							t.Errorf("%s was marked stale by instance %d", l[model.AddressLabel], s.by)
						}
					}
					if last := all[len(all)-1]; last.by != 1 {
						t.Errorf("%s did not move", l[model.AddressLabel])
					}
				}
			})
		})
	}
}
