package discovery

import (
	"context"
	"math/rand/v2"
	"reflect"
	"strconv"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/relabel"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
	cachetesting "k8s.io/client-go/tools/cache/testing"
)

// groupSet holds the groups that a discovery has sent.
type groupSet struct {
	mu     sync.Mutex
	groups map[string]*targetgroup.Group // that have targets
}

// follow stores groups after change was applied to them, until ctx ends.
func (p *groupSet) follow(ctx context.Context, from <-chan []*targetgroup.Group,
	change func(*targetgroup.Group) *targetgroup.Group) {
	for {
		select {
		case <-ctx.Done():
			return
		case groups := <-from:
			p.mu.Lock()
			for _, g := range groups {
				if g = change(g); len(g.Targets) > 0 {
					p.groups[g.Source] = g
				} else {
					delete(p.groups, g.Source)
				}
			}
			p.mu.Unlock()
		}
	}
}

func (p *groupSet) has(source string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.groups[source] != nil
}

func (p *groupSet) equals(q *groupSet) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	q.mu.Lock()
	defer q.mu.Unlock()
	return reflect.DeepEqual(p.groups, q.groups)
}

// discoverFrom runs Prometheus' discovery over an informer of the source.
func discoverFrom(t *testing.T, source cache.ListerWatcher, transform cache.TransformFunc,
	change func(*targetgroup.Group) *targetgroup.Group) *groupSet {
	t.Helper()
	informer := cache.NewSharedIndexInformer(source, &corev1.Pod{}, 0, cache.Indexers{})
	seen := informer
	if transform != nil {
		if err := informer.SetTransform(transform); err != nil {
			t.Fatal(err)
		}
		seen = podInformer{informer}
	}
	events := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "x"}, []string{"role", "event"})
	pods := kubernetes.NewPod(nil, seen, nil, nil, nil, nil, false, false, false, events)
	p := &groupSet{groups: map[string]*targetgroup.Group{}}
	up := make(chan []*targetgroup.Group)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { informer.RunWithContext(ctx) })
	running.Go(func() { pods.Run(ctx, up) })
	running.Go(func() { p.follow(ctx, up, change) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return p
}

// TestTrimmedPodsFollowChanges: after pods are added, changed and deleted, trimmed pods lead to the same groups as
// whole pods.
func TestTrimmedPodsFollowChanges(t *testing.T) {
	source := cachetesting.NewFakeControllerSource()
	t.Cleanup(source.Shutdown)
	var rules []*relabel.Config
	for _, text := range ruleTexts()[:4] {
		rules = append(rules, parseRule(t, text))
	}
	r, shared := newReads(), newSharer()
	r.add(rules)
	want := discoverFrom(t, source, nil, func(g *targetgroup.Group) *targetgroup.Group {
		kept := map[string]bool{}
		for _, l := range append([]model.LabelSet{g.Labels}, g.Targets...) {
			for name := range l {
				kept[string(name)] = name == model.AddressLabel || canRead(rules, string(name))
			}
		}
		return restrict(g, kept)
	})
	got := discoverFrom(t, source, storing(r), func(g *targetgroup.Group) *targetgroup.Group {
		g = trimGroup(g, r)
		shared.share(g)
		for i, own := range g.Targets {
			g.Targets[i] = Own(own, g.Labels, model.LabelSet{})
		}
		return g
	})
	for _, name := range []string{"listed", "watched"} { // the source loses changes between its list and its watch
		pod := sidecarPod(name, "10.0.0.8")
		source.Add(&pod)
		eventually(t, "both see the pod", func() bool {
			return want.has("pod/shop/"+name) && got.has("pod/shop/"+name)
		})
	}
	rng := rand.New(rand.NewPCG(5, 6))
	there := map[int]bool{}
	for round := range 20 {
		for range 50 {
			n := rng.IntN(60)
			pod := generatedPod(rng, n)
			switch {
			case !there[n]:
				source.Add(pod)
				there[n] = true
			case rng.IntN(3) == 0:
				source.Delete(pod)
				delete(there, n)
			default:
				source.Modify(pod)
			}
		}
		last := sidecarPod("last-"+strconv.Itoa(round), "10.0.0.9")
		source.Add(&last)
		eventually(t, "both have the same groups",
			func() bool { return want.has("pod/shop/"+last.Name) && got.equals(want) })
	}
	if len(want.groups) < 30 {
		t.Errorf("only %d groups at the end", len(want.groups))
	}
}
