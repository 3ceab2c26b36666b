package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gogo/protobuf/proto"
	"github.com/golang/snappy"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
)

// receiver accepts remote write 2.0. It remembers the last value of each metric name, and all labels.
type receiver struct {
	mu     sync.Mutex
	last   map[string]float64
	labels map[string]bool // name=value
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	raw, err := snappy.Decode(nil, body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var m writev2.Request
	if err := proto.Unmarshal(raw, &m); err != nil {
		http.Error(w, err.Error(), http.StatusUnsupportedMediaType)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	samples := 0
	for _, ts := range m.Timeseries {
		name := ""
		for i := 0; i+1 < len(ts.LabelsRefs); i += 2 {
			n, v := m.Symbols[ts.LabelsRefs[i]], m.Symbols[ts.LabelsRefs[i+1]]
			r.labels[n+"="+v] = true
			if n == "__name__" {
				name = v
			}
		}
		for _, s := range ts.Samples {
			r.last[name] = s.Value
			samples++
		}
	}
	w.Header().Set("X-Prometheus-Remote-Write-Samples-Written", fmt.Sprint(samples))
	w.WriteHeader(http.StatusNoContent)
}

func (r *receiver) value(name string) (float64, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, ok := r.last[name]
	return v, ok
}

func (r *receiver) saw(label string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.labels[label]
}

// log is a writer that a test reads while the program writes.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// eventually polls until ok, and fails the test after half a minute.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

var served = regexp.MustCompile(`serving pages\s.*"address": "([^"]+)"`)

// TestRun runs the run command from start to stop: scrapes, delivery, pages, every way to reload, stop.
func TestRun(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
		fmt.Fprint(w, "# TYPE istio_requests_total counter\nistio_requests_total{reporter=\"source\"} 42\n")
	}))
	defer page.Close()
	rcv := &receiver{last: map[string]float64{}, labels: map[string]bool{}}
	endpoint := httptest.NewServer(rcv)
	defer endpoint.Close()

	file := filepath.Join(t.TempDir(), "config.yml")
	write := func(cluster, more string) {
		t.Helper()
		text := fmt.Sprintf(`
global: {scrape_interval: 1s, external_labels: {cluster: %s}}
scrape_configs:
- job_name: envoy
  static_configs: [{targets: ['%s']}]
remote_write:
- {url: '%s', queue_config: {batch_send_deadline: 100ms}}
%s`, cluster, strings.TrimPrefix(page.URL, "http://"), endpoint.URL, more)
		// It is looked at all the time: half a file would be refused.
		if err := errors.Join(os.WriteFile(file+".new", []byte(text), 0o600),
			os.Rename(file+".new", file)); err != nil {
			t.Fatal(err)
		}
	}
	write("one", "")

	var stderr log
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	code := make(chan int, 1)
	go func() {
		code <- execute(ctx, []string{
			"--config.file=" + file, "--web.listen-address=127.0.0.1:0", "--web.enable-lifecycle",
			"--config.auto-reload", "--config.auto-reload-interval=50ms", "--storage.path=" + t.TempDir(),
		}, io.Discard, &stderr)
	}()
	eventually(t, "the address in the log", func() bool { return served.MatchString(stderr.String()) })
	base := "http://" + served.FindStringSubmatch(stderr.String())[1]
	get := func(path string) (int, string) {
		t.Helper()
		resp, err := http.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}

	eventually(t, "/-/ready", func() bool { status, _ := get("/-/ready"); return status == http.StatusOK })
	eventually(t, "a sample at the receiver", func() bool { v, _ := rcv.value("istio_requests_total"); return v == 42 })
	if v, _ := rcv.value("up"); v != 1 {
		t.Errorf("up = %v", v)
	}
	for path, part := range map[string]string{
		"/-/healthy": "", "/targets": "127.0.0.1", "/service-discovery": "envoy", "/config": "cluster: one",
		"/api/v1/targets": `"health":"up"`, "/metrics": "envoy_scraper_scrape_scrapes_total",
	} {
		if status, body := get(path); status != http.StatusOK || !strings.Contains(body, part) {
			t.Errorf("%s: %d, without %q", path, status, part)
		}
	}

	eventually(t, "the cost of what is written", func() bool {
		r := costOf(t, "--url="+base, "--drop-family=istio_requests_total")
		return r.Totals.Series == 1 && r.WhatIf[0].Gone.Series == 1 && r.Totals.WrittenBytesPerSecond != nil
	})

	write("two", "") // it notices by itself
	eventually(t, "the new external label", func() bool { return rcv.saw("cluster=two") })

	write("three", "nonsense: true\n")
	eventually(t, "the refusal in the log", func() bool {
		return strings.Contains(stderr.String(), "configuration "+
			"refused")
	})
	resp, err := http.Post(base+"/-/reload", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusInternalServerError || !strings.Contains(string(answer), "nonsense") {
		t.Errorf("reload of a bad file: %d %s", resp.StatusCode, answer)
	}
	if _, body := get("/metrics"); !strings.Contains(body, "envoy_scraper_config_last_reload_successful 0") {
		t.Error("the gauge does not tell that the reload failed")
	}
	if _, body := get("/config"); !strings.Contains(body, "cluster: two") {
		t.Error("the configuration before is not in force any more")
	}
	if _, body := get("/"); !strings.Contains(body, "Configuration refused") || !strings.Contains(body, "nonsense") {
		t.Error("the page does not tell that a configuration was refused, and why")
	}

	write("four", "")
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := self.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the external label after SIGHUP", func() bool { return rcv.saw("cluster=four") })
	if _, body := get("/"); strings.Contains(body, "Configuration refused") {
		t.Error("the page still tells of a refusal")
	}
	if strings.Contains(stderr.String(), "\tdebug\t") {
		t.Error("debug lines that nobody asked for")
	}
	write("five", "runtime: {log_level: debug}\n")
	eventually(t, "the external label after a new level", func() bool { return rcv.saw("cluster=five") })
	write("six", "runtime: {log_level: error}\n")
	eventually(t, "the external label after another level", func() bool { return rcv.saw("cluster=six") })
	before := strings.Count(stderr.String(), "configuration reloaded")
	if resp, err = http.Post(base+"/-/reload", "", nil); err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if after := strings.Count(stderr.String(), "configuration reloaded"); resp.StatusCode != http.StatusOK ||
		before < 3 || after != before {
		t.Errorf("the levels of the file do not count (%d):\n%s", resp.StatusCode, stderr.String())
	}
	if rcv.saw("cluster=three") {
		t.Error("a refused configuration was used")
	}

	stop()
	select {
	case c := <-code:
		if c != exitOK {
			t.Errorf("exit code %d\n%s", c, stderr.String())
		}
	case <-time.After(30 * time.Second):
		t.Fatal("did not stop")
	}
}

