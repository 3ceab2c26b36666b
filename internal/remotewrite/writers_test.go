package remotewrite

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/deliver"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

func TestOneEndpointNeverHoldsBackAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, endpointConfig("good"), endpointConfig("bad"), endpointConfig("mute"))
		w.receivers["bad"].set(func(*receiver, wire.Protocol, int) deliver.Answer { return status(503) })
		mute := make(chan struct{})
		w.receivers["mute"].set(func(_ *receiver, p wire.Protocol, n int) deliver.Answer { <-mute; return fine(p, n) })
		w.run()
		pod := w.target("pod-1", 10)
		const scrapes = 360
		for range scrapes {
			w.append(w.scrape(pod, nowMillis()))
			time.Sleep(10 * time.Second)
			synctest.Wait()
		}
		if n := w.receivers["good"].total(); n != scrapes*10 {
			t.Errorf("good has %d samples, want %d", n, scrapes*10)
		}
		for _, s := range w.writers.Status()[1:] {
			if s.PendingSamples != scrapes*10 {
				t.Errorf("%s: pending %d, want all %d", s.Name, s.PendingSamples, scrapes*10)
			}
		}
		close(mute)
		w.receivers["bad"].set(nil)
		w.stop()
		for name, r := range w.receivers {
			if r.total() != scrapes*10 || r.disorder != 0 {
				t.Errorf("%s: samples %d, out of order %d", name, r.total(), r.disorder)
			}
			w.conserved(name, scrapes*10)
		}
	})
}

// TestOrderPerSeries sends through a receiver that fails at random, from many targets at once, whole series
// and unbound ones, and looks at the order in which each series arrives.
func TestOrderPerSeries(t *testing.T) {
	for _, p := range []wire.Protocol{wire.V1, wire.V2} {
		t.Run(p.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ec := explicit(endpointConfig("a"), p)
				ec.QueueConfig.MaxSamplesPerSend = 50
				w := newWorld(t, ec)
				r := w.receivers["a"]
				r.set(func(_ *receiver, p wire.Protocol, n int) deliver.Answer {
					if rand.IntN(3) == 0 {
						return status([]int{500, 503, 429, 413}[rand.IntN(4)])
					}
					return fine(p, n)
				})
				w.run()
				const pods, scrapes, whole, unbound = 12, 50, 20, 5
				var wg sync.WaitGroup
				for i := range pods {
					pod := w.target(fmt.Sprintf("pod-%d", i), whole)
					for j := range unbound { // lost their job label; one of them is the same for all pods
						ls := labels.FromStrings("__name__", fmt.Sprintf("unbound_%d", j), "instance",
							fmt.Sprintf("pod-%d", i))
						if j == 0 {
							ls = labels.FromStrings("__name__", "shared")
						}
						pod.ids = append(pod.ids, w.table.Add(pod.id, ls, series.Meta{}))
					}
					wg.Go(func() {
						for range scrapes {
							time.Sleep(time.Duration(5000+rand.IntN(10000)) * time.Millisecond)
							b := w.scrape(pod, nowMillis())
							b.Times = append(b.Times, series.OwnTime{Index: 3, Time: b.Time - 1})
							if err := w.writers.Append(b); err != nil {
								t.Error(err)
							}
						}
					})
				}
				wg.Wait()
				w.stop()
				if r.disorder != 0 {
					t.Errorf("%d samples out of order", r.disorder)
				}
				sent := pods * scrapes * (whole + unbound)
				w.conserved("a", sent)
				if n := w.dropped("a", notNewer) + w.dropped("a", refusedSample) + r.total(); n != sent {
					t.Errorf("arrived, refused or not newer = %d, want %d", n, sent)
				}
			})
		})
	}
}

