//go:debug randseednop=0

package agent

import (
	"context"
	"fmt"
	"io"
	oldrand "math/rand"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gogo/protobuf/proto"
	"github.com/golang/snappy"
	"github.com/prometheus/client_golang/prometheus"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/chance"
	"github.com/envoy-scraper/envoy-scraper/internal/config"
	"github.com/envoy-scraper/envoy-scraper/internal/web"
)

const (
	receiverAddr  = "10.8.0.1:9090"
	apiServerAddr = "10.8.0.2:6443"
	pagesAddr     = "10.9.0.1:9095"

	pods = 12
)

// The configurations of the test: the targets are listed, or discovered as pods.
const (
	listed = `
global: {scrape_interval: 10s}
scrape_configs:
- job_name: sidecars
  static_configs: [{targets: ['10.0.0.1:15090', '10.0.0.2:15090', '10.0.0.3:15090']}]
remote_write: [{name: a, url: 'http://10.8.0.1:9090/api/v1/write'}]
`
	discovered = `
global: {scrape_interval: 10s}
scrape_configs:
- job_name: sidecars
  kubernetes_sd_configs: [{role: pod, api_server: 'http://10.8.0.2:6443'}]
- job_name: others
  metrics_path: /others
  basic_auth: {username: a, password: b} # scraped by net/http, whose idle connections have goroutines
  kubernetes_sd_configs: [{role: pod, api_server: 'http://10.8.0.2:6443'}]
remote_write:
- {name: a, url: 'http://10.8.0.1:9090/api/v1/write', queue_config: {min_shards: 3}}
- {name: c, url: 'http://10.8.0.1:9090/api/v1/write'}
`
)

// trace is what the world saw of an agent: a line for each event, with its time. Events of one nanosecond are sorted,
// since synctest runs timers of one instant in any order, and the lanes of an endpoint wake at one instant.
type trace struct {
	mu    sync.Mutex
	lines []string
}

func (tr *trace) add(format string, args ...any) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.lines = append(tr.lines, fmt.Sprintf("%d ", time.Now().UnixNano())+fmt.Sprintf(format, args...))
}

// sidecar serves a page with a counter of seconds.
func (tr *trace) sidecar(name string) http.HandlerFunc {
	began := time.Now()
	return func(w http.ResponseWriter, r *http.Request) {
		tr.add("%s: %s %s %v", name, r.Method, r.URL, r.Header)
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprintf(w, "# TYPE seconds_total counter\nseconds_total{pod=%q} %d\n", name,
			int(time.Since(began).Seconds()))
	}
}

// receiver takes remote write 2.0.
func (tr *trace) receiver(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	raw, err := snappy.Decode(nil, body)
	var m writev2.Request
	if err == nil {
		err = proto.Unmarshal(raw, &m)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnsupportedMediaType)
		return
	}
	if time.Now().Minute() == 1 {
		tr.add("receiver is down: %s %v", r.URL, r.Header)
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	samples := 0
	for _, ts := range m.Timeseries {
		samples += len(ts.Samples)
	}
	tr.add("receiver: %s %v\n%s", r.URL, r.Header, m.String())
	w.Header().Set("X-Prometheus-Remote-Write-Samples-Written", fmt.Sprint(samples))
	w.WriteHeader(http.StatusNoContent)
}

// apiServer has some pods. Its watches end by saying that the list is too old, and the next list has a pod more or
// less.
func (tr *trace) apiServer(w http.ResponseWriter, r *http.Request) {
	tr.add("API server: %s %v", r.URL, r.Header)
	w.Header().Set("Content-Type", "application/json")
	q := r.URL.Query()
	switch {
	case r.URL.Path == "/version":
		_, _ = io.WriteString(w, "{}")
	case q.Has("sendInitialEvents"):
		w.WriteHeader(http.StatusUnprocessableEntity)
	case q.Has("watch"):
		_ = http.NewResponseController(w).Flush()
		select {
		case <-time.After(45 * time.Second):
			_, _ = io.WriteString(w, `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure",`+
				`"code":410,"reason":"Expired"}}`)
		case <-r.Context().Done():
		}
	default:
		fmt.Fprint(w, `{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[`)
		for i := range pods - time.Now().Minute()%3 {
			fmt.Fprintf(w, `%.*s{"metadata":{"name":"pod-%d","namespace":"shop","resourceVersion":"1"},"spec":`+
				`{"containers":[{"name":"istio-proxy","ports":[{"name":"http-envoy-prom","containerPort":15090,`+
				`"protocol":"TCP"}]}]},"status":{"phase":"Running","podIP":"10.0.0.%d"}}`, min(i, 1), ",", i, i+1)
		}
		fmt.Fprint(w, "]}")
	}
}

