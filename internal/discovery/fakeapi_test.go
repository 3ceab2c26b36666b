package discovery

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	commonconfig "github.com/prometheus/common/config"
	promconfig "github.com/prometheus/prometheus/config"
	promdiscovery "github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/kubernetes"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fakeAPI serves the part of the Kubernetes API that pod discovery uses.
type fakeAPI struct {
	*httptest.Server
	closing chan struct{}

	mu sync.Mutex // guards the following
	// down makes the server close connections without a response.
	down     bool
	before   func(*http.Request) // called before each response; may be nil
	streams  bool                // lists are streamed as events of a watch
	expired  bool                // each watch begins with the error that its resource version is too old
	pods     []corev1.Pod
	one      *corev1.Pod     // the answer to a request for one pod
	refuse   map[string]int  // error status, by "verb resource" or by path
	accepted map[string]bool // bearer tokens; empty: all requests
	requests map[string]int  // counts, by "verb resource"
}

func newFakeAPI(t *testing.T) *fakeAPI {
	f := &fakeAPI{closing: make(chan struct{}), refuse: map[string]int{}, accepted: map[string]bool{},
		requests: map[string]int{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(func() {
		close(f.closing)
		f.CloseClientConnections()
		f.Close()
	})
	return f
}

// set changes what the server does.
func (f *fakeAPI) set(change func(*fakeAPI)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// count returns the number of requests, such as "list pods".
func (f *fakeAPI) count(request string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests[request]
}

// ServeHTTP implements http.Handler.
func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	resource := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	verb := "list"
	switch {
	case resource == "version":
		verb = "get"
	case r.URL.Query().Get("watch") != "":
		verb = "watch"
	}
	f.mu.Lock()
	down, expired, pods, one, status := f.down, f.expired, f.pods, f.one, cmp.Or(f.refuse[verb+" "+resource],
		f.refuse[r.URL.Path])
	if token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "); len(f.accepted) > 0 &&
		!f.accepted[token] {
		status = http.StatusUnauthorized
	}
	f.requests[verb+" "+resource]++
	before, streams := f.before, f.streams
	f.mu.Unlock()
	if before != nil {
		before(r)
	}
	switch {
	case down:
		hangUp(w)
	case status != 0:
		respond(w, status, metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure",
			Code:    int32(status),
			Message: fmt.Sprintf("%s is forbidden: no right to %s", resource, verb), Reason: "Forbidden"})
	case verb == "get":
		respond(w, http.StatusOK, map[string]string{"major": "1", "minor": "37"})
	case expired && verb == "watch":
		respond(w, http.StatusOK, map[string]any{"type": "ERROR", "object": metav1.Status{
			TypeMeta: metav1.TypeMeta{Kind: "Status",
				APIVersion: "v1"}, Status: "Failure", Code: http.StatusGone, Reason: metav1.StatusReasonExpired,
		}})
	case r.URL.Query().Get("sendInitialEvents") != "" && streams:
		f.stream(w, r, pods)
	case r.URL.Query().Get("sendInitialEvents") != "":
		respond(w, http.StatusUnprocessableEntity, metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status",
			APIVersion: "v1"}, Status: "Failure",
			Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid,
			Message: "no streaming lists here"})
	case verb == "watch":
		f.hold(w, r)
	case one != nil && resource == one.Name:
		respond(w, http.StatusOK, one)
	default:
		respond(w, http.StatusOK, corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"},
			ListMeta: metav1.ListMeta{ResourceVersion: "1"}, Items: pods})
	}
}

// stream sends the pods as events, then a bookmark that ends the list, and keeps the watch open.
func (f *fakeAPI) stream(w http.ResponseWriter, r *http.Request, pods []corev1.Pod) {
	w.Header().Set("Content-Type", "application/json")
	for _, pod := range pods {
		_ = json.NewEncoder(w).Encode(map[string]any{"type": "ADDED", "object": pod})
	}
	end := corev1.Pod{TypeMeta: metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"}, ObjectMeta: metav1.ObjectMeta{
		ResourceVersion: "1", Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}}}
	_ = json.NewEncoder(w).Encode(map[string]any{"type": "BOOKMARK", "object": end})
	f.wait(w, r)
}

// hold keeps a watch open and sends no events.
func (f *fakeAPI) hold(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	f.wait(w, r)
}

// wait sends what was written, and returns when the client or the server ends the watch.
func (f *fakeAPI) wait(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).Flush()
	select {
	case <-r.Context().Done():
	case <-f.closing:
	}
}

// respond sends a response in JSON.
func respond(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func hangUp(w http.ResponseWriter) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = conn.Close()
	}
}

// sidecarPod is a running pod with one sidecar.
func sidecarPod(name, ip string) corev1.Pod {
	return corev1.Pod{
		TypeMeta:   metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", ResourceVersion: "1"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{
			{Name: "istio-proxy", Ports: []corev1.ContainerPort{{Name: "http-envoy-prom", ContainerPort: 15090,
				Protocol: "TCP"}}},
		}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip},
	}
}

// podJob is a job that discovers pods through the fake server.
func (f *fakeAPI) podJob(t *testing.T, name string) *promconfig.ScrapeConfig {
	t.Helper()
	u, err := url.Parse(f.URL)
	if err != nil {
		t.Fatal(err)
	}
	return &promconfig.ScrapeConfig{JobName: name, ServiceDiscoveryConfigs: promdiscovery.Configs{&kubernetes.SDConfig{
		APIServer: commonconfig.URL{URL: u}, Role: kubernetes.RolePod,
		HTTPClientConfig: commonconfig.DefaultHTTPClientConfig,
	}}}
}

// testPace has short intervals that still suit a busy machine.
func testPace() pace {
	return pace{
		settleCheck: 10 * time.Millisecond, quiet: 300 * time.Millisecond, restless: 20 * time.Second,
		grace: 200 * time.Millisecond,
		probe: 200 * time.Millisecond, retry: 20 * time.Millisecond, ask: 10 * time.Second,
	}
}

// observedLog returns a logger and its entries.
func observedLog() (*zap.Logger, *observer.ObservedLogs) {
	core, logs := observer.New(zap.InfoLevel)
	return zap.New(core), logs
}

// eventually waits until ok returns true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(60 * time.Second)
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("timeout waiting for: %s", what)
		case <-tick.C:
		}
	}
}
