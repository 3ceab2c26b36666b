package remotewrite

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/deliver"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/pack"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
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
				sent, most := 0, 0
				e := (*w.writers.endpoints.Load())[0]
				for range 90 { // 200 samples per second; a lane carries 20
					for _, pod := range pods {
						w.append(w.scrape(pod, nowMillis()))
						sent += 100
					}
					pass(10 * time.Second)
					most = max(most, len(e.packer.Lanes()))
				}
				if most != 12 {
					t.Errorf("%d lanes, want 12", most)
				}
				pass(time.Hour) // the targets of some lanes are more than others'
				if n := len(e.packer.Lanes()); n != 1 {
					t.Errorf("%d lanes after an hour with nothing to send, want 1", n)
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

// TestLanesShrink: an endpoint that was slow for a while gets rid of the lanes that it no longer needs, with their
// memory, while scrapes go on, and each series arrives in order.
func TestLanesShrink(t *testing.T) {
	for _, stored := range []bool{false, true} {
		t.Run(fmt.Sprintf("stored=%v", stored), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ec := endpointConfig("a")
				ec.QueueConfig.MaxSamplesPerSend = 10
				var store *queue.Store
				if stored {
					store = openStore(t, t.TempDir())
					defer closeStore(t, store)
				}
				w := newStoredWorld(t, store, ec)
				r := w.receivers["a"]
				w.run()
				e := (*w.writers.endpoints.Load())[0]
				sent := 0
				scrapes := func(n int) (most int) {
					for range n {
						for i := range 40 {
							w.append(w.scrape(w.target(fmt.Sprintf("pod-%d", i), 10), nowMillis()))
							sent += 10
						}
						pass(10 * time.Second)
						most = max(most, len(e.packer.Lanes()))
					}
					return most
				}
				r.delay = 2 * time.Second
				most := scrapes(30)
				if most < 8 {
					t.Fatalf("%d lanes, too few for this test", most)
				}
				kept := weakLanes(e)
				r.delay = 20 * time.Millisecond
				scrapes(120)
				if n := len(e.packer.Lanes()); n != 1 {
					t.Errorf("%d lanes, 20 minutes after the receiver became fast again, want 1", n)
				}
				runtime.GC()
				left := 0
				for _, l := range kept {
					if l.Value() != nil {
						left++
					}
				}
				if left > 1 {
					t.Errorf("%d of %d lanes are in memory, want 1", left, len(kept))
				}
				w.stop()
				if r.total() != sent || r.disorder != 0 {
					t.Errorf("%d of %d samples arrived, %d out of order", r.total(), sent, r.disorder)
				}
				w.conserved("a", sent)
			})
		})
	}
}

func weakLanes(e *endpoint) (all []weak.Pointer[pack.Lane]) {
	for _, l := range e.packer.Lanes() {
		all = append(all, weak.Make(l))
	}
	return all
}

