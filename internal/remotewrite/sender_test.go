package remotewrite

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/deliver"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

func nowMillis() int64 { return time.Now().UnixMilli() }

// TestAScrapeWaitsForItsWave: for no longer than the delay.
func TestAScrapeWaitsForItsWave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, endpointConfig("a"))
		w.run()
		defer w.stop()
		w.append(w.scrape(w.target("pod-1", 3), nowMillis()))
		time.Sleep(200*time.Millisecond - time.Millisecond)
		synctest.Wait()
		if n := w.receivers["a"].tried(); n != 0 {
			t.Errorf("requests while the wave may go on = %d, want 0", n)
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if n := w.receivers["a"].total(); n != 3 {
			t.Errorf("samples after that = %d, want 3", n)
		}
		w.conserved("a", 3)
	})
}

func TestRequestsHoldAtMostMaxSamples(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ec := endpointConfig("a")
		ec.QueueConfig.MaxSamplesPerSend = 7
		w := newWorld(t, ec)
		w.run()
		for i := range 3 {
			w.append(w.scrape(w.target("pod-"+string(rune('a'+i)), 20), nowMillis()))
		}
		w.stop()
		r := w.receivers["a"]
		if r.total() != 60 {
			t.Errorf("samples = %d, want 60", r.total())
		}
		for _, n := range r.sizes {
			if n > 7 {
				t.Errorf("samples in a request = %d, want at most 7", n)
			}
		}
	})
}

func TestSenderOutlastsAnOutage(t *testing.T) {
	for name, failure := range map[string]deliver.Answer{
		"503":     status(503),
		"429":     status(429),
		"network": {Err: errors.New("connection refused")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // fake clock: an hour of backoff costs nothing
				recovery := time.Now().Add(time.Hour)
				var back time.Time
				w := newWorld(t, endpointConfig("a"))
				r := w.receivers["a"]
				r.set(func(_ *receiver, p wire.Protocol, n int) deliver.Answer {
					if time.Now().Before(recovery) {
						return failure
					}
					if back.IsZero() {
						back = time.Now()
					}
					return fine(p, n)
				})
				w.run()
				pod := w.target("pod-1", 10)
				const scrapes = 400 // 66 minutes
				for range scrapes {
					w.append(w.scrape(pod, nowMillis()))
					time.Sleep(10 * time.Second)
				}
				w.stop()
				if r.total() != scrapes*10 || r.disorder != 0 {
					t.Errorf("samples = %d, out of order %d; want %d, 0", r.total(), r.disorder, scrapes*10)
				}
				if late := back.Sub(recovery); late > 5*time.Second {
					t.Errorf("first request %v after recovery, want at most max_backoff", late)
				}
				if r.requests-r.accepted > 1200 {
					t.Errorf("failed tries = %d in an hour, want about 720: one lane at max_backoff",
						r.requests-r.accepted)
				}
				w.conserved("a", scrapes*10)
			})
		})
	}
}

func TestRetryAfter(t *testing.T) {
	for name, tc := range map[string]struct {
		value func() string
		want  time.Duration // 0: the usual backoff
	}{
		"seconds": {func() string { return "30" }, 30 * time.Second},
		"http date": { // in whole seconds
			func() string { return time.Now().Add(45 * time.Second).UTC().Format(http.TimeFormat) }, 44 * time.Second,
		},
		"absurd":   {func() string { return "86400" }, 5 * time.Minute},
		"overflow": {func() string { return "9223372036854775807" }, 5 * time.Minute},
		"past":     {func() string { return "Fri, 01 Jan 1999 15:04:05 GMT" }, 0},
		"nonsense": {func() string { return "soon" }, 0},
		"negative": {func() string { return "-5" }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, endpointConfig("a"))
				var tries []time.Time
				w.receivers["a"].set(func(_ *receiver, p wire.Protocol, n int) deliver.Answer {
					tries = append(tries, time.Now())
					if len(tries) > 1 {
						return fine(p, n)
					}
					a := status(503)
					a.Header.Set("Retry-After", tc.value())
					return a
				})
				w.run()
				w.append(w.scrape(w.target("pod-1", 1), nowMillis()))
				time.Sleep(10 * time.Minute)
				w.stop()
				if len(tries) != 2 {
					t.Fatalf("tries = %d, want 2", len(tries))
				}
				waited := tries[1].Sub(tries[0])
				if least := max(tc.want, 30*time.Millisecond); waited < least || waited > least+time.Second {
					t.Errorf("waited %v, want %v to a second more", waited, least)
				}
			})
		})
	}
}

func TestCredentialsAreTriedAgainSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, endpointConfig("a"))
		var tries []time.Time
		w.receivers["a"].set(func(_ *receiver, p wire.Protocol, n int) deliver.Answer {
			tries = append(tries, time.Now())
			if len(tries) < 3 {
				return status(401)
			}
			return fine(p, n)
		})
		w.run()
		w.append(w.scrape(w.target("pod-1", 1), nowMillis()))
		time.Sleep(10 * time.Minute)
		w.stop()
		if len(tries) != 3 || tries[1].Sub(tries[0]) < 30*time.Second || tries[2].Sub(tries[1]) < 45*time.Second {
			t.Errorf("tries = %v, want three, half a minute and about a minute apart", tries)
		}
		w.conserved("a", 1)
	})
}

func TestNewSettingsEndTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, endpointConfig("a"))
		r := w.receivers["a"]
		r.set(func(*receiver, wire.Protocol, int) deliver.Answer { return status(403) })
		w.run()
		defer w.stop()
		w.append(w.scrape(w.target("pod-1", 2), nowMillis()))
		time.Sleep(10 * time.Minute)
		r.set(nil)
		ec := endpointConfig("a")
		ec.Headers = map[string]string{"X-Scope-OrgID": "1"}
		w.cfg.Endpoints = []EndpointConfig{ec}
		w.apply()
		synctest.Wait()
		if r.total() != 2 {
			t.Errorf("samples at once after new credentials = %d, want 2", r.total())
		}
	})
}

func TestRefusedSamplesAreCounted(t *testing.T) {
	for name, tc := range map[string]struct {
		config   EndpointConfig
		reply    deliver.Answer
		accepted int
		refused  int
	}{
		"1.0 404":                    {explicit(endpointConfig("a"), wire.V1), status(404), 0, 10},
		"2.0 415, configured":        {explicit(endpointConfig("a"), wire.V2), status(415), 0, 10},
		"2.0 no headers, configured": {explicit(endpointConfig("a"), wire.V2), status(204), 0, 10},
		"2.0 400 partly written":     {endpointConfig("a"), partly(400, 7), 7, 3},
		"2.0 204 partly written":     {endpointConfig("a"), partly(204, 4), 4, 6},
		"2.0 400 nothing written":    {explicit(endpointConfig("a"), wire.V2), status(400), 0, 10},
		"2.0 400 all, and then so":   {endpointConfig("a"), partly(400, 99), 10, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, tc.config)
				w.receivers["a"].set(func(*receiver, wire.Protocol, int) deliver.Answer { return tc.reply })
				w.run()
				w.append(w.scrape(w.target("pod-1", 10), nowMillis()))
				time.Sleep(time.Minute)
				w.stop()
				if a, r := w.acceptedCount("a"), w.dropped("a", refusedSample); a != tc.accepted || r != tc.refused {
					t.Errorf("accepted %d, refused %d; want %d, %d", a, r, tc.accepted, tc.refused)
				}
				if n := w.receivers["a"].tried(); n != 1 {
					t.Errorf("tries = %d, want 1", n)
				}
				w.conserved("a", 10)
			})
		})
	}
}

// TestPartlyWrittenIsSuccess: a 2.0 receiver that refuses one sample of each request has written the others.
func TestPartlyWrittenIsSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, endpointConfig("a"))
		r := w.receivers["a"]
		n, of20 := 0, 0
		r.set(func(_ *receiver, p wire.Protocol, samples int) deliver.Answer {
			n++
			if p == wire.V2 {
				of20++
			}
			if n == 50 {
				return status(400) // of a proxy
			}
			return partly(400, samples-1)
		})
		w.run()
		pod := w.target("pod-1", 10)
		for range 100 {
			w.append(w.scrape(pod, nowMillis()))
			time.Sleep(10 * time.Second)
		}
		s := w.writers.Status()[0]
		highest := float64((*w.writers.endpoints.Load())[0].account.highest.Load()) / 1000
		w.stop()
		if of20 != 100 || s.Protocol != "2.0" {
			t.Errorf("requests of 2.0 = %d, protocol %s; want 100, 2.0: the receiver has shown that it knows it",
				of20, s.Protocol)
		}
		if age := time.Since(s.LastSuccess); age > 10*time.Second ||
			time.Since(time.UnixMilli(int64(1000*highest))) > 20*time.Second {
			t.Errorf("last success %v ago, highest accepted %v", age, highest)
		}
		if a, lost := w.acceptedCount("a"), w.dropped("a", refusedSample); a != 99*9 || lost != 99+10 {
			t.Errorf("accepted %d, refused %d", a, lost)
		}
	})
}