// TestRunKeepsWorkloadsTogether: of two instances one scrapes all pods of a workload, although no rule reads to which
// workload a pod belongs.
func TestRunKeepsWorkloadsTogether(t *testing.T) {
	const pods = 12
	owned := func(i int) string {
		return strings.Replace(injected(i), `"labels":`, `"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet",`+
			`"name":"reviews-v1-7f99cc4496","uid":"x","controller":true}],"labels":`, 1)
	}
	api := httptest.NewServer(podPages{pods, owned})
	defer api.Close()
	for by, want := range map[string]string{"workload": "[0 12]", "target": "both"} {
		t.Run(by, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "config.yml")
			text := fmt.Sprintf("envoy_scraper: {jobs: [{name: envoy-stats, shard_by: %s}]}\n", by) +
				fmt.Sprintf(referenceJob, api.URL)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			var targets []int
			for index := range 2 {
				n := targetsOf(t, file, index)
				targets = append(targets, n)
			}
			slices.Sort(targets)
			got := fmt.Sprint(targets)
			if targets[0]+targets[1] == pods && targets[0] > 0 {
				got = "both"
			}
			if got != want {
				t.Errorf("the instances have %v targets, want %s", targets, want)
			}
		})
	}
}

// targetsOf runs one of two instances until it has found all pods, and returns how many it scrapes.
func targetsOf(t *testing.T, file string, index int) int {
	t.Helper()
	var stderr log
	ctx, stop := context.WithCancel(t.Context())
	code := make(chan int, 1)
	go func() {
		code <- execute(ctx, []string{"--config.file=" + file, "--web.listen-address=127.0.0.1:0",
			"--storage.path=" + t.TempDir(), fmt.Sprint("--shard.index=", index), "--shard.count=2"}, io.Discard,
			&stderr)
	}()
	defer func() {
		stop()
		if c := <-code; c != exitOK {
			t.Errorf("exit code %d\n%s", c, stderr.String())
		}
	}()
	eventually(t, "the address in the log", func() bool { return served.MatchString(stderr.String()) })
	metric := func(name string) int {
		resp, err := http.Get("http://" + served.FindStringSubmatch(stderr.String())[1] + "/metrics")
		if err != nil {
			return 0
		}
		defer func() { _ = resp.Body.Close() }()
		body, _ := io.ReadAll(resp.Body)
		found := regexp.MustCompile(name + `{job="envoy-stats"} (\d+)`).FindSubmatch(body)
		if found == nil {
			return 0
		}
		n, _ := strconv.Atoi(string(found[1]))
		return n
	}
	eventually(t, "all pods", func() bool {
		return metric("envoy_scraper_scrape_targets")+metric("envoy_scraper_scrape_other_shards_targets") == 12
	})
	return metric("envoy_scraper_scrape_targets")
}

