package remotewrite

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	promhttp "github.com/prometheus/common/config"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/deliver"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

func openStore(t *testing.T, dir string) *queue.Store {
	t.Helper()
	s, err := queue.OpenStore(dir, queue.OS())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closeStore(t *testing.T, s *queue.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// pass lets time go by in a bubble.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// at is an endpoint without a name.
func at(t *testing.T, rawURL string) EndpointConfig {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	ec := endpointConfig("")
	ec.URL = &promhttp.URL{URL: u}
	return ec
}

func unreachable(*receiver, wire.Protocol, int) deliver.Answer {
	return deliver.Answer{Err: errors.New("connection refused")}
}

// fillBacklog runs a process whose receivers are down, and then stops with a number of samples of each
// of ten targets queued.
func fillBacklog(t *testing.T, dir string, scrapes int, endpoints ...EndpointConfig) {
	t.Helper()
	store := openStore(t, dir)
	defer closeStore(t, store)
	w := newStoredWorld(t, store, endpoints...)
	for _, r := range w.receivers {
		r.set(unreachable)
	}
	w.run()
	for range scrapes {
		for i := range 10 {
			w.append(w.scrape(w.target("pod-"+string(rune('a'+i)), 10), nowMillis()))
		}
		pass(10 * time.Second)
	}
	began := time.Now()
	w.stop()
	if took := time.Since(began); took > time.Second {
		t.Errorf("a stop while the endpoint is down took %v", took)
	}
	for name := range w.receivers {
		if n := w.dropped(name, abandoned); n != 0 {
			t.Errorf("abandoned = %d", n)
		}
	}
}

// after runs the next process for a while and returns what arrived, by endpoint name or host.
func after(t *testing.T, dir string, endpoints ...EndpointConfig) map[string]int {
	t.Helper()
	store := openStore(t, dir)
	defer closeStore(t, store)
	w := newStoredWorld(t, store, endpoints...)
	w.run()
	pass(time.Minute)
	w.stop()
	arrived := map[string]int{}
	for name, r := range w.receivers {
		arrived[name] = r.total()
		if r.disorder != 0 {
			t.Errorf("%d samples out of order", r.disorder)
		}
	}
	return arrived
}

func TestBacklogOutlivesTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		fillBacklog(t, dir, 5, endpointConfig("a"), endpointConfig("b"))
		got := after(t, dir, endpointConfig("a"), endpointConfig("b"))
		if got["a"] != 500 || got["b"] != 500 {
			t.Errorf("arrived = %v, want 500 each", got)
		}
		if got := after(t, dir, endpointConfig("a")); got["a"] != 0 {
			t.Errorf("arrived again = %v", got)
		}
	})
}

func TestBacklogFollowsTheEndpoint(t *testing.T) {
	one := "http://one.test/write"
	for name, tc := range map[string]struct {
		before, now []string
		arrives     int
	}{
		"query and secret": {[]string{"http://u:old@one.test/write?token=1"},
			[]string{"http://u:new@one.test/write?token=2"}, 300},
		"another URL":         {[]string{one}, []string{"http://two.test/write"}, 300},
		"two new ones":        {[]string{one}, []string{"http://two.test/write", "http://three.test/write"}, 0},
		"two are gone":        {[]string{one, "http://two.test/write"}, []string{"http://three.test/write"}, 0},
		"one of two is other": {[]string{one, "http://two.test/write"}, []string{one, "http://three.test/write"}, 600},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				endpoints := func(urls []string) (all []EndpointConfig) {
					for _, u := range urls {
						all = append(all, at(t, u))
					}
					return all
				}
				fillBacklog(t, dir, 3, endpoints(tc.before)...)
				arrived := 0
				for _, n := range after(t, dir, endpoints(tc.now)...) {
					arrived += n
				}
				if arrived != tc.arrives {
					t.Errorf("arrived = %d, want %d", arrived, tc.arrives)
				}
			})
		})
	}
}

func TestBacklogFollowsTheEndpointThroughAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := openStore(t, t.TempDir())
		defer closeStore(t, store)
		w := newStoredWorld(t, store, at(t, "http://one.test/write"), endpointConfig("b"))
		w.receivers["one.test"].set(unreachable)
		w.run()
		pod := w.target("pod", 10)
		for range 3 {
			w.append(w.scrape(pod, nowMillis()))
			time.Sleep(10 * time.Second)
		}
		w.cfg.Endpoints = []EndpointConfig{at(t, "http://two.test/write"), endpointConfig("b")}
		w.apply()
		w.append(w.scrape(pod, nowMillis()))
		time.Sleep(10 * time.Second)
		w.stop()
		if n := w.receivers["two.test"].total(); n != 40 {
			t.Errorf("arrived = %d, want 40", n)
		}
	})
}

func TestAnEndpointComesBackBeforeItHasFlushed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := openStore(t, t.TempDir())
		defer closeStore(t, store)
		w := newStoredWorld(t, store, endpointConfig("a"))
		r := w.receivers["a"]
		r.set(unreachable)
		w.run()
		w.append(w.scrape(w.target("pod", 10), nowMillis()))
		time.Sleep(10 * time.Second)
		w.cfg.Endpoints = nil
		w.apply()
		r.set(nil)
		w.cfg.Endpoints = []EndpointConfig{endpointConfig("a")}
		w.apply()
		time.Sleep(10 * time.Second)
		w.stop()
		if n := r.total(); n != 10 {
			t.Errorf("arrived = %d, want 10", n)
		}
	})
}

func TestAQueueWithoutEndpointGoesWhenItIsTooOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		fillBacklog(t, dir, 2, endpointConfig("a"), endpointConfig("b"))
		store := openStore(t, dir)
		defer closeStore(t, store)
		w := newStoredWorld(t, store, endpointConfig("b"))
		w.run()
		gone := endpointConfig("a").identity()
		time.Sleep(6 * 24 * time.Hour)
		if names, _ := store.Names(); !slices.Contains(names, gone) {
			t.Errorf("the queue is gone before its time: %v", names)
		}
		counted := 0
		for range 25 * 6 {
			pass(10 * time.Minute)
			counted = max(counted, w.dropped(gone, deliver.TooOld))
		}
		if names, _ := store.Names(); slices.Contains(names, gone) {
			t.Errorf("the queue is still there: %v", names)
		}
		w.stop()
		if counted != 200 {
			t.Errorf("too old = %d, want 200", counted)
		}
		if n := w.dropped(gone, deliver.TooOld); n != 0 {
			t.Errorf("too old = %d at the end, want the metric to be gone after a while", n)
		}
	})
}

func TestIdentity(t *testing.T) {
	for name, tc := range map[string]struct {
		a, b EndpointConfig
		same bool
	}{
		"name":            {endpointConfig("a"), endpointConfig("b"), false},
		"query":           {at(t, "http://h/w?a"), at(t, "http://h/w?b"), true},
		"user":            {at(t, "http://u:p@h/w"), at(t, "http://h/w"), true},
		"path":            {at(t, "http://h/w"), at(t, "http://h/v"), false},
		"scheme":          {at(t, "http://h/w"), at(t, "https://h/w"), false},
		"letters of case": {endpointConfig("A"), endpointConfig("a"), false},
	} {
		if same := tc.a.identity() == tc.b.identity(); same != tc.same {
			t.Errorf("%s: %q and %q", name, tc.a.identity(), tc.b.identity())
		}
	}
	got := identities([]EndpointConfig{at(t, "http://h/w"), at(t, "http://h/w"), endpointConfig("ä/b")})
	if got[0] == got[1] || got[1] != got[0]+"-2" {
		t.Errorf("identities of one URL twice: %q", got)
	}
}

