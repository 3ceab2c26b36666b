package remotewrite

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// TestABacklogIsMerged: the receiver is down for ten minutes, and the delay is the default. The backlog is small, and
// is delivered with several samples a TimeSeries. A reload in between changes nothing.
func TestABacklogIsMerged(t *testing.T) {
	for _, stored := range []bool{false, true} {
		t.Run(fmt.Sprintf("stored=%v", stored), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { outlastOutage(t, stored) })
		})
	}
}

func outlastOutage(t *testing.T, stored bool) {
	var store *queue.Store
	if stored {
		store = openStore(t, t.TempDir())
		defer closeStore(t, store)
	}
	w := newStoredWorld(t, store)
	w.cfg.Endpoints = []EndpointConfig{endpointConfig("a")}
	w.apply()
	r := w.receivers["a"]
	w.run()
	var pods []target
	for i := range 10 {
		pods = append(pods, w.target(fmt.Sprint("pod-", i), 100))
	}
	sent := 0
	scrape := func(times int) {
		for range times {
			for _, pod := range pods {
				w.appendEvery10s(pod)
				sent += len(pod.ids)
			}
			pass(10 * time.Second)
		}
	}
	scrape(12)
	r.set(unreachable)
	scrape(6)
	ec := endpointConfig("a")
	ec.QueueConfig.MaxShards = 20
	w.cfg.Endpoints = []EndpointConfig{ec}
	w.apply()
	before := w.writers.Status()[0]
	scrape(60)
	after := w.writers.Status()[0]
	perSample := float64(after.PendingBytes-before.PendingBytes) / float64(after.PendingSamples-before.PendingSamples)
	if perSample > 4 {
		t.Errorf("%.1f bytes a sample in the queue, want at most 4", perSample)
	}
	arrived, timeSeries := r.total(), r.taken()
	r.set(nil)
	pass(5 * time.Second) // no scrape in between
	pass(time.Minute)
	arrived, timeSeries = r.total()-arrived, r.taken()-timeSeries
	if missing := sent - r.total(); missing > 0 {
		t.Errorf("%d samples are missing a minute after the outage", missing)
	}
	if arrived < 6*timeSeries {
		t.Errorf("%d samples came in %d TimeSeries, want at least 6 in each", arrived, timeSeries)
	}
	scrape(3)
	w.stop()
	if r.total() != sent || r.disorder != 0 {
		t.Errorf("%d of %d samples arrived, %d out of order", r.total(), sent, r.disorder)
	}
	w.conserved("a", sent)
}

// TestOrderAcrossRestarts: the process is restarted several times, with a backlog or without. Its groups are
// limited at random times. Each sample arrives once, and each series in order.
func TestOrderAcrossRestarts(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { restartOften(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func restartOften(t *testing.T, chance *rand.Rand) {
	dir := t.TempDir()
	all := map[string][]point{}
	sent := 0
	const processes = 6
	for n := range processes {
		store := openStore(t, dir)
		ec := endpointConfig("a")
		ec.QueueConfig.MaxSamplesPerSend = 20 + chance.IntN(100)
		w := newStoredWorld(t, store, ec)
		r := w.receivers["a"]
		if n < processes-1 && chance.IntN(2) == 0 {
			r.set(unreachable)
		}
		w.run()
		var pods []target
		for i := range 8 {
			pod := w.target(fmt.Sprint("pod-", i), 10)
			pod.ids = append(pod.ids, w.table.Add(pod.id, labels.FromStrings("__name__", "unbound", "n", fmt.Sprint(i)),
				series.Meta{}))
			pods = append(pods, pod)
		}
		packer := (*w.writers.endpoints.Load())[0].packer
		for range 3 + chance.IntN(12) {
			packer.LimitScrapes(chance.IntN(2) == 0)
			for _, pod := range pods {
				if chance.IntN(4) > 0 {
					w.appendEvery10s(pod)
					sent += len(pod.ids)
				}
			}
			pass(time.Duration(1+chance.IntN(11_000)) * time.Millisecond)
		}
		if n == processes-1 {
			pass(10 * time.Minute)
		}
		w.stop()
		closeStore(t, store)
		if r.disorder > 0 {
			t.Errorf("%d samples arrived out of order", r.disorder)
		}
		for key, samples := range r.arrived {
			all[key] = append(all[key], samples...)
		}
	}
	arrived := 0
	for key, samples := range all {
		arrived += len(samples)
		for i := 1; i < len(samples); i++ {
			if samples[i].at <= samples[i-1].at {
				t.Errorf("%s: %d after %d", key, samples[i].at, samples[i-1].at)
			}
		}
	}
	if arrived != sent {
		t.Errorf("%d samples arrived, want %d", arrived, sent)
	}
}

// TestAMergedBacklogHasTheSameSamples compares everything that a slow receiver gets, sample for sample, with what a
// quick one gets.
func TestAMergedBacklogHasTheSameSamples(t *testing.T) {
	for _, p := range []wire.Protocol{wire.V1, wire.V2} {
		for _, rules := range []bool{false, true} {
			for seed := range uint64(4) {
				want := runMesh(t, meshCase{seed: seed, protocol: p, scrapes: 1, rules: rules})
				got := runMesh(t, meshCase{seed: seed, protocol: p, scrapes: 1, rules: rules, slow: true})
				want.compare(t, got, fmt.Sprintf("%v, rules %v, seed %d", p, rules, seed))
			}
		}
	}
}
