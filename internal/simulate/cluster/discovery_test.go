package cluster_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/envoy-scraper/envoy-scraper/internal/chance"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/apiserver"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/cluster"
)

// discover runs Prometheus' discovery of pods until ctx ends, and returns the targets that the built-in job keeps: the
// ports of Envoys of pods that have not ended, as "name at address".
func (b *bed) discover(ctx context.Context) (targets func() []string) {
	b.t.Helper()
	const api = "10.0.0.2"
	l, err := b.net.Host(api).Listen("tcp", ":80")
	if err != nil {
		b.t.Fatal(err)
	}
	b.background.Go(func() { b.api.Serve(l) })
	context.AfterFunc(ctx, func() { _ = l.Close() })
	client, err := corev1client.NewForConfig(&rest.Config{Host: "http://" + api, Dial: b.net.Host("10.0.0.3").Dial})
	if err != nil {
		b.t.Fatal(err)
	}
	informer := cache.NewSharedIndexInformer(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return client.Pods("").List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return client.Pods("").Watch(ctx, o)
		},
	}, &corev1.Pod{}, 0, cache.Indexers{})
	_ = informer.SetWatchErrorHandlerWithContext(func(context.Context, *cache.Reflector, error) {})
	events := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "x"}, []string{"role", "event"})
	pods := kubernetes.NewPod(nil, informer, nil, nil, nil, nil, false, false, false, events)
	changes := make(chan []*targetgroup.Group)
	b.background.Go(func() { informer.RunWithContext(ctx) })
	b.background.Go(func() { pods.Run(ctx, changes) })
	groups := map[string]*targetgroup.Group{}
	b.background.Go(func() {
		for {
			select {
			case changed := <-changes:
				b.mu.Lock()
				for _, g := range changed {
					groups[g.Source] = g
				}
				b.mu.Unlock()
			case <-ctx.Done():
				return
			}
		}
	})
	return func() (found []string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, source := range slices.Sorted(maps.Keys(groups)) {
			g := groups[source]
			phase := g.Labels["__meta_kubernetes_pod_phase"]
			for _, t := range g.Targets {
				port := string(t["__meta_kubernetes_pod_container_port_name"])
				if strings.HasSuffix(port, "-envoy-prom") && phase != "Failed" && phase != "Succeeded" {
					name := g.Labels["__meta_kubernetes_pod_name"]
					found = append(found, fmt.Sprintf("%s at %s", name, t[model.AddressLabel]))
				}
			}
		}
		return found
	}
}

// TestDiscovery: some minutes after the last fault, Prometheus' discovery of pods has found the pods that run.
func TestDiscovery(t *testing.T) {
	for seed := range uint64(6) {
		synctest.Test(t, func(t *testing.T) {
			b := newBed(t, seed)
			defer b.close()
			ctx, cancel := context.WithCancel(t.Context())
			targets := b.discover(ctx)
			rnd := chance.Seeded(seed).Of("test").Rand()
			for i := range 30 {
				b.Start(fmt.Sprint("w", i%5))
			}
			for range 100 {
				pods := b.Pods()
				switch p := pods[rnd.IntN(len(pods))]; rnd.IntN(8) {
				case 0:
					b.Delete(p, 10*time.Second)
				case 1:
					b.Evict(p)
				case 2:
					b.Move(p, 10*time.Second)
				case 3:
					b.Restart(p)
				case 4:
					b.api.Rewind(rnd.IntN(3))
					pass(10 * time.Second)
					b.Show()
				case 5:
					kind := apiserver.Kind(1 + rnd.IntN(6))
					b.api.Begin("x", apiserver.Fault{Kind: kind, Delay: time.Second, Status: 500})
				default:
					b.Start(p.Workload)
				}
				pass(time.Duration(rnd.IntN(20_000)) * time.Millisecond)
				b.api.End("x")
			}
			b.Lose(0)
			pass(20 * time.Minute)
			var want []string
			for _, p := range b.Pods() {
				if p.State() == cluster.Running {
					want = append(want, p.Name+" at "+p.Address())
				}
			}
			slices.Sort(want)
			got := targets()
			slices.Sort(got)
			if !slices.Equal(got, want) || len(want) < 10 {
				t.Errorf("seed %d: found %q, want %q", seed, got, want)
			}
			cancel()
			b.background.Wait()
		})
	}
}
