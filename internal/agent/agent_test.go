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
remote_write: [{name: a, url: 'http://10.8.0.1:9090/api/v1/write'}]
`
)

// trace is what the world saw of an agent: a line for each event, with its time.
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
		tr.add("%s: %s %s of %s %v", name, r.Method, r.URL, r.RemoteAddr, r.Header)
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
	samples := 0
	for _, ts := range m.Timeseries {
		samples += len(ts.Samples)
	}
	tr.add("receiver: %s of %s %v\n%s", r.URL, r.RemoteAddr, r.Header, m.String())
	w.Header().Set("X-Prometheus-Remote-Write-Samples-Written", fmt.Sprint(samples))
	w.WriteHeader(http.StatusNoContent)
}

// apiServer has some pods, and nothing happens on its watches.
func (tr *trace) apiServer(w http.ResponseWriter, r *http.Request) {
	tr.add("API server: %s of %s %v", r.URL, r.RemoteAddr, r.Header)
	w.Header().Set("Content-Type", "application/json")
	q := r.URL.Query()
	switch {
	case r.URL.Path == "/version":
		_, _ = io.WriteString(w, "{}")
	case q.Has("sendInitialEvents"):
		w.WriteHeader(http.StatusUnprocessableEntity)
	case q.Has("watch"):
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	default:
		fmt.Fprint(w, `{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[`)
		for i := range pods {
			fmt.Fprintf(w, `%.*s{"metadata":{"name":"pod-%d","namespace":"shop","resourceVersion":"1"},"spec":`+
				`{"containers":[{"name":"istio-proxy","ports":[{"name":"http-envoy-prom","containerPort":15090,`+
				`"protocol":"TCP"}]}]},"status":{"phase":"Running","podIP":"10.0.0.%d"}}`, min(i, 1), ",", i, i+1)
		}
		fmt.Fprint(w, "]}")
	}
}

// life is five minutes of an agent, a reload in between, and its stop, in a world of its own. It returns what the world
// saw.
func life(t *testing.T, text, storage string, seed uint64) []string {
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
		cfg, err := config.Load(opts)
		if err != nil {
			t.Fatal(err)
		}
		world := World{Dial: network.Dial, Listen: network.Listen, Host: "agent-0", Chance: chance.Seeded(seed)}
		a, err := Open(Settings{Config: cfg, Options: opts, StoragePath: storage, AutoReload: 30 * time.Second,
			Web: web.Config{ListenAddress: pagesAddr}}, world, zap.NewNop(), prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- a.Run(ctx) }()
		time.Sleep(3*time.Minute + 300*time.Millisecond)
		write(strings.Replace(text, "name: a", "name: b", 1))
		if err := a.Reload(ctx); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2*time.Minute - 700*time.Millisecond)
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if left := network.left(); len(left) > 0 {
			t.Errorf("connections that the agent left open: %v", left)
		}
	})
	return seen.lines
}

// TestAnAgentLivesInAWorldOfItsOwn: an agent scrapes, delivers, reloads and ends in a world without a machine, and
// leaves no goroutine. A goroutine that is left would make synctest fail.
func TestAnAgentLivesInAWorldOfItsOwn(t *testing.T) {
	for name, text := range map[string]string{"listed": listed, "discovered": discovered} {
		t.Run(name, func(t *testing.T) {
			seen := life(t, text, "", 1)
			for _, want := range []string{"10.0.0.1: GET /metrics", "10.0.0.3: GET /metrics"} {
				if n := count(seen, want); n < 28 || n > 32 {
					t.Errorf("%d times %q in five minutes, want about 30", n, want)
				}
			}
			if n := count(seen, "receiver: "); n == 0 {
				t.Error("nothing was delivered")
			}
		})
	}
}

// count returns how many lines have a text.
func count(lines []string, text string) (n int) {
	for _, line := range lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// TestSameSeedSameLife: two lives with the same seed are the same for the world, to the nanosecond and the byte.
func TestSameSeedSameLife(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for name, text := range map[string]string{"listed": listed, "discovered": discovered} {
		t.Run(name, func(t *testing.T) {
			first, again := life(t, text, "", 1), life(t, text, "", 1)
			for i := range min(len(first), len(again)) {
				if first[i] != again[i] {
					t.Fatalf("event %d:\n%s\nand then\n%s", i, first[i], again[i])
				}
			}
			if !slices.Equal(first, again) {
				t.Errorf("%d events, and then %d", len(first), len(again))
			}
		})
	}
}