func TestRow14WhatIsNotNewerIsDropped(t *testing.T) {
	w := newWorld(t, endpointConfig("a"))
	pod := w.target("pod-1", 10)
	for _, at := range []int64{2000, 2000, 1000, 3000} {
		w.append(w.scrape(pod, at))
	}
	if n := w.dropped("a", notNewer); n != 20 {
		t.Errorf("dropped = %d, want 20", n)
	}
	n := 0
	for _, m := range w.messages() {
		n += m.Samples
	}
	if n != 20 {
		t.Errorf("queued = %d, want 20", n)
	}
}

// TestTargetsThatShareLabels: two targets that differ in their address alone have series of their own, and the
// scrape that began first may end last. Prometheus takes both.
func TestTargetsThatShareLabels(t *testing.T) {
	w := newWorld(t, endpointConfig("a"))
	one, two := w.target("pod-1", 10), w.target("pod-1", 20)
	two.ids = two.ids[10:]
	if one.id != two.id {
		t.Fatal("the test is wrong: two ids")
	}
	for i := range int64(100) {
		w.append(w.scrape(two, 10_000*i+50))
		w.append(w.scrape(one, 10_000*i))
	}
	if n := w.dropped("a", notNewer); n != 10 {
		t.Errorf("dropped = %d, want the one batch that showed the matter", n)
	}
	w.append(w.scrape(two, 990_050)) // again the same
	if n := w.dropped("a", notNewer); n != 20 {
		t.Errorf("dropped = %d, want 20", n)
	}
}

func TestFlushAtStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, endpointConfig("a"), endpointConfig("down"))
		w.receivers["down"].set(func(*receiver, wire.Protocol, int) deliver.Answer { return status(503) })
		w.run()
		for i := range 10 {
			w.append(w.scrape(w.target(fmt.Sprintf("pod-%d", i), 10), nowMillis()))
		}
		began := time.Now()
		w.stop()
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("stop took %v, want the flush deadline", took)
		}
		if n := w.receivers["a"].total(); n != 100 {
			t.Errorf("flushed = %d, want 100", n)
		}
		if n := w.dropped("down", abandoned); n != 100 {
			t.Errorf("abandoned = %d, want 100", n)
		}
		w.append(w.scrape(w.target("late", 10), nowMillis()))
		w.conserved("a", 110)
		w.conserved("down", 110)
		if err := w.writers.Apply(w.cfg); err == nil {
			t.Error("Apply after the end said nothing")
		}
	})
}

// TestAbandonedHalf stops while one half of a split request has arrived.
func TestAbandonedHalf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, endpointConfig("a"))
		w.receivers["a"].set(func(r *receiver, p wire.Protocol, n int) deliver.Answer {
			switch {
			case n > 5:
				return status(413)
			case r.accepted == 0:
				return fine(p, n)
			}
			return status(503)
		})
		w.run()
		w.append(w.scrape(w.target("pod-1", 10), nowMillis()))
		w.stop()
		if n := w.dropped("a", abandoned); n != 5 {
			t.Errorf("abandoned = %d, want 5", n)
		}
		w.conserved("a", 10)
	})
}

func TestReloadKeepsTheBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, endpointConfig("same"), endpointConfig("changed"), endpointConfig("removed"))
		for _, r := range w.receivers {
			r.set(func(*receiver, wire.Protocol, int) deliver.Answer { return status(503) })
		}
		w.run()
		pod := w.target("pod-1", 10)
		w.append(w.scrape(pod, nowMillis()))
		time.Sleep(10 * time.Second)
		before := *w.writers.endpoints.Load()

		changed := endpointConfig("changed")
		changed.RemoteTimeout *= 2
		w.cfg.Endpoints = []EndpointConfig{endpointConfig("new"), changed, endpointConfig("same")}
		settings := before[0].settings.Load()
		w.apply()
		after := *w.writers.endpoints.Load()
		if after[2] != before[0] || after[1] != before[1] {
			t.Error("an endpoint did not survive")
		}
		if after[2].settings.Load() != settings {
			t.Error("an unchanged endpoint was touched")
		}
		for _, r := range w.receivers {
			if r != w.receivers["removed"] {
				r.set(nil)
			}
		}
		w.append(w.scrape(pod, nowMillis()))
		time.Sleep(20 * time.Second)
		if n := w.dropped("removed", abandoned); n != 10 {
			t.Errorf("abandoned of the removed = %d, want 10", n)
		}
		w.stop()
		for name, want := range map[string]int{"same": 20, "changed": 20, "new": 10} {
			if r := w.receivers[name]; r.total() != want || r.disorder != 0 {
				t.Errorf("%s: samples %d, out of order %d; want %d", name, r.total(), r.disorder, want)
			}
		}
		w.conserved("removed", 10)
	})
}

