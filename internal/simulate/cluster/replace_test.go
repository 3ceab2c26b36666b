package cluster_test

import (
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/envoy-scraper/envoy-scraper/internal/simulate/cluster"
)

// newest returns the pod that was started last.
func (b *bed) newest() *cluster.Pod {
	pods := b.Pods()
	return pods[len(pods)-1]
}

// TestReplaced: what the API server shows, and who answers, after a pod has got a successor or other labels.
func TestReplaced(t *testing.T) {
	for name, check := range map[string]func(t *testing.T, b *bed, p *cluster.Pod, addr string){
		"same name, other address": func(t *testing.T, b *bed, p *cluster.Pod, _ string) {
			for range 20 {
				addr := p.Address()
				b.Recreate(p)
				pass(10 * time.Second)
				next := b.newest()
				if next == p || next.Name != p.Name || next.Address() == addr || !b.answers(next, next.Address()) {
					t.Fatalf("%s at %s follows %s at %s", next.Name, next.Address(), p.Name, addr)
				}
				p = next
			}
		},
		"address used at once": func(t *testing.T, b *bed, p *cluster.Pod, addr string) {
			b.TakeOver(p)
			next := b.newest()
			if next == p || next.Name == p.Name || !b.answers(next, addr) || b.shown(p) == nil {
				t.Errorf("%s follows %s at %s", next.Name, p.Name, addr)
			}
			pass(10 * time.Second)
			if b.shown(p) != nil || b.shown(next).Status.PodIP != p.Shown().Status.PodIP {
				t.Error("the pod before is still shown")
			}
		},
		"completes": func(t *testing.T, b *bed, p *cluster.Pod, addr string) {
			b.Complete(p)
			if b.shown(p).Status.Phase != corev1.PodSucceeded || b.answers(p, addr) {
				t.Errorf("shown as %s", b.shown(p).Status.Phase)
			}
			b.Delete(p, time.Second)
			pass(10 * time.Second)
			if b.shown(p) != nil {
				t.Error("still shown")
			}
		},
		"a label changes": func(t *testing.T, b *bed, p *cluster.Pod, addr string) {
			before := b.shown(p).Labels["track"]
			b.Relabel(p)
			if b.shown(p).Labels["track"] == before || !b.answers(p, addr) {
				t.Errorf("track is %s, as before", before)
			}
		},
		"without the port": func(t *testing.T, b *bed, _ *cluster.Pod, _ string) {
			p := b.StartWithoutPort("cart")
			pass(5 * time.Second)
			for _, c := range append(b.shown(p).Spec.Containers, b.shown(p).Spec.InitContainers...) {
				for _, port := range c.Ports {
					if port.ContainerPort == cluster.EnvoyPort {
						t.Errorf("%s declares %s", c.Name, port.Name)
					}
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t, 1)
				defer b.close()
				p := b.Start("cart")
				pass(5 * time.Second)
				check(t, b, p, p.Address())
			})
		})
	}
}
