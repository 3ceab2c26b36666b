package scrape

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
	"github.com/envoy-scraper/envoy-scraper/internal/shard"
)

// fullRelabel is the reference: it keeps all groups of a job and relabels everything.
type fullRelabel struct {
	cfg    *promconfig.ScrapeConfig // in force
	next   *promconfig.ScrapeConfig // waits for an update
	groups map[groupKey]*targetgroup.Group
	shards shard.Map

	workloads, nextWorkloads bool // with cfg and next: the targets are shared by workload
	toApply                  bool // what the pools read when a configuration is applied
}

// placement is the reference of placement keys. The least key of equal targets counts.
func (f *fullRelabel) placement(t *target, own, group model.LabelSet) uint64 {
	const meta = "__meta_kubernetes_"
	all := group.Merge(own)
	kind, name := all[meta+"pod_controller_kind"], string(all[meta+"pod_controller_name"])
	if !f.workloads || kind == "" || name == "" || all[meta+"namespace"] == "" || all[meta+"pod_name"] == "" {
		return shard.Key(t.labels, t.url)
	}
	if kind == "ReplicaSet" {
		name = regexp.MustCompile("-[bcdfghjklmnpqrstvwxz2456789]{8,10}$").ReplaceAllString(name, "")
	}
	return shard.WorkloadKey("envoy", string(all[meta+"namespace"]), string(kind)+"/"+name)
}

// picture is what pages show of a job.
type picture struct {
	targets, dropped, errors []string
	droppedCount, others     int
	overLimit                bool
}

// picture relabels everything.
func (f *fullRelabel) picture() picture {
	var p picture
	maker := &relabeler{cfg: f.cfg, builder: labels.NewBuilder(labels.EmptyLabels()), scratch: model.LabelSet{}}
	keys := map[uint64]uint64{} // by hash
	for _, g := range f.groups {
		for i, own := range g.Targets {
			if t, err := maker.target(g, i); err == nil && t != nil {
				key := f.placement(t, own, g.Labels)
				if least, ok := keys[t.hash]; ok {
					key = min(key, least)
				}
				keys[t.hash] = key
			}
		}
	}
	seen := map[uint64]bool{}
	for _, key := range slices.SortedFunc(maps.Keys(f.groups), groupKey.compare) {
		g := f.groups[key]
		for i, own := range g.Targets {
			shown := discovered(f.cfg, own, g.Labels).String()
			t, err := maker.target(g, i)
			switch {
			case err != nil:
				p.errors = append(p.errors, fmt.Sprintf("target %d of %s: %v", i, g.Source, err))
			case t == nil:
				p.droppedCount++
				if n := f.cfg.KeepDroppedTargets; n == 0 || len(p.dropped) < int(n) {
					p.dropped = append(p.dropped, shown)
				}
			case seen[t.hash]:
			case f.shards.On() && !f.shards.Mine(keys[t.hash], f.shards.At(time.Now()).Count):
				seen[t.hash] = true
				p.others++
			default:
				seen[t.hash] = true
				p.targets = append(p.targets, fmt.Sprintln(t.url, t.labels, t.interval, t.timeout, shown))
			}
		}
	}
	p.overLimit = f.cfg.TargetLimit > 0 && len(seen) > int(f.cfg.TargetLimit)
	slices.Sort(p.targets)
	return p
}

// shown returns the picture of the only job of the pools.
func (r *rig) shown() picture {
	s := r.Status()[0]
	p := picture{errors: s.Errors, droppedCount: s.DroppedCount, others: s.Others}
	for _, t := range s.Targets {
		p.targets = append(p.targets, fmt.Sprintln(t.URL, t.Labels, t.Interval, t.Timeout, t.Discovered()))
	}
	for _, d := range s.Dropped {
		p.dropped = append(p.dropped, d.Discovered().String())
	}
	p.overLimit = r.jobs["envoy"].targetLimitError() != nil
	slices.Sort(p.targets)
	return p
}

