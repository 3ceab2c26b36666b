package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/config"
	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// maxPodBytes is how much memory an injected pod may take, from the informer to the scrapes of its sidecar. It takes
// 4,074 to 4,101 bytes: what a garbage collection leaves differs from run to run.
const maxPodBytes = 4128

// podPages is the API server of a cluster that lists n pods in pages. It returns any pod whose name ends in a number.
type podPages struct {
	n   int
	pod func(i int) string // as JSON
}

func (p podPages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answerAPI(w, r, func() {
		if i, err := strconv.Atoi(r.URL.Path[strings.LastIndexByte(r.URL.Path, '-')+1:]); err == nil {
			_, _ = io.WriteString(w, p.pod(i))
			return
		}
		q := r.URL.Query()
		from, _ := strconv.Atoi(q.Get("continue"))
		limit, _ := strconv.Atoi(q.Get("limit"))
		p.list(w, from, min(from+limit, p.n))
	})
}

// answerAPI answers as an API server that has only pods, which list writes. Nothing happens on its watches.
func answerAPI(w http.ResponseWriter, r *http.Request, list func()) {
	w.Header().Set("Content-Type", "application/json")
	q := r.URL.Query()
	switch {
	case strings.HasSuffix(r.URL.Path, "/version"):
		_, _ = w.Write([]byte("{}"))
	case q.Has("sendInitialEvents"):
		w.WriteHeader(http.StatusUnprocessableEntity)
	case q.Has("watch"):
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	default:
		list()
	}
}

func (p podPages) list(w http.ResponseWriter, from, to int) {
	next := ""
	if to < p.n {
		next = strconv.Itoa(to)
	}
	items := make([]string, 0, to-from)
	for i := from; i < to; i++ {
		items = append(items, p.pod(i))
	}
	fmt.Fprintf(w, `{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"1","continue":%q},"items":[%s]}`,
		next, strings.Join(items, ","))
}

// injected is an injected pod of 21 KB.
func injected(i int) string { return strings.ReplaceAll(injectedPod, "NUMBER", strconv.Itoa(i)) }

var injectedPod = strings.Replace(`{"metadata":{"name":"reviews-v1-7f99cc4496-NUMBER",
"namespace":"bookinfo","uid":"0b9a7f66-6b1d-4c8e-8f55-NUMBER",
"resourceVersion":"12NUMBER","labels":{"app":"reviews","version":"v1","pod-template-hash":"7f99cc4496",
"security.istio.io/tlsMode":"istio"},
"annotations":{"prometheus.io/path":"/stats/prometheus","prometheus.io/port":"15020","prometheus.io/scrape":"true",
"sidecar.istio.io/status":"FILL"},
"managedFields":[{"manager":"kubelet","fieldsV1":{"f:x":"FILL"}}]},
"spec":{"nodeName":"node-7","containers":[
{"name":"reviews","image":"docker.io/istio/examples-bookinfo-reviews-v1:1.20.3","env":[{"name":"A","value":"FILL"}],
"ports":[{"name":"http","containerPort":9080,"protocol":"TCP"},{"name":"grpc","containerPort":9081,"protocol":"TCP"},
{"name":"admin","containerPort":9082,"protocol":"TCP"}]},
{"name":"istio-proxy","image":"docker.io/istio/proxyv2:1.30.0","args":["FILL"],
"ports":[{"name":"http-envoy-prom","containerPort":15090,"protocol":"TCP"},
{"name":"status-port","containerPort":15021,"protocol":"TCP"}]}]},
"status":{"phase":"Running","podIP":"10.12.34.NUMBER","podIPs":[{"ip":"10.12.34.NUMBER"}],"hostIP":"192.168.1.7",
"conditions":[{"type":"Ready","status":"True"}],"message":"FILL"}}`, "FILL", strings.Repeat("x", 4000), -1)