func TestBadReloadChangesNothing(t *testing.T) {
	w := newWorld(t, endpointConfig("a"))
	before := w.writers.endpoints.Load()
	w.writers.newClient = func(EndpointConfig) (deliver.Client, error) { return nil, fmt.Errorf("no such file") }
	w.cfg.Endpoints = append(w.cfg.Endpoints, endpointConfig("b"))
	if err := w.writers.Apply(w.cfg); err == nil {
		t.Error("no error")
	}
	if w.writers.endpoints.Load() != before {
		t.Error("the endpoints changed")
	}
}

func TestFullQueueDropsTheOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.cfg.Queue = queue.Config{MaxBytes: 20_000}
		w.cfg.Endpoints = []EndpointConfig{endpointConfig("a")}
		w.apply()
		r := w.receivers["a"]
		r.set(func(*receiver, wire.Protocol, int) deliver.Answer { return status(503) })
		w.run()
		pod := w.target("pod-1", 10)
		const scrapes = 500
		last := int64(0)
		for range scrapes {
			last = nowMillis()
			w.append(w.scrape(pod, last))
			time.Sleep(10 * time.Second)
		}
		if b := w.writers.Status()[0].PendingBytes; b > 25_000 {
			t.Errorf("pending = %d bytes", b)
		}
		r.set(nil)
		w.stop()
		if w.dropped("a", queueFull) == 0 || r.total() == 0 || r.disorder != 0 {
			t.Errorf("dropped %d, arrived %d, out of order %d", w.dropped("a", queueFull), r.total(), r.disorder)
		}
		for k, ps := range r.arrived {
			if ps[len(ps)-1].at != last {
				t.Errorf("%s: the newest sample is missing", k)
			}
		}
		w.conserved("a", scrapes*10)
	})
}

func TestLogsAnOutageOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.InfoLevel)
		w := newWorld(t)
		w.writers.log = zap.New(core)
		w.cfg.Endpoints = []EndpointConfig{endpointConfig("a")}
		w.apply()
		r := w.receivers["a"]
		w.run()
		for i := range 8 { // a target in each of the lanes, likely
			w.append(w.scrape(w.target(fmt.Sprintf("pod-%d", i), 1), nowMillis()))
		}
		r.set(func(*receiver, wire.Protocol, int) deliver.Answer { return status(503) })
		time.Sleep(4 * time.Minute)
		r.set(nil)
		time.Sleep(time.Minute)
		w.stop()
		warned := logs.FilterLevelExact(zapcore.WarnLevel).Len()
		back := logs.FilterMessage("remote write endpoint back").Len()
		if warned != 4 || back != 1 || logs.Len() != 5 {
			t.Errorf("log lines = %d down, %d back, want one a minute, one back: %v", warned, back, logs.All())
		}
	})
}

func TestStatusHidesSecrets(t *testing.T) {
	ec := endpointConfig("")
	ec.URL.RawQuery = "token=topsecret"
	ec.URL.User = nil
	w := newWorld(t, ec, ec)
	s := w.writers.Status()
	if len(s) != 2 || s[0].URL != "http://.test/api/v1/write" || s[0].Name == s[1].Name || s[0].Lanes != 1 ||
		s[0].Protocol != "2.0" {
		t.Errorf("status = %+v", s)
	}
}