// randomRules makes jobs that differ in which targets are dropped, invalid or equal, and in their labels.
func randomRules(t *testing.T, rng *rand.Rand) *promconfig.ScrapeConfig {
	rules := []string{
		"{source_labels: [__address__], regex: 'h[0-2].*', action: drop}",
		"{source_labels: [__meta_app], regex: 'a|b', action: keep}",
		"{source_labels: [__meta_app], target_label: app}",
		"{source_labels: [__address__], regex: '(h.).*', target_label: __address__, replacement: '$1:1'}",
		"{source_labels: [__meta_app], regex: c, target_label: __scrape_interval__, replacement: never}",
		"{source_labels: [__meta_zone], target_label: __tmp_zone}",
		"{source_labels: [__meta_zone], target_label: __metrics_path__, replacement: '/$1'}",
		"{source_labels: [__meta_zone], target_label: instance}",
	}
	rng.Shuffle(len(rules), func(i, j int) { rules[i], rules[j] = rules[j], rules[i] })
	return job(t, fmt.Sprintf("  keep_dropped_targets: %d\n  target_limit: %d\n  relabel_configs: [%s]\n",
		rng.IntN(4), rng.IntN(3)*6, strings.Join(rules[:rng.IntN(4)], ", ")))
}

// randomGroup has up to three targets, some of which other groups have too.
func randomGroup(rng *rand.Rand, source string) *targetgroup.Group {
	pick := func(from string) model.LabelValue { i := rng.IntN(len(from)); return model.LabelValue(from[i : i+1]) }
	g := &targetgroup.Group{Source: source, Labels: model.LabelSet{"__meta_app": pick("abcd"),
		"__meta_from": model.LabelValue(source)}}
	if rng.IntN(3) > 0 { // a pod of a workload
		const meta = "__meta_kubernetes_"
		g.Labels[meta+"namespace"], g.Labels[meta+"pod_name"] = "shop", model.LabelValue(source)
		g.Labels[meta+"pod_controller_kind"] = []model.LabelValue{"ReplicaSet", "StatefulSet", ""}[rng.IntN(3)]
		hash := []model.LabelValue{"", "-6c9f8bcb9d", "-7f6d8c4b5c"}[rng.IntN(3)]
		g.Labels[meta+"pod_controller_name"] = pick("ab") + hash
	}
	for range rng.IntN(4) {
		g.Targets = append(g.Targets, model.LabelSet{
			model.AddressLabel: "h" + pick("0123456789") + ":" + pick("12"), "__meta_zone": pick("xy"),
		})
	}
	return g
}

// step does something at random, to the pools and to the reference.
func (f *fullRelabel) step(t *testing.T, rng *rand.Rand, r *rig) (did string) {
	switch n := rng.IntN(100); {
	case n < 60: // some groups change
		u := discovery.Update{}
		for _, n := range rng.Perm(16)[:1+rng.IntN(3)] {
			key := groupKey{uint64(n % 2), fmt.Sprint("g", n/2)}
			g := randomGroup(rng, key.source)
			u.Groups = append(u.Groups, discovery.Group{Discovery: key.discovery, Group: g})
			f.set(key, g)
		}
		f.update(r, u)
		return "groups change"
	case n < 70: // all groups are named, some are the same
		u := discovery.Update{Whole: true}
		for key, g := range maps.Clone(f.groups) {
			switch rng.IntN(4) {
			case 0:
				delete(f.groups, key)
				continue
			case 1:
				g = randomGroup(rng, key.source)
				f.set(key, g)
			}
			u.Groups = append(u.Groups, discovery.Group{Discovery: key.discovery, Group: g})
		}
		f.update(r, u)
		return "a whole picture"
	case n < 85:
		cfg := randomRules(t, rng)
		workloads := f.flip(rng)
		r.apply(t, cfg)
		f.cfg, f.next, f.workloads = cfg, nil, workloads
		return "other rules"
	case n < 87: // the same rules
		workloads := f.flip(rng)
		r.apply(t, f.cfg)
		f.next, f.workloads = nil, workloads
		return fmt.Sprint("by workload: ", workloads)
	case n < 90:
		cfg := randomRules(t, rng)
		r.Hold([]string{"envoy"})
		f.nextWorkloads = f.flip(rng)
		r.apply(t, cfg)
		if f.next = cfg; asText(*cfg) == asText(*f.cfg) && f.workloads == f.nextWorkloads {
			f.next = nil
		}
		return "rules that wait"
	case n < 92:
		r.apply(t)
		f.toApply = f.workloads
		r.apply(t, f.cfg)
		f.next = nil
		clear(f.groups)
		return "the job goes and comes back"
	default:
		f.shards = shard.Map{}
		if count := rng.IntN(4); count > 0 {
			f.shards = shard.Map{Index: rng.IntN(count), Periods: []shard.Period{{Count: count}}}
		}
		r.Shard(f.shards)
		return fmt.Sprint("shards ", f.shards)
	}
}