const referenceJob = `
remote_write: [{url: "http://127.0.0.1:1/"}]
scrape_configs:
- job_name: envoy-stats
  metrics_path: /stats/prometheus
  kubernetes_sd_configs: [{role: pod, api_server: %q}]
  relabel_configs:
  - {source_labels: [__meta_kubernetes_pod_container_port_name], action: keep, regex: '.*-envoy-prom'}
  - {source_labels: [__address__, __meta_kubernetes_pod_annotation_prometheus_io_port], action: replace,
     regex: '([^:]+)(?::\d+)?;(\d+)', replacement: '$1:15090', target_label: __address__}
  - {action: labeldrop, regex: '__meta_kubernetes_pod_label_(.+)'}
  - {source_labels: [__meta_kubernetes_namespace], action: replace, target_label: namespace}
  - {source_labels: [__meta_kubernetes_pod_name], action: replace, target_label: pod_name}
`

// heapOf returns the size of the heap when all sidecars of a cluster with n pods are targets.
func heapOf(t *testing.T, pods int) uint64 {
	t.Helper()
	api := httptest.NewServer(podPages{pods, injected})
	defer api.Close()
	cfg := loadText(t, fmt.Sprintf(referenceJob, api.URL))
	reg := prometheus.NewRegistry()
	found, err := discovery.New(discovery.Options{}, zap.NewNop(), reg)
	if err != nil {
		t.Fatal(err)
	}
	pools := scrape.New(series.NewTable(), nil, scrape.Options{}, zap.NewNop(), reg)
	if err := pools.Apply(cfg.Jobs); err != nil {
		t.Fatal(err)
	}
	if err := found.Apply(cfg.Jobs); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	updated := make(chan struct{}, 1)
	go func() {
		done <- found.Run(ctx, func(updates map[string]discovery.Update) {
			pools.Update(updates)
			select {
			case updated <- struct{}{}:
			default:
			}
		})
	}()
	deadline := time.After(2 * time.Minute)
	for targets, dropped := 0, 0; targets != pods || dropped != 4*pods; {
		select {
		case <-updated:
			st := pools.Status()[0]
			targets, dropped = len(st.Targets), st.DroppedCount
		case <-deadline:
			t.Fatalf("%d targets, %d dropped of %d pods", targets, dropped, pods)
		}
	}
	checkShown(t, pools.Status()[0])
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // pools of buffers go at the second
	runtime.ReadMemStats(&m)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	runtime.KeepAlive(pools)
	return m.HeapAlloc
}

// checkShown checks the labels that the pages show for a target and for a dropped one.
func checkShown(t *testing.T, st scrape.PoolStatus) {
	t.Helper()
	if u := st.Targets[0].URL; u != "http://10.12.34.0:15090/stats/prometheus" {
		t.Errorf("the first target is %s", u)
	}
	found := st.Dropped[0].Discovered()
	ip, port := found.Get("__meta_kubernetes_pod_ip"), found.Get("__meta_kubernetes_pod_container_port_name")
	if a := found.Get("__address__"); ip == "" || !strings.HasPrefix(a, ip+":") || port == "" ||
		port == "http-envoy-prom" {
		t.Errorf("the first dropped target is %s", found)
	}
}

func loadText(t testing.TB, text string) *config.Config {
	t.Helper()
	file := t.TempDir() + "/config.yml"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(config.Options{File: file})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestWhatAPodCosts(t *testing.T) {
	if !json.Valid([]byte(injectedPod)) || len(injectedPod) < 21_000 {
		t.Fatalf("the pod is %d bytes long, or no JSON", len(injectedPod))
	}
	const few, many = 200, 2200
	base := heapOf(t, few)
	perPod := (heapOf(t, many) - base) / (many - few)
	t.Logf("%d bytes a pod with its 5 targets", perPod)
	if perPod > maxPodBytes {
		t.Errorf("a pod costs %d bytes of heap, want at most %d", perPod, maxPodBytes)
	}
}
