package why

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

// TestManyPods reports how long /pods takes and how large it is, with pods that a real API server has. A tenth of them
// are not scraped.
func TestManyPods(t *testing.T) {
	w := newWorld(t)
	w.grant(map[string][]string{shop: {"get", "list", "watch"}})
	n := 1000
	if text := os.Getenv("WHY_PODS"); text != "" {
		var err error
		n, err = strconv.Atoi(text)
		w.must(err)
	}
	interval := "5s"
	if n > 2000 {
		interval = "1m"
	}
	address := w.serve(sidecarPage)
	w.createMany(n, address)
	// All pods have one address. The path differs, so that they are different targets.
	a := w.start("many", fmt.Sprintf("global: {scrape_interval: %s, scrape_timeout: 5s}\nscrape_configs:\n%s"+
		"  - {source_labels: [__meta_kubernetes_pod_name], regex: '(.*)', replacement: '/stats/$1', target_label: "+
		"__metrics_path__}\n%s", interval, w.job("envoy-stats", "", shop), receiver))
	parts.Eventually(t, 5*time.Minute, "all pods are listed and scraped", func() error {
		got, err := w.ask(a, "?verdict=SCRAPED")
		if err == nil && len(got.Pods) != n-n/10 {
			err = fmt.Errorf("%d pods are scraped, want %d", len(got.Pods), n-n/10)
		}
		return err
	})
	for _, path := range []string{"/pods", "/pods?rows=500", "/pods?rows=500&sort=bytes&search=reviews",
		"/pods?pod=" + shop + "/reviews-00000", "/pods?format=text", "/api/v1/pods", "/"} {
		const times = 5
		size, began := 0, time.Now()
		for range times {
			body, err := get(t.Context(), a.URL+path, "")
			w.must(err)
			size = len(body)
		}
		took := time.Since(began) / times
		t.Logf("%d pods: GET %s: %v, %d bytes", n, path, took.Round(time.Millisecond), size)
		if strings.HasPrefix(path, "/pods") && !strings.Contains(path, "text") && size > 1_000_000 {
			t.Errorf("%s has %d bytes, want less than 1 MB", path, size)
		}
	}
}

// createMany creates n pods. Every tenth has a port whose name no rule wants.
func (w *world) createMany(n int, address string) {
	w.Helper()
	api, err := kubernetes.NewForConfig(&rest.Config{Host: w.cluster.URL(), BearerToken: w.cluster.AdminToken(),
		QPS:             -1,
		TLSClientConfig: rest.TLSClientConfig{CAFile: w.cluster.CAFile()}})
	w.must(err)
	pods, ctx := api.CoreV1().Pods(shop), w.Context()
	create := func(i int) error {
		name := "http-envoy-prom"
		if i%10 == 0 {
			name = "envoy-prom"
		}
		status := corev1.PodStatus{Phase: corev1.PodRunning, PodIP: address, PodIPs: []corev1.PodIP{{IP: address}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
		created, err := pods.Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: shop, Name: fmt.Sprintf("reviews-%05d", i)},
			Spec: corev1.PodSpec{NodeName: fmt.Sprintf("node-%d", i/50), Containers: []corev1.Container{
				{Name: "app", Image: "app:1", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 9080},
					{Name: "grpc", ContainerPort: 9081}, {Name: "admin", ContainerPort: 9082}}}, proxy(name)}},
		}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		created.Status = status
		_, err = pods.UpdateStatus(ctx, created, metav1.UpdateOptions{})
		return err
	}
	var making sync.WaitGroup
	next := make(chan int)
	errs := make(chan error, n)
	for range 16 {
		making.Go(func() {
			for i := range next {
				errs <- create(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	making.Wait()
	for range n {
		w.must(<-errs)
	}
}
