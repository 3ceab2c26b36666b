package remotewrite

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
)

// TestSlowReceiverGetsMoreLanes: a receiver that takes five seconds for each request gets as many at once as it needs
// to keep up, in full requests, and each series in order.
func TestSlowReceiverGetsMoreLanes(t *testing.T) {
	for _, stored := range []bool{false, true} {
		t.Run(fmt.Sprintf("stored=%v", stored), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ec := endpointConfig("a")
				ec.QueueConfig.MaxSamplesPerSend = 100
				ec.QueueConfig.MaxShards = 12
				w := newWorld(t, ec)
				if stored {
					store := openStore(t, t.TempDir())
					defer closeStore(t, store)
					w = newStoredWorld(t, store, ec)
				}
				r := w.receivers["a"]
				r.delay = 5 * time.Second
				w.run()
				var pods []target
				for i := range 20 {
					pods = append(pods, w.target(fmt.Sprintf("pod-%d", i), 100))
				}
				sent := 0
				for range 90 { // 200 samples a second; four lanes carry 80
					for _, pod := range pods {
						w.append(w.scrape(pod, nowMillis()))
						sent += 100
					}
					time.Sleep(10 * time.Second)
				}
				time.Sleep(time.Hour) // the targets of some lanes are more than others'
				if n := len((*w.writers.endpoints.Load())[0].all()); n != 12 {
					t.Errorf("%d lanes, want 12", n)
				}
				w.stop()
				if r.total() != sent || r.disorder != 0 {
					t.Errorf("%d of %d samples arrived, %d out of order", r.total(), sent, r.disorder)
				}
				w.conserved("a", sent)
				if average := sent / r.requests; average < 80 {
					t.Errorf("%d samples a request of at most 100", average)
				}
			})
		})
	}
}

// TestLanesFollowTheSettings: a reload changes their number, while samples flow, and loses and disorders none.
func TestLanesFollowTheSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ec := endpointConfig("a")
		ec.QueueConfig.MaxSamplesPerSend = 50
		w := newWorld(t, ec)
		r := w.receivers["a"]
		r.delay = 100 * time.Millisecond
		w.run()
		var pods []target
		for i := range 20 {
			pods = append(pods, w.target(fmt.Sprintf("pod-%d", i), 30))
		}
		sent := 0
		for _, lanes := range []int{4, 9, 2, 1, 16, 3} {
			ec := endpointConfig("a")
			ec.QueueConfig.MaxSamplesPerSend, ec.QueueConfig.MinShards, ec.QueueConfig.MaxShards = 50, lanes, max(lanes, 1)
			w.cfg.Endpoints = []EndpointConfig{ec}
			w.apply()
			for range 5 {
				for _, pod := range pods {
					w.append(w.scrape(pod, nowMillis()))
					sent += 30
				}
				time.Sleep(time.Second)
			}
			synctest.Wait()
			if n := len((*w.writers.endpoints.Load())[0].all()); n != lanes {
				t.Errorf("%d lanes, want %d", n, lanes)
			}
		}
		time.Sleep(time.Minute)
		w.stop()
		if r.total() != sent || r.disorder != 0 {
			t.Errorf("%d of %d samples arrived, %d out of order", r.total(), sent, r.disorder)
		}
		w.conserved("a", sent)
	})
}

func TestGrowthLeavesAFastEndpointAlone(t *testing.T) {
	now := time.Now()
	g := growth{}
	for i, step := range []struct {
		waited  time.Duration // a second and lane
		taken   int
		waiting int
		want    int
	}{
		{0, 0, 0, 4}, {500 * time.Millisecond, 5000, 1000, 4}, {500 * time.Millisecond, 5000, 100_000, 4}, // idle half of the time
		{time.Second, 50_000, 90_000, 4},   // catches up
		{time.Second, 50_000, 100_000, 8},  // falls behind
		{time.Second, 50_000, 250_000, 20}, // takes a quarter of what comes: four times the lanes, and some to catch up
		{time.Second, 0, 400_000, 8},       // nothing to go by
	} {
		now = now.Add(10 * time.Second)
		is := load{waited: g.waited + 4*10*step.waited, taken: g.taken + step.taken, waiting: step.waiting}
		if got := g.next(now, 4, 50, is, 8000); got != step.want {
			t.Errorf("step %d: %d lanes, want %d", i, got, step.want)
		}
	}
	much := load{waited: time.Hour, taken: 1, waiting: 1 << 20}
	if got := (&growth{lanes: 40, at: now}).next(now.Add(time.Second), 40, 50, much, 1); got != 50 {
		t.Errorf("%d lanes, want max_shards", got)
	}
}

// TestMoreLanesThanAQueueCanHave: the configuration refuses such a min_shards, and an endpoint that is given one works
// with as many lanes as its queue has.
func TestMoreLanesThanAQueueCanHave(t *testing.T) {
	w := newWorld(t, endpointConfig("a"))
	e := (*w.writers.endpoints.Load())[0]
	ec := endpointConfig("a")
	ec.QueueConfig.MinShards, ec.QueueConfig.MaxShards = 5000, 10_000
	w.cfg.Endpoints = []EndpointConfig{ec}
	w.apply()
	e.resize(e.settings.Load().lanes())
	for i := range 200 {
		w.append(w.scrape(w.target(fmt.Sprint("pod-", i), 1), nowMillis()))
	}
	if lanes, waiting := len(e.all()), e.queue.Stats().Samples; lanes != queue.MaxLanes || waiting != 200 {
		t.Errorf("%d lanes and %d samples, want %d and 200", lanes, waiting, queue.MaxLanes)
	}
	much := load{waited: 5000 * time.Hour, taken: 1, waiting: 1 << 20}
	if got := (&growth{lanes: queue.MaxLanes, at: time.Now()}).next(time.Now().Add(time.Second), queue.MaxLanes, ec.maxLanes(), much, 1); got != queue.MaxLanes {
		t.Errorf("%d lanes, want %d", got, queue.MaxLanes)
	}
}
