package chart

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"

	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
	"github.com/envoy-scraper/envoy-scraper/e2e/process"
)

// page is the page of a sidecar. Its counter grows by one per scrape.
type page struct{ scrapes atomic.Int64 }

func servePage(t *testing.T, ip string) *page {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(ip, "15090"))
	if err != nil {
		t.Fatal(err)
	}
	p := &page{}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprintf(w, "# TYPE envoy_x counter\nenvoy_x %d\n", p.scrapes.Add(1))
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return p
}

// sink is a remote write 1.0 receiver. It records the timestamps of the samples of envoy_x.
type sink struct {
	*httptest.Server
	down  atomic.Bool
	tried atomic.Int64

	mu    sync.Mutex
	times map[int64]bool // milliseconds
}

func newSink(t *testing.T) *sink {
	t.Helper()
	s := &sink{times: map[int64]bool{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.tried.Add(1)
		if s.down.Load() {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		if err := s.take(r); err != nil {
			t.Error(err)
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *sink) take(r *http.Request) error {
	packed := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, packed); err != nil {
		return err
	}
	plain, err := snappy.Decode(nil, packed)
	if err != nil {
		return err
	}
	var request prompb.WriteRequest
	if err := request.Unmarshal(plain); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, series := range request.Timeseries {
		if slices.ContainsFunc(series.Labels, func(l prompb.Label) bool {
			return l.Name == "__name__" && l.Value == "envoy_x"
		}) {
			for _, sample := range series.Samples {
				s.times[sample.Timestamp] = true
			}
		}
	}
	return nil
}

// before returns how many scrapes from before a time have arrived.
func (s *sink) before(at time.Time) (n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for millis := range s.times {
		if millis < at.UnixMilli() {
			n++
		}
	}
	return n
}

// to returns the chart values for writing to the sink.
func (s *sink) to() []string {
	return []string{
		"--set", "remoteWrite[0].url=" + s.URL, "--set", "remoteWrite[0].protobuf_message=prometheus.WriteRequest",
		"--set", "remoteWrite[0].queue_config.max_backoff=1s", "--set", "globalConfig.scrape_interval=1s",
		"--set", "globalConfig.scrape_timeout=1s",
	}
}

// instance is the running process of one pod.
type instance struct {
	*process.Process
	url string
}

// start runs the program as the pod would. Only the listen address, the configuration's path and the storage path
// differ.
func (tl *tools) start(t *testing.T, r *rendered, node, pod, storage string, flags ...string) *instance {
	t.Helper()
	ports, err := process.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	i := &instance{url: fmt.Sprintf("http://127.0.0.1:%d", ports[0])}
	template, _ := r.pod(t)
	args := append([]string{"--scrape.allow-loopback"}, flags...)
	for _, arg := range template.Spec.Containers[0].Args {
		switch flag, _, _ := strings.Cut(arg, "="); flag {
		case "--config.file":
			arg = flag + "=" + r.writeConfig(t)
		case "--web.listen-address":
			arg = flag + "=" + strings.TrimPrefix(i.url, "http://")
		case "--storage.path":
			arg = flag + "=" + storage
		}
		args = append(args, arg)
	}
	i.Process = parts.Run(t, process.Spec{
		Name: pod, Path: tl.scraper, Args: args, Env: r.env(t, node, pod),
		LogFile: filepath.Join(t.TempDir(), pod+".log"),
	})
	return i
}

// up returns the pods whose last scrape succeeded.
func (i *instance) up() (pods []string, err error) {
	resp, err := http.Get(i.url + "/api/v1/targets?state=active")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Data struct {
			ActiveTargets []struct {
				Health string            `json:"health"`
				Labels map[string]string `json:"labels"`
			} `json:"activeTargets"`
		} `json:"data"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	for _, target := range answer.Data.ActiveTargets {
		if target.Health == "up" {
			pods = append(pods, target.Labels["pod_name"])
		}
	}
	slices.Sort(pods)
	return pods, nil
}