func TestQueueOf(t *testing.T) {
	for entry, want := range map[string]string{
		"prod":                                       endpointConfig("prod").identity(),
		"http://u:p@one.test/write?token=1":          at(t, "http://one.test/write").identity(),
		at(t, "http://one.test/w").identity():        at(t, "http://one.test/w").identity(),
		at(t, "http://one.test/w").identity() + "-2": at(t, "http://one.test/w").identity() + "-2",
		endpointConfig("ä").identity():               endpointConfig("ä").identity(),
		"one.test:9090/write":                        endpointConfig("one.test:9090/write").identity(),
	} {
		if got, err := QueueOf(entry); got != want || err != nil {
			t.Errorf("%s: %s, %v, want %s", entry, got, err, want)
		}
	}
	if _, err := QueueOf(""); err == nil {
		t.Error("an entry without a name has a queue")
	}
}

// TestAnUnnamedEndpointThatMoved: its queue goes by the new address at once, so that the old one is free for another
// endpoint, and a restart finds each its own.
func TestAnUnnamedEndpointThatMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		store := openStore(t, dir)
		reg := prometheus.NewRegistry()
		w := newStoredWorld(t, store, at(t, "http://one.test/write"))
		reg.MustRegister(newPendingCollector(w.writers.Status))
		w.receivers["one.test"].set(unreachable)
		w.run()
		pod := w.target("pod", 10)
		say := func(n int) {
			for range n {
				w.append(w.scrape(pod, nowMillis()))
				time.Sleep(10 * time.Second)
			}
		}
		say(3)
		w.receivers["two.test"] = newReceiver(t)
		w.receivers["two.test"].set(unreachable)
		w.cfg.Endpoints = []EndpointConfig{at(t, "http://two.test/write")}
		w.apply()
		say(1)
		w.cfg.Endpoints = append(w.cfg.Endpoints, at(t, "http://one.test/write"))
		w.apply()
		say(2)
		if _, err := reg.Gather(); err != nil {
			t.Errorf("two endpoints have one name: %v", err)
		}
		w.stop()
		closeStore(t, store)

		store = openStore(t, dir)
		defer closeStore(t, store)
		again := newStoredWorld(t, store, w.cfg.Endpoints...)
		again.run()
		time.Sleep(10 * time.Second)
		again.stop()
		for host, want := range map[string]int{"one.test": 20, "two.test": 60} {
			if n := again.receivers[host].total(); n != want {
				t.Errorf("%s: arrived = %d, want %d", host, n, want)
			}
		}
	})
}

// TestEphemeralStorageIsWaitedFor: where the directory goes with the pod, a stop waits for an endpoint that is
// down as long
// as it may, and what is left then is counted.
func TestEphemeralStorageIsWaitedFor(t *testing.T) {
	for _, c := range []struct {
		name          string
		back          time.Duration // when the receiver is there again, after the stop begins; 0: never
		lost, arrived int
	}{
		{"comes back", time.Minute, 0, 100},
		{"stays away", 0, 100, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := openStore(t, t.TempDir())
				defer closeStore(t, store)
				w := newStoredWorld(t, store, endpointConfig("a"))
				w.cfg.Ephemeral, w.cfg.FlushDeadline = true, 5*time.Minute
				w.apply()
				w.receivers["a"].set(unreachable)
				w.run()
				for i := range 10 {
					w.append(w.scrape(w.target("pod-"+string(rune('a'+i)), 10), nowMillis()))
				}
				pass(10 * time.Second)
				if c.back > 0 {
					back := time.AfterFunc(c.back, func() { w.receivers["a"].set(nil) })
					defer back.Stop()
				}
				w.stop()
				if lost, arrived := int(w.dropped("a", abandoned)), w.receivers["a"].total(); lost != c.lost ||
					arrived != c.arrived {
					t.Errorf("abandoned %d, arrived %d, want %d and %d", lost, arrived, c.lost, c.arrived)
				}
			})
		})
	}
}

// named is an endpoint with a name.
func named(t *testing.T, name, rawURL string) EndpointConfig {
	t.Helper()
	ec := at(t, rawURL)
	ec.Name = name
	return ec
}

// tenant is an endpoint whose receiver distinguishes tenants by a header.
func tenant(ec EndpointConfig, id string) EndpointConfig {
	ec.Headers = map[string]string{"X-Scope-OrgID": id}
	return ec
}