// TestOrderWhileLanesChange: whatever the receiver answers, and however often the number of lanes or the mode changes,
// each series arrives in order and whole, also the ones that do not go with their target.
func TestOrderWhileLanesChange(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { changeLanes(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

func changeLanes(t *testing.T, chance *rand.Rand) {
	with := func(lanes int) EndpointConfig {
		ec := endpointConfig("a")
		ec.QueueConfig.MaxSamplesPerSend, ec.QueueConfig.MinShards, ec.QueueConfig.MaxShards = 20, lanes, lanes
		return ec
	}
	var store *queue.Store
	if chance.IntN(4) == 0 {
		store = openStore(t, t.TempDir())
		defer closeStore(t, store)
	}
	w := newStoredWorld(t, store, with(4))
	w.cfg.FlushDeadline, w.cfg.Ephemeral = time.Hour, true
	w.apply()
	r := w.receivers["a"]
	r.delay = time.Duration(chance.IntN(400)) * time.Millisecond
	r.set(func(_ *receiver, p wire.Protocol, n int) deliver.Answer { // called with the lock of the receiver
		switch chance.IntN(12) {
		case 0:
			return status(500)
		case 1:
			return status(503)
		case 2:
			if n > 1 {
				return status(413)
			}
		}
		return fine(p, n)
	})
	var pods []target
	for i := range 5 + chance.IntN(20) {
		pod := w.target(fmt.Sprintf("pod-%d", i), 10)
		pod.ids = append(pod.ids, w.table.Add(pod.id, labels.FromStrings("__name__", "unbound", "instance",
			fmt.Sprintf("pod-%d", i)), series.Meta{}))
		pods = append(pods, pod)
	}
	w.run()
	sent := 0
	for range 40 {
		var steps []int
		r.mu.Lock() // chance belongs to its holder
		for range 3 {
			steps = append(steps, chance.IntN(1<<16))
		}
		r.mu.Unlock()
		if steps[0]%5 == 0 {
			w.cfg.Endpoints = []EndpointConfig{with(1 + steps[1]%16)}
			w.apply()
		}
		if steps[0]%7 == 0 {
			(*w.writers.endpoints.Load())[0].packer.LimitScrapes(steps[1]%3 == 0)
		}
		for i, pod := range pods {
			if (steps[2]>>(i%16))&1 == 0 {
				b := w.scrape(pod, nowMillis())
				b.Interval = time.Duration(steps[0]%2) * 10 * time.Second
				w.append(b)
				sent += len(pod.ids)
			}
		}
		pass(time.Duration(1+steps[1]%2000) * time.Millisecond)
	}
	w.stop()
	if r.total() != sent || r.disorder != 0 {
		t.Errorf("%d of %d samples arrived, %d out of order", r.total(), sent, r.disorder)
	}
	w.conserved("a", sent)
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
			ec.QueueConfig.MaxSamplesPerSend = 50
			ec.QueueConfig.MinShards, ec.QueueConfig.MaxShards = lanes, max(lanes, 1)
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
			if n := len((*w.writers.endpoints.Load())[0].packer.Lanes()); n != lanes {
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

func TestGrowth(t *testing.T) {
	type step struct {
		busiest, others float64 // share of the time in which these of four lanes wait for answers
		taken, waiting  int
		down            bool
		times           int // that this is so, one after another
		want, desired   int
	}
	for name, steps := range map[string][]step{
		"idle half of the time": {{0.5, 0.5, 5000, 1000, false, 1, 40, 40},
			{0.5, 0.5, 5000, 100_000, false, 3, 40, 40}},
		"catches up":   {{1, 1, 50_000, 100_000, false, 1, 40, 40}, {1, 1, 50_000, 90_000, false, 1, 40, 40}},
		"falls behind": {{1, 1, 50_000, 90_000, false, 1, 40, 40}, {1, 1, 50_000, 100_000, false, 1, 96, 96}},
		"takes a quarter of what comes": {{1, 1, 50_000, 100_000, false, 1, 40, 40},
			{1, 1, 50_000, 250_000, false, 1, 300, 320}}, // four times the lanes, and some to catch up
		"takes nothing":     {{1, 1, 0, 250_000, false, 1, 40, 40}, {1, 1, 0, 400_000, false, 1, 80, 80}},
		"takes a hundredth": {{1, 1, 1000, 0, false, 1, 40, 40}, {1, 1, 1000, 99_000, false, 1, 300, 8000}},
		"one lane cannot keep up": {{1, 0.2, 50_000, 90_000, false, 1, 40, 40},
			{1, 0.2, 50_000, 100_000, false, 1, 80, 80}},
		"idle": {{0, 0, 0, 0, false, 20, 40, 40}, {0, 0, 0, 0, false, 1, 8, 1}},
		"an hour without a backlog": {{0.1, 0.1, 5000, 1000, false, 20, 40, 40},
			{0.1, 0.1, 5000, 1000, false, 1, 10, 10}},
		"one lane has something to do": {{0.3, 0, 5000, 1000, false, 21, 40, 30}},
		"too few would go":             {{0.29, 0.1, 5000, 1000, false, 21, 40, 29}},
		"a peak within five minutes": {{0.1, 0.1, 5000, 1000, false, 10, 40, 40},
			{0.2, 0.1, 5000, 1000, false, 1, 40, 40},
			{0.1, 0.1, 5000, 1000, false, 10, 20, 20}},
		"a backlog within five minutes": {{0.1, 0.1, 5000, 1000, false, 20, 40, 40},
			{0.1, 0.1, 5000, 100_000, false, 1, 40, 40},
			{0.1, 0.1, 5000, 1000, false, 19, 40, 40}},
		"down": {{0, 0, 0, 1000, true, 100, 40, 40}},
	} {
		t.Run(name, func(t *testing.T) {
			const lanes = 40
			now := time.Now()
			r := laneLimits{min: 8, max: 300, backlog: 8000}
			var g growth
			is := load{waited: make([]time.Duration, lanes)}
			for i, s := range steps {
				want := 0
				for range s.times {
					now = now.Add(growthCheck)
					is = load{waited: slices.Clone(is.waited), delivered: is.delivered + s.taken, pending: s.waiting,
						down: s.down}
					for l := range is.waited {
						share := s.others
						if l == 0 {
							share = s.busiest
						}
						is.waited[l] += time.Duration(share * float64(growthCheck))
					}
					want = g.next(now, lanes, r, is)
				}
				if want != s.want || g.desired != s.desired {
					t.Errorf("step %d: %d lanes, %d desired, want %d and %d", i, want, g.desired, s.want, s.desired)
				}
			}
		})
	}
}

// TestGrowthOfAMoment: several lanes ask for a check within milliseconds. A moment in which the only lane waits and a
// scrape is appended says nothing.
func TestGrowthOfAMoment(t *testing.T) {
	r := laneLimits{min: 1, max: 50, backlog: 100}
	now := time.Now()
	var g growth
	g.next(now, 1, r, load{waited: []time.Duration{0}})
	now = now.Add(growthCheck)
	is := load{waited: []time.Duration{growthCheck / 2}, delivered: 5000, pending: 200}
	g.next(now, 1, r, is)
	const moment = time.Millisecond
	is.waited, is.pending = []time.Duration{is.waited[0] + moment}, 300
	if n := g.next(now.Add(moment), 1, r, is); n != 1 {
		t.Errorf("%d lanes after a moment, want 1", n)
	}
	is.waited, is.pending = []time.Duration{is.waited[0] + busyCheck}, 400
	if n := g.next(now.Add(moment+busyCheck), 1, r, is); n != 2 {
		t.Errorf("%d lanes, want 2", n)
	}
}

// TestGrowthWhileDraining: lanes were added, and one reader has what was queued before. Further lanes would only wait.
// They do not where the oldest requests have lanes for more readers, or where the queue has lost those requests.
func TestGrowthWhileDraining(t *testing.T) {
	for name, tc := range map[string]struct {
		max, oldest int // lanes
		lost        int // samples, after lanes were added
		want        []int
	}{
		"one reader":                        {max: 50, oldest: 1, want: []int{2, 2}},
		"the oldest requests have 40 lanes": {max: 50, oldest: 40, want: []int{2, 4}},
		"they have two":                     {max: 50, oldest: 2, want: []int{2, 2}},
		"the oldest requests were dropped":  {max: 50, oldest: 1, lost: 10_000, want: []int{2, 4}},
		"no lane could be added":            {max: 1, oldest: 1, want: []int{1, 2}}, // then a reload raises the limit
	} {
		t.Run(name, func(t *testing.T) {
			now, lanes := time.Now(), 1
			var g growth
			is := load{waited: []time.Duration{0}, oldestLanes: tc.oldest, pending: 8000}
			step := func(r laneLimits, more int) int {
				now = now.Add(growthCheck)
				is.pending += more
				is.waited = slices.Clone(is.waited)
				for i := range is.waited {
					is.waited[i] += growthCheck
				}
				return g.next(now, lanes, r, is)
			}
			r := laneLimits{min: 1, max: tc.max, backlog: 100}
			step(r, 0)
			got := []int{step(r, 2000)}
			if lanes = got[0]; lanes > 1 {
				is.waited = make([]time.Duration, lanes)
				is.pending -= tc.lost
				step(r, 0) // the first check with this number
			}
			r.max = 50
			if got = append(got, step(r, 2000)); !slices.Equal(got, tc.want) {
				t.Errorf("%d lanes, want %d", got, tc.want)
			}
		})
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
	e.packer.Resize(e.settings.Load().lanes())
	for i := range 200 {
		w.append(w.scrape(w.target(fmt.Sprint("pod-", i), 1), nowMillis()))
	}
	if lanes, waiting := len(e.packer.Lanes()), e.queue.Stats().Samples; lanes != queue.MaxLanes || waiting != 200 {
		t.Errorf("%d lanes and %d samples, want %d and 200", lanes, waiting, queue.MaxLanes)
	}
	if want := ec.maxLanes(); want != queue.MaxLanes {
		t.Errorf("at most %d lanes, want %d", want, queue.MaxLanes)
	}
}

// TestLanesComeInTime: a receiver answers after 300 ms, which is too slow for one lane by a factor of 3.6. No sample is
// late by more than 50 s, and in the end none waits.
func TestLanesComeInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ec := endpointConfig("a")
		ec.QueueConfig.MaxSamplesPerSend = 10
		w := newWorld(t, ec)
		w.receivers["a"].delay = 300 * time.Millisecond
		w.run()
		var pods []target
		for i := range 240 {
			pods = append(pods, w.target(fmt.Sprint("pod-", i), 5))
		}
		late, worst := time.Duration(0), time.Duration(0)
		for second := range 180 { // 120 samples in each
			for i := range 24 {
				w.appendEvery10s(pods[second%10*24+i])
			}
			pass(time.Second)
			late = 0
			if s := w.writers.Status()[0]; s.PendingSamples > 0 {
				late = time.Since(s.OldestPending)
			}
			worst = max(worst, late)
		}
		if worst > 50*time.Second || late > 2*time.Second {
			t.Errorf("samples are up to %v late, and %v at the end", worst, late)
		}
		w.stop()
	})
}

// TestBacklogIsARequestForEachLane: lanes are added if more waits than what they can send at once. A request without a
// written max_samples_per_send has 10,500 series with all their samples, not 2,000 samples.
func TestBacklogIsARequestForEachLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for scrapes := 1; scrapes <= 3; scrapes++ { // as config sets both
			ec := endpointConfig("a")
			ec.SeriesPerSend, ec.QueueConfig.MaxSamplesPerSend = DefaultSeriesPerSend, scrapes*DefaultSeriesPerSend
			ec.QueueConfig.MinShards = 2
			w := newWorld(t, ec)
			w.run()
			pass(time.Second)
			_, limits := (*w.writers.endpoints.Load())[0].load()
			if want := 2 * scrapes * DefaultSeriesPerSend; limits.backlog != want {
				t.Errorf("%d scrapes: %d samples are no backlog, want %d", scrapes, limits.backlog, want)
			}
			w.stop()
		}
	})
}
