package remotewrite

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

func TestByTarget(t *testing.T) {
	type step struct {
		taken, waiting int
		down, rejects  bool
		times          int // that this is so, one after another
		want           bool
	}
	const backlog = 8000
	for name, steps := range map[string][]step{
		"no backlog":                   {{5000, 8000, false, false, 100, false}},
		"down":                         {{0, 0, true, false, 1, true}},
		"down and nothing is appended": {{0, 0, true, false, 100, true}},
		"one check with a backlog":     {{100, 9000, false, false, 1, false}, {9000, 0, false, false, 1, false}},
		"two checks with a backlog":    {{100, 9000, false, false, 1, false}, {100, 9000, false, false, 1, true}},
		"two checks, not one after the other": {{100, 9000, false, false, 1, false}, {100, 10, false, false, 1, false},
			{100, 9000, false, false, 1, false}},
		"the scrapes of a second at a high rate":  {{1_000_000, 70_000, false, false, 100, false}},
		"more than the receiver takes in a check": {{50_000, 70_000, false, false, 2, true}},
		"just less than five minutes after the end": {{0, 9000, true, false, 9, true},
			{5000, 10, false, false, 19, true}},
		"five minutes after the end": {{0, 9000, true, false, 9, true}, {5000, 10, false, false, 19, true},
			{5000, 10, false, false, 100, false}},
		"a backlog within the five minutes": {{0, 9000, true, false, 9, true}, {5000, 10, false, false, 19, true},
			{100, 9000, false, false, 1, true}, {5000, 10, false, false, 19, true}, {5000, 10, false, false, 1, false}},
		"down again": {{0, 0, true, false, 1, true}, {5000, 10, false, false, 20, false}, {0, 10, true, false, 1, true},
			{5000, 10, false, false, 19, true}, {5000, 10, false, false, 1, false}},
		"a 1.0 receiver rejects": {{100, 9000, true, true, 100, false}, {100, 9000, true, false, 1, true},
			{100, 9000, true, true, 1, false}},
	} {
		t.Run(name, func(t *testing.T) {
			var m byTarget
			var is load
			for i, s := range steps {
				got := false
				for range s.times {
					is = load{delivered: is.delivered + s.taken, pending: s.waiting, down: s.down, rejects: s.rejects}
					got = m.next(is, backlog)
				}
				if got != s.want {
					t.Errorf("step %d: %v, want %v", i, got, s.want)
				}
			}
		})
	}
}

// switches counts the log lines of switches: on, and off.
func switches(logs *observer.ObservedLogs) (on, off int) {
	for _, line := range logs.All() {
		switch {
		case strings.Contains(line.Message, "requests hold scrapes of one target"):
			on++
		case strings.Contains(line.Message, "requests hold samples of many targets again"):
			off++
		}
	}
	return on, off
}

// TestABacklogIsPackedByTarget: the receiver is down for ten minutes, and the delay is the default. The backlog is
// small, and is delivered with several samples a TimeSeries. A reload in between changes nothing. The mode ends
// afterwards.
func TestABacklogIsPackedByTarget(t *testing.T) {
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
	core, logs := observer.New(zapcore.InfoLevel)
	w := newStoredWorld(t, store)
	w.writers.log = zap.New(core)
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
	byTarget := func(want bool) {
		t.Helper()
		if got := w.writers.Status()[0].ByTarget; got != want {
			t.Errorf("packs by target: %v, want %v", got, want)
		}
	}
	scrape(12)
	byTarget(false)
	r.set(unreachable)
	scrape(6)
	byTarget(true)
	ec := endpointConfig("a")
	ec.QueueConfig.MaxShards = 20
	w.cfg.Endpoints = []EndpointConfig{ec}
	w.apply()
	byTarget(true)
	before := w.writers.Status()[0]
	scrape(60)
	byTarget(true)
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
	byTarget(true)
	scrape(33)
	byTarget(false)
	scrape(3)
	if on, off := switches(logs); on != 1 || off != 1 {
		t.Errorf("%d log lines of the start and %d of the end, want one each", on, off)
	}
	w.stop()
	if r.total() != sent || r.disorder != 0 {
		t.Errorf("%d of %d samples arrived, %d out of order", r.total(), sent, r.disorder)
	}
	w.conserved("a", sent)
}

// TestADelayPacksByTargetInAnyCase: an outage changes nothing where the delay holds several scrapes.
func TestADelayPacksByTargetInAnyCase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.InfoLevel)
		ec := endpointConfig("n")
		ec.Streams = true
		w := newWorld(t)
		w.writers.log = zap.New(core)
		w.cfg.Endpoints = []EndpointConfig{ec}
		w.apply()
		w.run()
		defer w.stop()
		w.receivers["n"].set(unreachable)
		w.appendEvery10s(w.target("pod", 7))
		pass(time.Minute)
		if !w.writers.Status()[0].ByTarget {
			t.Error("does not pack by target")
		}
		w.receivers["n"].set(nil)
		pass(time.Hour)
		if on, off := switches(logs); !w.writers.Status()[0].ByTarget || on+off > 0 {
			t.Errorf("packs by target: %v, with %d log lines", w.writers.Status()[0].ByTarget, on+off)
		}
	})
}

// TestOrderAcrossSwitchesAndRestarts: the process is restarted several times, with a backlog or without. Its packer
// begins and ceases to pack by target at random times. Each sample arrives once, and each series in order.
func TestOrderAcrossSwitchesAndRestarts(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { switchAndRestart(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func switchAndRestart(t *testing.T, chance *rand.Rand) {
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
			packer.PackByTarget(chance.IntN(2) == 0)
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

// TestSwitchesChangeNoSample compares everything that a slow receiver gets, sample for sample, with what it gets of a
// packer that never packs by target.
func TestSwitchesChangeNoSample(t *testing.T) {
	for _, p := range []wire.Protocol{wire.V1, wire.V2} {
		for _, rules := range []bool{false, true} {
			for seed := range uint64(4) {
				want := runMesh(t, meshCase{seed: seed, protocol: p, scrapes: 1, rules: rules})
				got := runMesh(t, meshCase{seed: seed, protocol: p, scrapes: 1, rules: rules, switches: true})
				want.compare(t, got, fmt.Sprintf("%v, rules %v, seed %d", p, rules, seed))
			}
		}
	}
}