// TestAStopWhileLanesChange delivers what a healthy receiver takes before the flush deadline, also what waits in new
// lanes for the old ones to drain.
func TestAStopWhileLanesChange(t *testing.T) {
	with := func(lanes int) EndpointConfig {
		ec := endpointConfig("a")
		ec.QueueConfig.MaxSamplesPerSend, ec.QueueConfig.MinShards, ec.QueueConfig.MaxShards = 30, lanes, lanes
		return ec
	}
	for _, c := range []struct {
		name     string
		from, to int
		stored   bool
		remove   bool // by a reload, instead of a stop
	}{
		{"more lanes", 2, 8, false, false},
		{"fewer lanes", 8, 2, false, false},
		{"ephemeral storage", 2, 8, true, false},
		{"removed by a reload", 2, 8, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var store *queue.Store
				if c.stored {
					store = openStore(t, t.TempDir())
					defer closeStore(t, store)
				}
				w := newStoredWorld(t, store, with(c.from))
				w.cfg.FlushDeadline, w.cfg.Ephemeral = 5*time.Minute, c.stored
				w.apply()
				r := w.receivers["a"]
				r.delay = 200 * time.Millisecond
				w.run()
				sent := 0
				scrapeAll := func() {
					for i := range 40 {
						w.append(w.scrape(w.target(fmt.Sprintf("pod-%d", i), 30), nowMillis()))
						sent += 30
					}
				}
				scrapeAll()
				pass(time.Second)
				w.cfg.Endpoints = []EndpointConfig{with(c.to)}
				w.apply()
				synctest.Wait()
				scrapeAll()
				pass(100 * time.Millisecond)
				began := time.Now()
				if c.remove {
					e := (*w.writers.endpoints.Load())[0]
					w.cfg.Endpoints = nil
					w.apply()
					<-e.ended
				}
				w.stop()
				if took := time.Since(began); r.total() != sent || r.disorder != 0 || took > time.Minute {
					t.Errorf("%d of %d samples arrived, %d out of order, %d abandoned, after %v", r.total(), sent,
						r.disorder,
						w.dropped("a", abandoned), took)
				}
				w.conserved("a", sent)
			})
		})
	}
}

// speaker is a client that takes one protocol.
type speaker struct {
	wire.Protocol
	asked chan<- struct{}
}

func (s speaker) Post(_ context.Context, _ []byte, p wire.Protocol, _ int) deliver.Answer {
	s.asked <- struct{}{}
	if p != s.Protocol {
		return status(http.StatusUnsupportedMediaType)
	}
	return fine(p, 1)
}

func (s speaker) Close() {}

// TestAReloadChangesTheProtocolWithTheReceiver: while requests are sent, protobuf_message changes together with what
// the receiver takes. No request goes to the new receiver in the old protocol, which it would refuse for good.
func TestAReloadChangesTheProtocolWithTheReceiver(t *testing.T) {
	w := newWorld(t)
	asked := make(chan struct{})
	w.writers.newClient = func(ec EndpointConfig) (deliver.Client, error) {
		p := wire.V1
		if ec.ProtobufMessage == remoteapi.WriteV2MessageType {
			p = wire.V2
		}
		return speaker{p, asked}, nil
	}
	apply := func(p wire.Protocol) {
		ec := explicit(endpointConfig("a"), p)
		ec.QueueConfig.MaxSamplesPerSend, ec.QueueConfig.MinShards = 1, 8
		w.cfg.Endpoints = []EndpointConfig{ec}
		w.apply()
	}
	apply(wire.V1)
	for i := range 16 {
		w.append(w.scrape(w.target(fmt.Sprintf("pod-%d", i), 2000), nowMillis()))
	}
	w.run()
	for i := range 1000 {
		apply([]wire.Protocol{wire.V2, wire.V1}[i%2])
		for range 20 {
			<-asked
		}
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for range asked {
		}
	}()
	w.stop()
	close(asked)
	<-drained
	if n := w.dropped("a", refusedSample); n > 0 {
		t.Errorf("%d samples refused, though each receiver takes the protocol that is written for it", n)
	}
}
