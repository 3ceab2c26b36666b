package cluster_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/envoy-scraper/envoy-scraper/internal/chance"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/apiserver"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/cluster"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/network"
	"github.com/envoy-scraper/envoy-scraper/internal/simulate/sidecar"
)

func pass(d time.Duration) { <-time.After(d) }

// bed is a cluster, and a client in its network.
type bed struct {
	*cluster.Cluster
	t      *testing.T
	net    *network.Network
	api    *apiserver.Server
	client *http.Client

	background sync.WaitGroup

	mu     sync.Mutex // guards the following
	trace  bytes.Buffer
	states map[*cluster.Pod][]cluster.State
	served map[*cluster.Pod]int
}

func newBed(t *testing.T, seed uint64) *bed {
	b := &bed{
		t: t, net: network.New(seed), api: apiserver.New(seed), states: map[*cluster.Pod][]cluster.State{},
		served: map[*cluster.Pod]int{},
	}
	b.Cluster = cluster.New(cluster.Options{
		Network: b.net, API: b.api, Seed: seed,
		Changed: func(p *cluster.Pod, s cluster.State) {
			addr := p.Address()
			b.mu.Lock()
			defer b.mu.Unlock()
			b.states[p] = append(b.states[p], s)
			fmt.Fprintln(&b.trace, time.Now().UnixNano(), p.Name, p.Node, addr, s)
		},
		Served: func(p *cluster.Pod, page *sidecar.Page) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.served[p]++
			fmt.Fprintln(&b.trace, time.Now().UnixNano(), p.Name, page.Client, page.Status, len(page.Samples))
		},
		Refused: func(p *cluster.Pod, err error) { t.Errorf("%s refuses %v", p.Name, err) },
	})
	transport := &http.Transport{DialContext: b.net.Host("10.0.0.1").Dial, DisableKeepAlives: true}
	b.client = &http.Client{Transport: transport, Timeout: 5 * time.Second}
	return b
}

func (b *bed) close() {
	b.Close()
	pass(time.Second)
	if n := b.net.Open(); n != 0 {
		b.t.Errorf("%d sockets are left", n)
	}
}

// answers scrapes a pod at an address and reports whether it was that pod that answered.
func (b *bed) answers(p *cluster.Pod, addr string) bool {
	served := func() int {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.served[p]
	}
	before := served()
	if resp, err := b.client.Get("http://" + addr + "/stats/prometheus"); err == nil {
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	return served() > before
}

// shown returns the pod as the API server shows it.
func (b *bed) shown(p *cluster.Pod) *corev1.Pod {
	for _, o := range b.api.Pods() {
		if o.Name == p.Name {
			return o
		}
	}
	return nil
}

func TestLives(t *testing.T) {
	type c = cluster.State
	for name, tc := range map[string]struct {
		do   func(b *bed, p *cluster.Pod)
		want []cluster.State // after Pending, Running
		left bool            // the API server still shows it
	}{
		"deleted": {func(b *bed, p *cluster.Pod) { b.Delete(p, 30*time.Second) },
			[]c{cluster.Terminating, cluster.Ended, cluster.Gone}, false},
		"evicted": {func(b *bed, p *cluster.Pod) { b.Evict(p) }, []c{cluster.Failed}, true},
		"evicted, deleted": {func(b *bed, p *cluster.Pod) { b.Evict(p); b.Delete(p, time.Second) },
			[]c{cluster.Failed, cluster.Gone}, false},
		"moved": {func(b *bed, p *cluster.Pod) { b.Move(p, 30*time.Second) },
			[]c{cluster.Terminating, cluster.Ended, cluster.Gone}, false},
		"lost": {func(b *bed, p *cluster.Pod) { b.Lose(0); b.Lose(1); b.Lose(2) },
			[]c{cluster.Lost, cluster.Gone}, false},
		"deleted, evicted": {func(b *bed, p *cluster.Pod) { b.Delete(p, 30*time.Second); b.Evict(p) },
			[]c{cluster.Terminating, cluster.Failed}, true},
		"restarted": {func(b *bed, p *cluster.Pod) {
			b.Restart(p)
			if b.answers(p, p.Address()) {
				b.t.Error("an Envoy that is starting again answers")
			}
		}, []c{cluster.Running}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBed(t, 1)
				defer b.close()
				p := b.Start("cart")
				pass(5 * time.Second)
				addr := p.Address()
				if o := b.shown(p); o.Status.Phase != corev1.PodRunning || addr != o.Status.PodIP+":15090" {
					t.Fatalf("shown as %s at %s", o.Status.Phase, o.Status.PodIP)
				}
				if !b.answers(p, addr) {
					t.Error("a running pod does not answer")
				}
				tc.do(b, p)
				pass(time.Minute)
				runs := tc.want[len(tc.want)-1] == cluster.Running
				if b.answers(p, addr) != runs {
					t.Errorf("answers: %v", !runs)
				}
				pass(10 * time.Minute)
				want := append([]cluster.State{cluster.Pending, cluster.Running}, tc.want...)
				b.mu.Lock()
				defer b.mu.Unlock()
				if got := b.states[p]; fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("states %v, want %v", got, want)
				}
				if o := b.shown(p); (o != nil) != tc.left {
					t.Errorf("shown: %v", o)
				} else if o != nil && !runs && o.Status.Phase != corev1.PodFailed {
					t.Errorf("shown as %s", o.Status.Phase)
				}
			})
		})
	}
}