// TestNothingWrittenIsProof: an answer with Written headers shows that the receiver knows 2.0, but is no success.
func TestNothingWrittenIsProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, endpointConfig("a"))
		n := 0
		w.receivers["a"].set(func(*receiver, wire.Protocol, int) deliver.Answer {
			if n++; n == 1 {
				return partly(400, 0)
			}
			return status(400)
		})
		w.run()
		pod := w.target("pod-1", 10)
		for range 2 {
			w.append(w.scrape(pod, nowMillis()))
			time.Sleep(10 * time.Second)
		}
		s := w.writers.Status()[0]
		w.stop()
		if s.Protocol != "2.0" || !s.LastSuccess.IsZero() || n != 2 {
			t.Errorf("protocol %s, last success %v after %d requests; want 2.0, none, 2", s.Protocol, s.LastSuccess, n)
		}
	})
}

// TestPartlyWrittenNeedsLanes: a slow endpoint gets as many lanes for such answers as for whole successes.
func TestPartlyWrittenNeedsLanes(t *testing.T) {
	var lanes []int
	for _, missing := range []int{0, 1} {
		synctest.Test(t, func(t *testing.T) {
			ec := endpointConfig("a")
			ec.QueueConfig.MaxSamplesPerSend, ec.QueueConfig.MaxShards = 100, 12
			w := newWorld(t, ec)
			r := w.receivers["a"]
			r.delay = 5 * time.Second
			r.set(func(_ *receiver, p wire.Protocol, n int) deliver.Answer {
				if missing == 0 {
					return fine(p, n)
				}
				return partly(400, n-missing)
			})
			w.run()
			var pods []target
			for i := range 20 {
				pods = append(pods, w.target(fmt.Sprint("pod-", i), 100))
			}
			for range 60 { // ten minutes
				for _, pod := range pods {
					w.append(w.scrape(pod, nowMillis()))
				}
				time.Sleep(10 * time.Second)
			}
			s := w.writers.Status()[0]
			w.stop()
			lanes = append(lanes, s.Lanes)
		})
	}
	if lanes[0] != 12 || lanes[1] != 12 {
		t.Errorf("lanes = %d (all written, a sample missing); want 12 of both", lanes)
	}
}

func partly(code, samples int) deliver.Answer {
	a := fine(wire.V2, samples)
	a.Status = code
	return a
}

func TestFallsBackWithTheSameSamples(t *testing.T) {
	for name, reply := range map[string]deliver.Answer{
		"415":               status(415),
		"2xx that is dumb":  status(204),
		"400 of a stranger": status(400),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, endpointConfig("a"))
				r := w.receivers["a"]
				tries := map[wire.Protocol]int{}
				upgraded := time.Now().Add(90 * time.Minute)
				r.set(func(_ *receiver, p wire.Protocol, n int) deliver.Answer {
					tries[p]++
					if p == wire.V2 && time.Now().Before(upgraded) {
						return reply
					}
					return fine(p, n)
				})
				w.run()
				pod := w.target("pod-1", 10)
				w.append(w.scrape(pod, nowMillis()))
				time.Sleep(6 * time.Second)
				if r.total() != 10 || tries[wire.V2] != 1 || tries[wire.V1] != 1 {
					t.Errorf("samples %d, tries %v; want 10, one each", r.total(), tries)
				}
				if p := w.writers.Status()[0].Protocol; p != "1.0" {
					t.Errorf("protocol = %s, want 1.0", p)
				}
				const more = 18 // three hours
				for range more {
					time.Sleep(10 * time.Minute)
					w.append(w.scrape(pod, nowMillis()))
				}
				w.stop()
				if r.total() != 10+10*more || r.disorder != 0 {
					t.Errorf("samples %d, out of order %d; want %d, 0", r.total(), r.disorder, 10+10*more)
				}
				if p := w.writers.Status()[0].Protocol; p != "2.0" {
					t.Errorf("protocol after the upgrade = %s, want 2.0", p)
				}
				w.conserved("a", 10+10*more)
			})
		})
	}
}