// runTwoAgents runs an agent for five minutes with a reload, then a second one for a minute with the same port and
// storage. It returns the trace.
func runTwoAgents(t *testing.T, text, storage string, seed uint64) []string {
	file := filepath.Join(t.TempDir(), "f.yml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(text)
	//lint:ignore SA1019 client-go draws from this source the timeouts of its watches
	oldrand.Seed(int64(seed))
	opts := config.Options{File: file, FlushDeadline: 4 * time.Second}
	var seen trace
	synctest.Test(t, func(t *testing.T) {
		network := newMemNet()
		defer network.stop()
		for i := range pods {
			ip := fmt.Sprintf("10.0.0.%d", i+1)
			network.serve(t, ip+":15090", seen.sidecar(ip))
		}
		network.serve(t, receiverAddr, seen.receiver)
		network.serve(t, apiServerAddr, seen.apiServer)
		world := World{Dial: network.Dial, Listen: network.Listen, Host: "agent-0", Chance: chance.Seeded(seed)}
		runAgent := func(during func(*Agent)) {
			t.Helper()
			cfg, err := config.Load(opts)
			if err != nil {
				t.Fatal(err)
			}
			a, err := Open(Settings{Config: cfg, Options: opts, StoragePath: storage, AutoReload: 30 * time.Second,
				Web: web.Config{ListenAddress: pagesAddr}}, world, zap.NewNop(), prometheus.NewRegistry())
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- a.Run(ctx) }()
			during(a)
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			synctest.Wait()
			if left := network.left(); len(left) > 0 {
				t.Errorf("connections that the agent left open: %v", left)
			}
		}
		runAgent(func(a *Agent) {
			time.Sleep(3*time.Minute + 300*time.Millisecond)
			write(strings.Replace(text, "name: a", "name: b", 1))
			if err := a.Reload(t.Context()); err != nil {
				t.Error(err)
			}
			time.Sleep(2*time.Minute - 700*time.Millisecond)
		})
		runAgent(func(*Agent) { time.Sleep(time.Minute) }) // in the place of the first one
	})
	slices.Sort(seen.lines)
	return seen.lines
}

// TestAgentsLiveInAWorldOfTheirOwn: an agent scrapes, delivers, reloads and ends in a world without a machine, and
// leaves no connection and no goroutine, on which synctest would fail. Then another one can have its place.
func TestAgentsLiveInAWorldOfTheirOwn(t *testing.T) {
	for name, text := range map[string]string{"listed": listed, "discovered": discovered} {
		for _, storage := range []string{"", t.TempDir()} {
			t.Run(fmt.Sprintf("%s stored=%v", name, storage != ""), func(t *testing.T) {
				seen := runTwoAgents(t, text, storage, 1)
				for _, want := range []string{"10.0.0.1: GET /metrics", "10.0.0.3: GET /metrics"} {
					if n := count(seen, want); n < 34 || n > 38 {
						t.Errorf("%d times %q in six minutes, want about 36", n, want)
					}
				}
				for _, pod := range []string{"10.0.0.1", "10.0.0.3"} {
					if n := count(seen, "receiver: ", `"`+pod+`:15090"`); n < 5 {
						t.Errorf("%d requests with samples of %s, want more", n, pod)
					}
				}
			})
		}
	}
}

// TestSameSeedSameLife: two lives with the same seed are the same for the world, to the nanosecond and the byte, and
// those with another seed are not.
func TestSameSeedSameLife(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	first, again := runTwoAgents(t, discovered, "", 1), runTwoAgents(t, discovered, "", 1)
	for i := range min(len(first), len(again)) {
		if first[i] != again[i] {
			t.Fatalf("event %d:\n%s\nand then\n%s", i, first[i], again[i])
		}
	}
	if len(first) != len(again) {
		t.Errorf("%d events, and then %d", len(first), len(again))
	}
	if slices.Equal(first, runTwoAgents(t, discovered, "", 2)) {
		t.Error("another seed makes the same life")
	}
}

// count returns how many lines have all of the texts.
func count(lines []string, texts ...string) (n int) {
	for _, line := range lines {
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
			n++
		}
	}
	return n
}