func TestStartIsRefused(t *testing.T) {
	used, file := t.TempDir(), filepath.Join(t.TempDir(), "file")
	store, err := queue.OpenStore(used, queue.OS())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close() //nolint:errcheck // only its lock matters
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	protected := filepath.Join(t.TempDir(), "web.yml")
	if err := os.WriteFile(protected, []byte("tls_server_config: {cert_file: a, key_file: b}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	builtin := []string{"--remote-write.url=http://127.0.0.1:1/", "--kubeconfig=/dev/null"}
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no file, no URL":    {nil, exitRefused, "--remote-write.url"},
		"a file that is not": {[]string{"--config.file=missing.yml"}, exitRefused, "missing.yml"},
		"an unknown flag":    {[]string{"--nonsense"}, exitUsage, "--nonsense"},
		"a bad flag value":   {[]string{"--log.level=loud"}, exitUsage, "loud"},
		"little scrape memory": {append(builtin, "--scrape.max-memory=64KB"), exitUsage,
			"--scrape.max-memory: 64KiB: give 1MiB or more"},
		"a ratio over one": {append(builtin, "--memory.limit-ratio=5"), exitUsage, "--memory.limit-ratio: 5: "},
		"a deadline before": {append(builtin, "--storage.remote.flush-deadline=-4s"), exitUsage,
			"--storage.remote.flush-deadline: -4s: "},
		"an interval of none": {append(builtin, "--config.auto-reload-interval=0s"), exitUsage,
			"--config.auto-reload-interval: 0s: "},
		"a port that is used": {append(builtin, "--storage.path=", "--web.listen-address=256.0.0.1:1"), exitRefused,
			"256.0.0.1"},
		"pages it cannot read": {append(builtin, "--storage.path=", "--self-scrape", "--web.config.file="+protected),
			exitRefused, "asks for TLS"},
		"storage in use": {append(builtin, "--storage.path="+used), exitRefused,
			used + " is in use by process " + strconv.Itoa(os.Getpid())},
		"storage that is not": {append(builtin, "--storage.agent.path="+file), exitRefused, file},
	} {
		t.Run(name, func(t *testing.T) {
			var stderr bytes.Buffer
			if got := execute(t.Context(), c.args, io.Discard, &stderr); got != c.code {
				t.Errorf("exit code %d, want %d", got, c.code)
			}
			if !strings.Contains(stderr.String(), c.says) {
				t.Errorf("%q does not name %s", stderr.String(), c.says)
			}
		})
	}
}