// TestVagueAnswersTo20: an endpoint that never confirmed 2.0 answers it with a status that says little. 1.0 is tried at
// once with the same samples. Only its success turns the endpoint to 1.0.
func TestVagueAnswersTo20(t *testing.T) {
	for _, code := range []int{404, 406, 422, 501} {
		t.Run(fmt.Sprint(code, ", speaks 1.0"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, endpointConfig("a"))
				r := w.receivers["a"]
				tries := map[wire.Protocol]int{}
				r.set(func(_ *receiver, p wire.Protocol, n int) deliver.Answer {
					tries[p]++
					if p == wire.V2 {
						return status(code)
					}
					return fine(p, n)
				})
				w.run()
				pod := w.target("pod-1", 10)
				for range 10 {
					w.append(w.scrape(pod, nowMillis()))
					time.Sleep(10 * time.Second)
				}
				w.stop()
				if r.total() != 100 || tries[wire.V2] != 1 || tries[wire.V1] != 10 {
					t.Errorf("samples %d, tries %v; want 100, one of 2.0", r.total(), tries)
				}
				if p := w.writers.Status()[0].Protocol; p != "1.0" {
					t.Errorf("protocol = %s, want 1.0", p)
				}
				w.conserved("a", 100)
			})
		})
		t.Run(fmt.Sprint(code, ", whatever it is asked"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, endpointConfig("a"))
				r := w.receivers["a"]
				r.set(func(*receiver, wire.Protocol, int) deliver.Answer { return status(code) })
				w.run()
				pod := w.target("pod-1", 10)
				for range 6 {
					w.append(w.scrape(pod, nowMillis()))
					time.Sleep(10 * time.Second)
				}
				r.set(nil) // the path was wrong, and is right now
				w.append(w.scrape(pod, nowMillis()))
				time.Sleep(10 * time.Second)
				w.stop()
				if p := w.writers.Status()[0].Protocol; p != "2.0" {
					t.Errorf("protocol = %s, want 2.0: no success of 1.0 was seen", p)
				}
				if lost := w.dropped("a", refusedSample); code != 501 && lost != 60 || code == 501 && lost != 0 {
					t.Errorf("refused = %d", lost)
				}
				w.conserved("a", 70)
			})
		})
	}
}

func TestNoProtocolPleases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, endpointConfig("a"))
		w.receivers["a"].set(func(*receiver, wire.Protocol, int) deliver.Answer { return status(415) })
		w.run()
		w.append(w.scrape(w.target("pod-1", 10), nowMillis()))
		time.Sleep(time.Minute)
		w.stop()
		if n := w.dropped("a", refusedSample); n != 10 {
			t.Errorf("refused = %d, want 10", n)
		}
		if n := w.receivers["a"].tried(); n != 2 {
			t.Errorf("tries = %d, want one a protocol", n)
		}
	})
}

func TestTooLargeIsSentInHalves(t *testing.T) {
	for _, p := range []wire.Protocol{wire.V1, wire.V2} {
		t.Run(p.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, explicit(endpointConfig("a"), p))
				r := w.receivers["a"]
				r.set(func(_ *receiver, p wire.Protocol, n int) deliver.Answer {
					if n > 3 {
						return status(413)
					}
					return fine(p, n)
				})
				w.run()
				pod := w.target("pod-1", 100)
				at := nowMillis()
				w.append(w.scrape(pod, at))
				w.append(w.scrape(pod, at+1000))
				time.Sleep(time.Minute)
				w.stop()
				if r.total() != 200 || r.disorder != 0 {
					t.Errorf("samples %d, out of order %d; want 200, 0", r.total(), r.disorder)
				}
				w.conserved("a", 200)
			})
		})
	}
	t.Run("a single series", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, endpointConfig("a"))
			w.receivers["a"].set(func(*receiver, wire.Protocol, int) deliver.Answer { return status(413) })
			w.run()
			w.append(w.scrape(w.target("pod-1", 8), nowMillis()))
			w.stop()
			if n := w.dropped("a", refusedSample); n != 8 {
				t.Errorf("refused = %d, want 8", n)
			}
		})
	})
}