// TestAddressesAreUsedAgain, also while the API server still shows the pod that had one before.
func TestAddressesAreUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 1)
		defer b.close()
		for i := range 10 {
			b.Start(fmt.Sprint("w", i))
		}
		again, beside := 0, 0
		before := map[string]bool{}
		for range 100 {
			pass(20 * time.Second)
			pods := b.Pods()
			if p := pods[len(pods)/2]; p.State() == cluster.Running {
				before[p.Address()] = true
				b.Evict(p)
				pass(3 * time.Second)
				next := b.Start(p.Workload)
				pass(5 * time.Second)
				if before[next.Address()] {
					again++
					if b.shown(p) != nil && next.Address() == p.Address() {
						beside++
					}
				}
			}
			b.Delete(b.Pods()[0], time.Second)
		}
		if again < 20 || beside < 5 {
			t.Errorf("%d addresses were used again, %d while the former pod was shown", again, beside)
		}
	})
}

// TestShow: after a rewind of the API server, Show tells it the truth again.
func TestShow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 1)
		defer b.close()
		old := b.Start("old")
		pass(5 * time.Second)
		b.Delete(old, time.Second)
		p := b.Start("cart")
		pass(5 * time.Second)
		b.api.Rewind(4)
		if b.shown(old) == nil && b.shown(p) != nil {
			t.Fatal("nothing was taken back")
		}
		b.Show()
		if o := b.shown(p); o == nil || o.Status.Phase != corev1.PodRunning || b.shown(old) != nil {
			t.Errorf("shown: %v", b.api.Pods())
		}
	})
}

// TestShowLost: a pod on a node without power is shown as before, whether it was running or pending.
func TestShowLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, 1)
		defer b.close()
		running := b.Start("cart")
		pass(5 * time.Second)
		pods := []*cluster.Pod{running, b.Start("cart")}
		var want []corev1.PodStatus
		for _, p := range pods {
			want = append(want, b.shown(p).Status)
		}
		for node := range 3 {
			b.Lose(node)
		}
		b.Show()
		for i, p := range pods {
			if got := b.shown(p).Status; p.State() != cluster.Lost || !reflect.DeepEqual(got, want[i]) {
				t.Errorf("shown as %s, %v, want %s, %v", got.Phase, got.Conditions, want[i].Phase, want[i].Conditions)
			}
		}
	})
}

// TestSameSeedSameTrace: the same seed gives the same lives and pages, byte for byte.
func TestSameSeedSameTrace(t *testing.T) {
	run := func(seed uint64) (trace string) {
		synctest.Test(t, func(t *testing.T) {
			b := newBed(t, seed)
			defer b.close()
			rnd := chance.Seeded(seed).Of("test").Rand()
			for i := range 300 {
				pass(time.Duration(rnd.IntN(5000)) * time.Millisecond)
				pods := b.Pods()
				if len(pods) < 10 {
					b.Start(fmt.Sprint("w", i%4))
					continue
				}
				p := pods[rnd.IntN(len(pods))]
				switch rnd.IntN(8) {
				case 0:
					b.Delete(p, 30*time.Second)
				case 1:
					b.Evict(p)
				case 2:
					b.Restart(p)
				case 3:
					b.Move(p, time.Second)
				case 4:
					if rnd.IntN(10) == 0 {
						b.Lose(rnd.IntN(3))
					}
				default:
					if addr := p.Address(); addr != "" {
						b.answers(p, addr)
					}
				}
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			trace = b.trace.String()
		})
		return trace
	}
	for seed := range uint64(5) {
		if first := run(seed); first != run(seed) {
			t.Errorf("seed %d has two traces", seed)
		} else if first == run(seed+100) {
			t.Errorf("seeds %d and %d have the same trace", seed, seed+100)
		}
	}
}