// TestBacklogFollowsTheURL: an entry that gets, changes or loses its name goes on with its backlog, by a reload and,
// where it gets one, by a restart, too.
func TestBacklogFollowsTheURL(t *testing.T) {
	const one, two = "http://one.test/write", "http://two.test/write"
	for name, tc := range map[string]struct {
		before, now     []EndpointConfig
		reload, restart map[string]int // what arrives, by receiver
	}{
		"a name is added": {
			before: []EndpointConfig{at(t, one), named(t, "b", two)}, now: []EndpointConfig{named(t, "a", one),
				named(t, "b", two)},
			reload: map[string]int{"a": 300, "b": 300}, restart: map[string]int{"a": 300, "b": 300},
		},
		"another name": {
			before: []EndpointConfig{named(t, "a", one)}, now: []EndpointConfig{named(t, "b", one)},
			reload: map[string]int{"b": 300}, restart: map[string]int{"b": 0},
		},
		"a name is taken away": {
			before: []EndpointConfig{named(t, "a", one)}, now: []EndpointConfig{at(t, one)},
			reload: map[string]int{"one.test": 300}, restart: map[string]int{"one.test": 0},
		},
		"names for two entries of one URL": {
			before: []EndpointConfig{at(t, one), at(t, one)}, now: []EndpointConfig{named(t, "a", one),
				named(t, "b", one)},
			reload: map[string]int{"a": 300, "b": 300}, restart: map[string]int{"a": 300, "b": 300},
		},
		"a name for one of two": {
			before: []EndpointConfig{at(t, one)}, now: []EndpointConfig{named(t, "a", one), at(t, one)},
			reload: map[string]int{"a": 0, "one.test": 300}, restart: map[string]int{"a": 0, "one.test": 300},
		},
		"a name, and another entry of the URL": { // a restart cannot know which one it is
			before: []EndpointConfig{at(t, one)}, now: []EndpointConfig{tenant(named(t, "a", one), "2"),
				named(t, "b", one)},
			reload: map[string]int{"a": 0, "b": 300}, restart: map[string]int{"a": 0, "b": 0},
		},
		"another tenant of the same receiver": {
			before: []EndpointConfig{tenant(named(t, "a", one),
				"1")}, now: []EndpointConfig{tenant(named(t, "b", one), "2")},
			reload: map[string]int{"b": 0}, restart: map[string]int{"b": 0},
		},
	} {
		check := func(t *testing.T, got, want map[string]int) {
			for receiver, n := range want {
				if got[receiver] != n {
					t.Errorf("%s: %d samples arrived, want %d", receiver, got[receiver], n)
				}
			}
		}
		t.Run(name+", restart", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				fillBacklog(t, dir, 3, tc.before...)
				check(t, after(t, dir, tc.now...), tc.restart)
			})
		})
		for _, again := range []bool{false, true} { // and by a restart after the reload
			t.Run(fmt.Sprintf("%s, reload, again=%v", name, again), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					dir := t.TempDir()
					fillBacklog(t, dir, 3, tc.before...)
					store := openStore(t, dir)
					w := newStoredWorld(t, store, tc.before...)
					for name := range tc.reload {
						if w.receivers[name] == nil {
							w.receivers[name] = newReceiver(t)
						}
					}
					for _, r := range w.receivers {
						r.set(unreachable)
					}
					w.run()
					w.cfg.Endpoints = tc.now
					w.apply()
					got := map[string]int{}
					if !again {
						for name, r := range w.receivers {
							if _, asked := tc.reload[name]; asked {
								r.set(nil)
							}
						}
						pass(time.Minute)
					}
					w.stop()
					closeStore(t, store)
					if again {
						got = after(t, dir, tc.now...)
					} else {
						for name, r := range w.receivers {
							got[name] = r.total()
						}
					}
					check(t, got, tc.reload)
				})
			})
		}
	}
}

