package discovery

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/promslog"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
)

// emptyNamespaces is a client for namespaces without pods. Watches have no events, and lists are not streamed.
type emptyNamespaces struct {
	mu      sync.Mutex
	watched map[string]bool // namespaces that were listed and are watched
	refuse  error           // of all watches
}

type emptyNamespace struct {
	corev1client.PodInterface
	all  *emptyNamespaces
	name string
}

func (e *emptyNamespaces) Pods(name string) corev1client.PodInterface {
	return emptyNamespace{all: e, name: name}
}

func (n emptyNamespace) List(context.Context, metav1.ListOptions) (*corev1.PodList, error) {
	return &corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: "1"}}, nil
}

func (n emptyNamespace) Watch(_ context.Context, o metav1.ListOptions) (watch.Interface, error) {
	if n.all.refuse != nil {
		return nil, n.all.refuse
	}
	if o.SendInitialEvents != nil {
		return nil, fmt.Errorf("no streaming lists here")
	}
	n.all.mu.Lock()
	defer n.all.mu.Unlock()
	n.all.watched[n.name] = true
	return watch.NewFake(), nil
}

// TestNamespacesAreListedConcurrently: a job can name many namespaces. Each is listed and watched on its own.
func TestNamespacesAreListedConcurrently(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := newKubeMetrics(prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		api := &emptyNamespaces{watched: map[string]bool{}}
		d := &podDiscovery{log: promslog.NewNopLogger(), client: api, reads: newReads(), metrics: m,
			events: new(provider)}
		for i := range 40 {
			d.namespaces = append(d.namespaces, fmt.Sprint("n", i))
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { d.Run(ctx, nil) })
		<-time.After(2 * time.Second) // client-go takes a moment before it lists
		synctest.Wait()
		api.mu.Lock()
		if n := len(api.watched); n != len(d.namespaces) {
			t.Errorf("%d of %d namespaces are watched after 2 s", n, len(d.namespaces))
		}
		api.mu.Unlock()
		cancel()
		running.Wait()
	})
}

// TestEndWhileTheServerIsAway: the discovery ends soon, although client-go waits for its next try.
func TestEndWhileTheServerIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := newKubeMetrics(prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		d := &podDiscovery{log: promslog.NewNopLogger(), client: &emptyNamespaces{refuse: syscall.ECONNREFUSED},
			reads: newReads(), metrics: m, events: new(provider), namespaces: []string{"shop"}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			d.Run(ctx, nil)
		}()
		<-time.After(3 * time.Minute) // the pauses between tries have become long
		cancel()
		<-time.After(longestEnd)
		synctest.Wait()
		select {
		case <-done:
		default:
			t.Error("the discovery has not ended")
		}
		<-time.After(time.Minute) // client-go has ended, too
	})
}

// TestManyNamespacesAreWatched: a job names 200 namespaces. All are watched, and the pod is found.
func TestManyNamespacesAreWatched(t *testing.T) {
	api := newFakeAPI(t)
	api.pods = append(api.pods, sidecarPod("reviews", "10.0.0.1"))
	h := newHarness(t, zap.NewNop())
	j := api.podJob(t, "a")
	c := j.ServiceDiscoveryConfigs[0].(*kubernetes.SDConfig)
	for i := range 200 {
		c.NamespaceDiscovery.Names = append(c.NamespaceDiscovery.Names, fmt.Sprint("n", i))
	}
	apply(t, h.Manager, j)
	h.start(t)
	eventually(t, "all namespaces", func() bool {
		return h.isSynced() && h.found("a") == 1 && api.count("watch pods") >= 400
	})
}

// TestNewRulesWaitForEveryNamespace: the groups of some namespaces are not a complete set. New rules that read more
// labels wait for the last namespace.
func TestNewRulesWaitForEveryNamespace(t *testing.T) {
	api := newFakeAPI(t)
	api.pods = append(api.pods, appPod("reviews", "10.0.0.1"))
	h := newHarness(t, zap.NewNop())
	job := func(rules ...string) []*promconfig.ScrapeConfig {
		j := withRules(t, api.podJob(t, "a"), rules...)
		j.ServiceDiscoveryConfigs[0].(*kubernetes.SDConfig).NamespaceDiscovery.Names = []string{"shop", "late"}
		return []*promconfig.ScrapeConfig{j}
	}
	status := func(later time.Duration) ProviderStatus {
		h.Manager.mu.Lock()
		defer h.Manager.mu.Unlock()
		return h.providers[0].status(time.Now().Add(later), h.pace)
	}
	apply(t, h.Manager, job()...)
	h.start(t)
	eventually(t, "both namespaces", func() bool { return h.isSynced() && status(0).Synced })

	slow := make(chan struct{})
	api.set(func(f *fakeAPI) {
		f.before = func(r *http.Request) {
			if r.URL.Path == "/api/v1/namespaces/late/pods" && r.URL.Query().Get("limit") != "1" {
				<-slow
			}
		}
	})
	more := job(readApp)
	h.Hold(more)
	apply(t, h.Manager, more...)
	eventually(t, "the first namespace", func() bool { return status(0).Groups == 1 })
	if status(h.pace.quiet).Synced {
		t.Error("the set counts as complete without the other namespace")
	}
	h.Manager.mu.Lock()
	released := h.jobIsWhole(time.Now().Add(time.Hour), "a")
	h.Manager.mu.Unlock()
	if released {
		t.Error("the new rules would be applied without the other namespace")
	}
	close(slow)
	eventually(t, "the new rules", func() bool { return !h.waiting() })
}

// jobIsWhole reports whether discovery has the complete set of groups of a held job.
func (h *harness) jobIsWhole(now time.Time, job string) bool {
	j, ok := h.job(job)
	return ok && h.complete(j, now) && h.whole(j, now)
}
