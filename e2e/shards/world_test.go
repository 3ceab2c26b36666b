package shards

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/agent"
	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/oracle"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
	"github.com/envoy-scraper/envoy-scraper/e2e/receiver"
)

const (
	targets  = 60
	series   = 200 // per target
	interval = 2 * time.Second
)

// A world is several instances that share a fleet of targets and write to two receivers: a Prometheus and a recorder.
type world struct {
	*testing.T
	dir       string
	binary    string
	fleet     *oracle.Fleet
	recorder  *oracle.Receiver
	real      *receiver.Receiver
	instances map[int]*agent.Agent
	ends      []time.Time
	shards    string         // the shard map in the configuration: {count: 3}, {count: 5, from: 2026-01-02T15:04:05Z}
	paths     map[int]string // URLs by instance, if not Prometheus' own URL

	handedOver, takenOver, skipped int                // counters of stopped instances; skipped scrapes
	dropped                        map[string]float64 // dropped samples of stopped instances, by reason
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, dir: t.TempDir(), binary: parts.Scraper(t), instances: map[int]*agent.Agent{},
		dropped: map[string]float64{}}
	addresses := parts.Addresses(t)
	w.fleet = parts.Fleet(t, addresses, 10, targets, series)
	w.recorder = parts.Recorder(t, addresses, 2)
	w.real = parts.Prometheus(t, receiver.Config{Protocol: receiver.V1Only})
	return w
}

// configuration returns the configuration file of an instance. The files differ only in the header that names the
// instance to the targets.
func (w *world) configuration(index int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "envoy_scraper:\n  shards: [%s]\nglobal:\n  scrape_interval: %v\n  scrape_timeout: 1s\n", w.shards,
		model.Duration(interval))
	fmt.Fprintf(&b, "scrape_configs:\n- job_name: mesh\n  http_headers: {%s: {values: ['%d']}}\n", oracle.By, index)
	fmt.Fprintf(&b, "  static_configs: [{targets: [%s]}]\nremote_write:\n", strings.Join(w.fleet.Addresses(), ", "))
	prometheus := w.real.WriteURL()
	if w.paths[index] != "" {
		prometheus = w.paths[index]
	}
	for name, url := range map[string]string{"prometheus": prometheus, "recorder": w.recorder.URL} {
		fmt.Fprintf(&b, "- {name: %s, url: '%s', protobuf_message: prometheus.WriteRequest, queue_config: "+
			"{batch_send_deadline: 300ms}}\n", name, url)
	}
	return b.String()
}

// start starts an instance and waits until it is ready.
func (w *world) start(index int) {
	w.Helper()
	name := fmt.Sprintf("envoy-scraper-%d", index)
	w.instances[index] = agent.Start(w.T, agent.Config{
		Path: w.binary, Dir: w.dir, Name: name, YAML: w.configuration(index), Env: append(os.Environ(),
			"POD_NAME="+name),
		Args: []string{"--shard.index=ordinal", "--storage.path=" + filepath.Join(w.dir, name+"-data")},
	})
	if _, err := w.instances[index].WaitReady(w.Context()); err != nil {
		w.Fatal(err)
	}
}

// writeShards writes another shard map to the files of all instances and makes them reload.
func (w *world) writeShards(shards string) {
	w.Helper()
	w.shards = shards
	for index, a := range w.instances {
		file := filepath.Join(w.dir, fmt.Sprintf("envoy-scraper-%d.yml", index))
		if err := os.WriteFile(file, []byte(w.configuration(index)), 0o600); err != nil {
			w.Fatal(err)
		}
		if err := a.Process.Signal(syscall.SIGHUP); err != nil {
			w.Fatal(err)
		}
	}
}

// stop stops an instance as a scale-down does, and saves its counters.
func (w *world) stop(index int) {
	w.Helper()
	a := w.instances[index]
	delete(w.instances, index)
	m, err := a.Metrics(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	if m.Sum("envoy_scraper_config_last_reload_successful") != 1 {
		w.Errorf("instance %d refused a configuration:\n%s", index, a.Process.Log())
	}
	moves := m.By("envoy_scraper_scrape_handovers_total", "direction")
	w.handedOver, w.takenOver = w.handedOver+int(moves["away"]), w.takenOver+int(moves["here"])
	w.skipped += int(m.Sum("envoy_scraper_scrape_skipped_total"))
	for _, name := range []string{"envoy_scraper_remotewrite_samples_dropped_total",
		"envoy_scraper_remotewrite_rejected_samples_total"} {
		for reason, n := range m.By(name, "reason") {
			if n > 0 {
				w.dropped[reason] += n
			}
		}
	}
	w.ends = append(w.ends, time.Now())
	if code := a.Process.Stop(30 * time.Second); code != 0 {
		w.Errorf("instance %d: exit code %d, log:\n%s", index, code, a.Process.Log())
	}
}

// drained waits until an instance has no pending samples.
func (w *world) drained(index int) {
	w.Helper()
	deadline := time.Now().Add(time.Minute) // a search for refused series takes long on a busy machine
	for {
		m, err := w.instances[index].Metrics(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		if m.Sum("envoy_scraper_remotewrite_pending_oldest_seconds") < 2 {
			return
		}
		if time.Now().After(deadline) {
			w.Fatalf("instance %d still has pending samples", index)
		}
		w.until(time.Now().Add(200 * time.Millisecond))
	}
}

// until waits until a time.
func (w *world) until(at time.Time) {
	w.Helper()
	ctx, cancel := context.WithDeadline(w.Context(), at)
	defer cancel()
	<-ctx.Done()
	if w.Context().Err() != nil {
		w.Fatal("the test ended")
	}
}

// soon returns a time, in whole seconds as in the configuration, that is late enough for all instances to reload before
// it.
func soon() time.Time { return time.Now().Add(6 * time.Second).Truncate(time.Second) }