// TestTheFirstOfTwoEntriesGoes: of two unnamed entries of one URL a reload removes the first. The other one goes on
// with its own backlog, which a restart finds; what waited for the first one is kept for somebody to decide.
func TestTheFirstOfTwoEntriesGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		store := openStore(t, dir)
		first, second := at(t, "http://one.test/write"), at(t, "http://one.test/write")
		second.QueueConfig.MaxSamplesPerSend = 200
		w := newStoredWorld(t, store, first, second)
		w.receivers["one.test"].set(unreachable)
		w.run()
		pod := w.target("pod-1", 10)
		w.append(w.scrape(pod, nowMillis()))
		w.cfg.Endpoints = []EndpointConfig{second}
		w.apply()
		for range 5 {
			pass(10 * time.Second)
			w.append(w.scrape(pod, nowMillis()))
		}
		w.stop()
		closeStore(t, store)
		if got := after(t, dir, second)["one.test"]; got != 60 {
			t.Errorf("%d samples arrived, want 60", got)
		}
		store = openStore(t, dir)
		defer closeStore(t, store)
		left, err := store.Identities(second.identity())
		if err != nil || len(left) != 1 || left[0].Samples != 10 {
			t.Errorf("left in the store: %+v, %v, want the ten samples of the first entry", left, err)
		}
	})
}

// TestTheFirstOfTwoEntriesGoesFromMemory: queues in memory have identities, too.
func TestTheFirstOfTwoEntriesGoesFromMemory(t *testing.T) {
	first, second := at(t, "http://one.test/write"), at(t, "http://one.test/write")
	second.QueueConfig.MaxSamplesPerSend = 200
	w := newWorld(t, first, second)
	kept := (*w.writers.endpoints.Load())[1]
	w.cfg.Endpoints = []EndpointConfig{second}
	w.apply()
	if now := *w.writers.endpoints.Load(); len(now) != 1 || now[0] != kept || kept.identity != second.identity() {
		t.Errorf("%d endpoints, the first under %s, want the second one under %s", len(now), now[0].identity,
			second.identity())
	}
}

// TestReloadsKeepWhatARestartFinds: after any sequence of reloads that add, remove, name, rename and move entries, a
// restart with the last configuration finds the backlog that each endpoint had.
func TestReloadsKeepWhatARestartFinds(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { reloadEntries(t, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func reloadEntries(t *testing.T, chance *rand.Rand) {
	urls := []string{"http://one.test/write", "http://two.test/write"}
	entries := func() (all []EndpointConfig) {
		names := map[string]bool{}
		for range 1 + chance.IntN(3) {
			name := []string{"", "", "a", "b", "c"}[chance.IntN(5)]
			if names[name] && name != "" {
				name = ""
			}
			names[name] = true
			ec := named(t, name, urls[chance.IntN(2)])
			ec.QueueConfig.MaxSamplesPerSend = 100 * (1 + chance.IntN(2))
			all = append(all, ec)
		}
		return all
	}
	dir := t.TempDir()
	store := openStore(t, dir)
	w := newStoredWorld(t, store, entries()...)
	pods := 0
	for range 12 {
		w.cfg.Endpoints = entries()
		w.apply()
		pods++
		w.append(w.scrape(w.target(fmt.Sprint("pod-", pods), 1+chance.IntN(9)), nowMillis()))
	}
	waiting := func(w *world) (samples []int) {
		for _, e := range *w.writers.endpoints.Load() {
			samples = append(samples, e.queue.Stats().Samples)
		}
		return samples
	}
	end := func(w *world, store *queue.Store) {
		for _, e := range *w.writers.endpoints.Load() {
			e.retire() // never started, so closed at once
		}
		closeStore(t, store)
	}
	before := waiting(w)
	end(w, store)
	store = openStore(t, dir)
	again := newStoredWorld(t, store, w.cfg.Endpoints...)
	if found := waiting(again); !slices.Equal(found, before) {
		t.Errorf("a restart finds %d samples, by entry, want %d", found, before)
	}
	end(again, store)
}