// TestSizeIsRemembered: after a 413 later requests are divided before they are sent. A limit that was raised is found
// out, and a limit that stays costs a 413 now and then.
func TestSizeIsRemembered(t *testing.T) {
	negotiated := oneLane(wire.V1, 2000)
	negotiated.Negotiate = true
	for name, ec := range map[string]EndpointConfig{"2.0": oneLane(wire.V2, 2000), "1.0, negotiated": negotiated} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var limit, tooLarge, posts atomic.Int64
				r := newReceiver(t)
				limited := clientOf(func(ctx context.Context, body []byte, p wire.Protocol,
					attempt int) deliver.Answer {
					if ec.Negotiate && p == wire.V2 {
						return status(415)
					}
					posts.Add(1)
					if most := int(limit.Load()); most > 0 && len(body) > most {
						tooLarge.Add(1)
						return status(413)
					}
					return r.Post(ctx, body, p, attempt)
				})
				f := newFeed(t, ec, limited, 1, 300)
				f.run()
				f.keepScraping(10*time.Second, time.Minute)
				if n := posts.Swap(0); n != 6 {
					t.Fatalf("requests of six scrapes = %d, want 6", n)
				}
				limit.Store(1000)
				f.keepScraping(10*time.Second, 8*time.Minute)
				if n := tooLarge.Swap(0); n == 0 || n > 20 {
					t.Errorf("too large = %d of 48 scrapes, want at most 20", n)
				}
				each := posts.Load() / 48
				f.keepScraping(10*time.Second, 30*time.Minute)
				if n := tooLarge.Load(); n == 0 || n > 30 {
					t.Errorf("too large in half an hour = %d, want a few", n)
				}
				limit.Store(0)
				f.keepScraping(10*time.Second, 50*time.Minute)
				posts.Store(0)
				f.keepScraping(10*time.Second, time.Minute)
				f.stop()
				if n := posts.Load(); n != 6 || each <= 1 {
					t.Errorf("requests of six scrapes without a limit = %d, want 6; with it a scrape took %d", n, each)
				}
				if r.total() != f.appended() || r.disorder != 0 {
					t.Errorf("arrived %d, out of order %d; want %d, 0", r.total(), r.disorder, f.appended())
				}
				f.conserved("a", f.appended())
			})
		})
	}
}

// TestSizeIsNotLearnedFromRefusals: an endpoint that answers 413 to everything has no limit that fits.
func TestSizeIsNotLearnedFromRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, oneLane(wire.V2, 100))
		r := w.receivers["a"]
		r.set(func(*receiver, wire.Protocol, int) deliver.Answer { return status(413) })
		w.run()
		pod := w.target("pod-1", 16)
		w.append(w.scrape(pod, nowMillis()))
		time.Sleep(10 * time.Second)
		r.set(nil)
		before := r.tried()
		w.append(w.scrape(pod, nowMillis()))
		time.Sleep(10 * time.Second)
		w.stop()
		if n := r.tried() - before; n != 1 {
			t.Errorf("requests of a scrape when all is well = %d, want 1", n)
		}
		w.conserved("a", 32)
	})
}

func TestSampleAgeLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ec := endpointConfig("a")
		ec.QueueConfig.SampleAgeLimit = model.Duration(10 * time.Minute)
		w := newWorld(t, ec)
		r := w.receivers["a"]
		r.set(func(*receiver, wire.Protocol, int) deliver.Answer { return status(503) })
		w.run()
		pod := w.target("pod-1", 10)
		for range 30 {
			w.append(w.scrape(pod, nowMillis()))
			time.Sleep(time.Minute)
		}
		r.set(nil)
		time.Sleep(time.Minute)
		w.stop()
		if n := w.dropped("a", deliver.TooOld); n < 190 || n > 210 {
			t.Errorf("too old = %d, want about 200", n)
		}
		w.conserved("a", 300)
	})
}

func TestOldSamplesAmongNewOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ec := endpointConfig("a")
		ec.QueueConfig.SampleAgeLimit = model.Duration(10 * time.Minute)
		w := newWorld(t, ec)
		w.run()
		for i := range 20 { // pods whose clocks, or pages, are up to 20 minutes late
			w.append(w.scrape(w.target("pod-"+string(rune('a'+i)), 5), nowMillis()-int64(i)*60_000))
		}
		w.stop()
		if r := w.receivers["a"]; r.total() != 55 {
			t.Errorf("samples = %d, want those of eleven pods", r.total())
		}
		w.conserved("a", 100)
	})
}

// clientOf is a client that answers as a function does.
type clientOf func(ctx context.Context, body []byte, p wire.Protocol, attempt int) deliver.Answer

func (f clientOf) Post(ctx context.Context, body []byte, p wire.Protocol, attempt int) deliver.Answer {
	return f(ctx, body, p, attempt)
}

func (f clientOf) Close() {}