// flip says whether the next configuration shares by workload.
func (f *fullRelabel) flip(rng *rand.Rand) bool {
	f.toApply = rng.IntN(2) == 0
	return f.toApply
}

func (f *fullRelabel) set(key groupKey, g *targetgroup.Group) {
	if f.groups[key] = g; len(g.Targets) == 0 {
		delete(f.groups, key)
	}
}

func (f *fullRelabel) update(r *rig, u discovery.Update) {
	r.Pools.Update(map[string]discovery.Update{"envoy": u})
	if f.next != nil {
		f.cfg, f.next, f.workloads = f.next, nil, f.nextWorkloads
	}
}

// TestChangesComeToTheSameAsEverything: after any change, the targets are the same as if all groups were relabeled by
// the rules in force, and so are the dropped and invalid ones.
func TestChangesComeToTheSameAsEverything(t *testing.T) {
	const steps = 10_000
	synctest.Test(t, func(t *testing.T) {
		table := series.NewTable()
		s, pages := &sink{table: table}, &pages{}
		rng := rand.New(rand.NewPCG(11, 3))
		f := &fullRelabel{cfg: randomRules(t, rng), groups: map[groupKey]*targetgroup.Group{}}
		r := &rig{Pools: New(table, s, Options{transport: pages, Sharded: true,
			ShardByWorkload: func(string) bool { return f.toApply }}, zap.NewNop(), nil), sink: s,
			pages: pages, table: table}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		r.apply(t, f.cfg)
		seen := picture{}
		for i := range steps {
			did := f.step(t, rng, r)
			got, want := r.shown(), f.picture()
			if !equalPictures(got, want) {
				t.Errorf("step %d, %s:\ngot  %+v\nwant %+v", i, did, got, want)
				break
			}
			if full := r.FullStatus()[0]; len(full.Elsewhere) != got.others {
				t.Errorf("step %d, %s: %d targets of others are listed, %d counted", i, did, len(full.Elsewhere),
					got.others)
			}
			seen.add(got)
			if rng.IntN(8) == 0 { // departing loops end
				pass(time.Duration(rng.IntN(20)) * time.Second)
			}
			s.forget()
		}
		if len(seen.targets) == 0 || len(seen.dropped) == 0 || len(seen.errors) == 0 || seen.others == 0 ||
			!seen.overLimit {
			t.Errorf("not everything was seen: %d targets, %d dropped, %d invalid, %d of others, over the limit: %v",
				len(seen.targets), len(seen.dropped), len(seen.errors), seen.others, seen.overLimit)
		}
		r.Shard(shard.Map{})
		r.Pools.Update(map[string]discovery.Update{"envoy": {Whole: true}})
		pass(time.Minute)
		if n := table.Len(); n != 0 {
			t.Errorf("%d series left in the table", n)
		}
		w := r.jobs["envoy"].wanted
		if len(w.groups)+len(w.targets)+len(w.equals)+len(w.keys)+w.others+w.dropped+w.invalid != 0 {
			t.Errorf("left of groups that are gone: %+v", w)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// forget drops all batches.
func (s *sink) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = s.got[:0]
}

func equalPictures(a, b picture) bool {
	return slices.Equal(a.targets, b.targets) && slices.Equal(a.dropped, b.dropped) &&
		slices.Equal(a.errors, b.errors) &&
		a.droppedCount == b.droppedCount && a.others == b.others && a.overLimit == b.overLimit
}

// add notes what was seen at least once.
func (p *picture) add(q picture) {
	p.targets, p.dropped, p.errors = append(p.targets, q.targets...), append(p.dropped, q.dropped...),
		append(p.errors, q.errors...)
	p.others += q.others
	p.overLimit = p.overLimit || q.overLimit
}

// TestAnEventOfOnePodCostsTheSameAmongManyPods: the cost does not grow with the number of pods.
func TestAnEventOfOnePodCostsTheSameAmongManyPods(t *testing.T) {
	const pods, events, most = 5_000, 100, 64 << 10 // with the race detector 27 KB
	ps, name, groups := mesh(t, pods)
	ps.Update(map[string]discovery.Update{name: wholeUpdate(groups)})
	if n := len(ps.jobs[name].loops); n != pods {
		t.Fatalf("%d targets, want %d", n, pods)
	}
	updates := make([]map[string]discovery.Update, events)
	for i := range updates {
		updates[i] = map[string]discovery.Update{name: {Groups: []discovery.Group{{Discovery: uint64(i),
			Group: meshPod(i, 1)}}}}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, u := range updates {
		ps.Update(u)
	}
	runtime.ReadMemStats(&after)
	if n := (after.TotalAlloc - before.TotalAlloc) / events; n > most {
		t.Errorf("an event of one pod among %d allocates %d bytes, want at most %d", pods, n, most)
	}
}

// TestAChangeTouchesItsGroupOnly: groups that did not change are not relabeled, even if the update names them.
func TestAChangeTouchesItsGroupOnly(t *testing.T) {
	ps, name, groups := mesh(t, 100)
	all := wholeUpdate(groups)
	p := ps.jobs[name]
	if n := len(p.wanted.changes(all)); n != 100 {
		t.Fatalf("%d changes at first, want 100", n)
	}
	ps.Update(map[string]discovery.Update{name: all})
	before := maps.Clone(p.wanted.groups)
	all = wholeUpdate(groups)
	all.Groups[7].Group = meshPod(7, 1)
	if n := len(p.wanted.changes(all)); n != 1 {
		t.Errorf("%d changes of one group, want 1", n)
	}
	ps.Update(map[string]discovery.Update{name: all})
	relabeled := 0
	for key, r := range p.wanted.groups {
		if before[key] != r {
			relabeled++
		}
	}
	if relabeled != 1 {
		t.Errorf("%d groups were relabeled for one that changed", relabeled)
	}
}

// TestPagesDoNotWaitForAnUpdate: an update may relabel for seconds; pages and ends of loops do not wait for it.
func TestPagesDoNotWaitForAnUpdate(t *testing.T) {
	ps, name, groups := mesh(t, 3)
	ps.Update(map[string]discovery.Update{name: wholeUpdate(groups)})
	p := ps.jobs[name]
	ps.changing.Lock() // as an update does while it relabels
	defer ps.changing.Unlock()
	if n := len(ps.Status()[0].Targets); n != 3 {
		t.Errorf("%d targets, want 3", n)
	}
	for _, l := range p.loops {
		ps.ended(l)
		break
	}
	if n := len(ps.Status()[0].Targets); n != 2 || !ps.lostLoop {
		t.Errorf("%d targets after one ended, want 2", n)
	}
}

// TestPagesDoNotWaitForARemovedJob: ending the loops of a large job takes time; pages do not wait for it.
func TestPagesDoNotWaitForARemovedJob(t *testing.T) {
	ps, name, groups := mesh(t, 3)
	ps.Update(map[string]discovery.Update{name: wholeUpdate(groups)})
	ps.schedule.mu.Lock() // so that no loop can end
	done := make(chan error)
	go func() { done <- ps.Apply(nil) }()
	eventually(t, "pages show that the job is gone", func() bool { return len(ps.Status()) == 0 })
	ps.schedule.mu.Unlock()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
