package e2e

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/envoy-scraper/envoy-scraper/e2e/cluster"
	"github.com/envoy-scraper/envoy-scraper/e2e/envoyproxy"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
	"github.com/envoy-scraper/envoy-scraper/e2e/receiver"
)

const (
	namespace = "bookinfo"
	interval  = 2 * time.Second

	gatewayAddr = "127.0.15.30" // pod IP of the real Envoy
)

// A world holds everything that TestStory needs: the running real parts.
type world struct {
	dir         string
	tools       string // folder of the real parts' binaries
	scraperPath string
	envoyPath   string // empty: not available on this machine
	cluster     *cluster.Cluster
	v1, both    *receiver.Receiver
	envoy       *envoyproxy.Proxy // nil if there is no binary
	kubeconfig  string            // has only the token of the service account of deploy/manifests
	pages       map[string]*page  // pages by pod
	scrapers    []*scraper        // the scrapers with the pasted job
}

// newWorld starts the real parts with an empty cluster.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{dir: t.TempDir(), pages: map[string]*page{}}
	w.tools = parts.Tools(t, "etcd", "prometheus", "kubectl", "kube-apiserver")
	w.envoyPath = parts.Envoy(t)
	w.scraperPath = parts.Scraper(t)

	var err error
	if w.cluster, err = cluster.Start(t.Context(),
		cluster.Config{Bin: w.tools, Dir: w.subdir(t, "cluster")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.cluster.Close)
	w.v1 = w.startReceiver(t, "receiver-v1", receiver.V1Only)
	w.both = w.startReceiver(t, "receiver-both", receiver.V1AndV2)
	if w.envoyPath != "" {
		w.envoy, err = envoyproxy.Start(t.Context(), envoyproxy.Config{
			Path: w.envoyPath, Dir: w.subdir(t, "envoy"), Stats: gatewayAddr + ":15090",
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.envoy.Close)
	}
	return w
}

func (w *world) startReceiver(t *testing.T, name string, protocol receiver.Protocol) *receiver.Receiver {
	t.Helper()
	r, err := receiver.Start(t.Context(), receiver.Config{Bin: w.tools, Dir: w.subdir(t, name), Protocol: protocol})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Close()
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, r.Log())
		}
	})
	return r
}

func (w *world) subdir(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(w.dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// settle creates the namespace and its pods, and opens their pages.
func (w *world) settle(t *testing.T) {
	t.Helper()
	if err := w.cluster.CreateNamespace(t.Context(), namespace,
		map[string]string{"istio-injection": "enabled"}); err != nil {
		t.Fatal(err)
	}
	annotated := map[string]string{"prometheus.io/port": "15020", "prometheus.io/scrape": "true"}
	w.add(t, cluster.Pod{Name: "productpage", IP: "127.0.15.1", Sidecar: cluster.PlainSidecar, Annotations: annotated})
	w.add(t, cluster.Pod{Name: "details", IP: "127.0.15.2", Sidecar: cluster.PlainSidecar})
	w.add(t, cluster.Pod{Name: "reviews", IP: "127.0.15.3", Sidecar: cluster.NativeSidecar, Node: "node-b"})
	w.add(t, cluster.Pod{Name: "ratings", IP: "::1", Sidecar: cluster.PlainSidecar, Node: "node-b"})
	w.add(t, cluster.Pod{Name: "wanderer", IP: "127.0.15.5", Sidecar: cluster.PlainSidecar, Annotations: annotated})

	w.create(t, cluster.Pod{Name: "finished", IP: "127.0.15.20", Sidecar: cluster.PlainSidecar,
		Phase: corev1.PodSucceeded})
	w.create(t, cluster.Pod{Name: "no-sidecar", IP: "127.0.15.21", Annotations: annotated})
	w.create(t, cluster.Pod{Name: "pending", Sidecar: cluster.PlainSidecar, Phase: corev1.PodPending})
	if w.envoy != nil {
		w.create(t, cluster.Pod{Name: "gateway", IP: gatewayAddr, Sidecar: cluster.PlainSidecar})
	}
}

// add opens a pod's page and creates the pod.
func (w *world) add(t *testing.T, p cluster.Pod) *page {
	t.Helper()
	page := w.newPage(p)
	page.open(t)
	w.create(t, p)
	return page
}

// newPage returns the page of a pod. It is not open yet.
func (w *world) newPage(p cluster.Pod) *page {
	page := &page{addr: address(p.IP), workload: "reviews-v1", base: basesApart * (1 + len(w.pages))}
	w.pages[p.Name] = page
	return page
}

func (w *world) create(t *testing.T, p cluster.Pod) {
	t.Helper()
	p.Namespace = namespace
	p.Labels = map[string]string{"app": p.Name, "istio.io/rev": "default"}
	if err := w.cluster.CreatePod(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

func (w *world) delete(t *testing.T, pod string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := w.cluster.DeletePod(ctx, namespace, pod, 0); err != nil {
		t.Fatal(err)
	}
}
