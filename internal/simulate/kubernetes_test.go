package simulate

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	promkubernetes "github.com/prometheus/prometheus/discovery/kubernetes"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
	cachetesting "k8s.io/client-go/tools/cache/testing"

	"github.com/envoy-scraper/envoy-scraper/internal/simulate/apiserver"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/cluster"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/network"
)

// TestDiscoveredTargets: the oracle's labels of pods are those of Prometheus' discovery.
func TestDiscoveredTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cluster.New(cluster.Options{Network: network.New(1), API: apiserver.New(1), Seed: 1})
		defer c.Close()
		for range 5 { // every third has a native sidecar
			c.Start("cart")
		}
		c.StartWithoutPort("plain")
		time.Sleep(10 * time.Second)
		c.Relabel(c.Pods()[0])
		c.Evict(c.Pods()[1])
		c.Complete(c.Pods()[2])
		pending := c.Start("pending")
		for _, p := range c.Pods() {
			want, got := discovered(t, p.Shown()), discoveredTargets(p.Shown())
			if len(got) != len(want) || (len(got) == 0) != (p == pending) {
				t.Fatalf("%s: %d targets, Prometheus finds %d", p.Name, len(got), len(want))
			}
			for i := range got {
				if !labels.Equal(got[i], want[i]) {
					t.Errorf("%s:\n%v, Prometheus finds\n%v", p.Name, got[i], want[i])
				}
			}
		}
	})
}

// discovered returns the targets that Prometheus' discovery makes of a pod. It leaves out labels without a value, as
// Prometheus does.
func discovered(t *testing.T, pod *corev1.Pod) (targets []labels.Labels) {
	ctx, cancel := context.WithCancel(t.Context())
	source := cachetesting.NewFakeControllerSource()
	source.Add(pod)
	informer := cache.NewSharedIndexInformer(source, &corev1.Pod{}, 0, cache.Indexers{})
	events := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "x"}, []string{"role", "event"})
	changes := make(chan []*targetgroup.Group, 10)
	pods := promkubernetes.NewPod(nil, informer, nil, nil, nil, nil, false, false, false, events)
	go informer.RunWithContext(ctx)
	go pods.Run(ctx, changes)
	group := (<-changes)[0]
	cancel()
	source.Shutdown()
	for _, target := range group.Targets {
		b := labels.NewBuilder(labels.EmptyLabels())
		for name, value := range group.Labels.Merge(target) {
			b.Set(string(name), string(value))
		}
		targets = append(targets, b.Labels())
	}
	return targets
}
