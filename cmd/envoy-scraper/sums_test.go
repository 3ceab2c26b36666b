package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gogo/protobuf/proto"
	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

// seriesReceiver accepts remote write 2.0, and keeps the values of each series.
type seriesReceiver struct {
	mu     sync.Mutex
	values map[string][]float64 // by labels
	times  map[string][]int64
}

func (r *seriesReceiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	raw, err := snappy.Decode(nil, body)
	var m writev2.Request
	if err := errors.Join(err, proto.Unmarshal(raw, &m)); err != nil {
		http.Error(w, err.Error(), http.StatusUnsupportedMediaType)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	samples := 0
	for _, ts := range m.Timeseries {
		var pairs []string
		for _, ref := range ts.LabelsRefs {
			pairs = append(pairs, m.Symbols[ref])
		}
		key := labels.FromStrings(pairs...).String()
		for _, s := range ts.Samples {
			r.values[key], r.times[key] = append(r.values[key], s.Value), append(r.times[key], s.Timestamp)
			samples++
		}
	}
	w.Header().Set("X-Prometheus-Remote-Write-Samples-Written", fmt.Sprint(samples))
	w.WriteHeader(http.StatusNoContent)
}

// of returns the values and the timestamps of a series.
func (r *seriesReceiver) of(series string) ([]float64, []int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.values[series], r.times[series]
}

// with returns the series whose labels contain text.
func (r *seriesReceiver) with(text string) (found []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key := range r.values {
		if strings.Contains(key, text) {
			found = append(found, key)
		}
	}
	return found
}

// TestRunWritesSums: two pods of a job, whose requests are summed. The receiver gets one series for both, which begins
// at 0 and ends with what both have counted between their first and their last page; reports such as up stay. A reload
// without the block ends the sum with a staleness marker, and the series of the pods are sent.
func TestRunWritesSums(t *testing.T) {
	var scrapes [2]atomic.Int64
	var targets []string
	for i := range scrapes {
		page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
			fmt.Fprintf(w, "# TYPE istio_requests_total counter\nistio_requests_total{reporter=\"source\"} %d\n"+
				"# TYPE istio_build gauge\nistio_build 1\n", 1000+10*scrapes[i].Add(1))
		}))
		defer page.Close()
		targets = append(targets, fmt.Sprintf("{targets: ['%s'], labels: {pod: p%d}}",
			strings.TrimPrefix(page.URL, "http://"), i))
	}
	rcv := &seriesReceiver{values: map[string][]float64{}, times: map[string][]int64{}}
	endpoint := httptest.NewServer(rcv)
	defer endpoint.Close()
	file := filepath.Join(t.TempDir(), "config.yml")
	write := func(match string) {
		t.Helper()
		text := fmt.Sprintf(`
global: {scrape_interval: 1s}
scrape_configs: [{job_name: envoy, static_configs: [%s]}]
remote_write: [{url: '%s', queue_config: {batch_send_deadline: 100ms}}]
envoy_scraper: {aggregate: [{jobs: [envoy], match: '%s', as: {instance: agent-1}}]}
`, strings.Join(targets, ", "), endpoint.URL, match)
		if err := errors.Join(os.WriteFile(file+".new", []byte(text), 0o600),
			os.Rename(file+".new", file)); err != nil {
			t.Fatal(err)
		}
	}
	start := func() (reload func(), stop func()) {
		var stderr log
		ctx, cancel := context.WithCancel(t.Context())
		code := make(chan int, 1)
		go func() {
			code <- execute(ctx, []string{"--config.file=" + file, "--web.listen-address=127.0.0.1:0",
				"--web.enable-lifecycle", "--storage.path=" + t.TempDir()}, io.Discard, &stderr)
		}()
		eventually(t, "the address in the log", func() bool { return served.MatchString(stderr.String()) })
		address := "http://" + served.FindStringSubmatch(stderr.String())[1]
		return func() {
				t.Helper()
				resp, err := http.Post(address+"/-/reload", "", nil)
				if err != nil || resp.StatusCode != http.StatusOK {
					t.Fatalf("reload: %v, %v", resp, err)
				}
				_ = resp.Body.Close()
			}, func() {
				t.Helper()
				if cancel(); <-code != exitOK {
					t.Fatalf("log:\n%s", stderr.String())
				}
			}
	}
	const summed = `{__name__="istio_requests_total", instance="agent-1", job="envoy", reporter="source"}`
	wait := func(pages int64) {
		t.Helper()
		begin := [2]int64{scrapes[0].Load(), scrapes[1].Load()}
		eventually(t, "pages", func() bool {
			return scrapes[0].Load() >= begin[0]+pages && scrapes[1].Load() >= begin[1]+pages
		})
	}

	write("istio_.*")
	_, stop := start()
	wait(3)
	stop()
	values, times := rcv.of(summed)
	if len(values) < 2 || values[0] != 0 {
		t.Fatalf("the sum begins with %v, want 0", values)
	}
	for i := range values[1:] {
		if values[i+1] < values[i] || times[i+1] <= times[i] {
			t.Errorf("the sum falls, or its timestamps: %v at %v", values, times)
		}
	}
	for _, at := range times[:len(times)-1] { // the last one is written at the stop
		if at%1000 != 0 {
			t.Errorf("a tick at %d ms, want whole seconds", at)
		}
	}
	// A scrape that the stop cut off has been counted by its page, but not in the sum.
	want := float64(10 * (scrapes[0].Load() - 1 + scrapes[1].Load() - 1))
	if got := values[len(values)-1]; got > want || got < want-20 {
		t.Errorf("the sum ends with %v, want %v", got, want)
	}
	if raw := rcv.with(`__name__="istio_requests_total"`); len(raw) != 1 {
		t.Errorf("series of requests: %q, want only the sum", raw)
	}
	for _, part := range []string{`__name__="up"`, `__name__="istio_build"`} {
		if own := rcv.with(part); len(own) != 2 {
			t.Errorf("series with %s: %q, want one of each pod", part, own)
		}
	}

	reload, stop := start()
	wait(2)
	write("other")
	reload()
	eventually(t, "the series of both pods", func() bool {
		return len(rcv.with(`__name__="istio_requests_total"`)) == 3
	})
	stop()
	if values, _ := rcv.of(summed); !value.IsStaleNaN(values[len(values)-1]) {
		t.Errorf("the sum ends with %v, want a staleness marker", values)
	}
}
