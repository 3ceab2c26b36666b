package remotewrite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	promhttp "github.com/prometheus/common/config"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/deliver"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// The tests of this file are the faults of a receiver, each named after its row in docs/reliability.md.

func TestR1Refused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const outage = 10 * time.Minute
		core, logs := observer.New(zapcore.WarnLevel)
		f, db, l, stop := newHTTPFeed(t, endpointConfig("a"), 10, 20)
		f.logTo(core)
		db.set(func(r *tsdbRules) { r.delay = 5 * time.Millisecond })
		f.keepScraping(time.Second, 10*time.Second)
		l.failing(func(context.Context, string) error {
			return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
		})
		// the idle connections go with their receiver
		(*f.writers.endpoints.Load())[0].settings.Load().delivery.Client.Close()
		f.keepScraping(time.Second, outage-time.Minute)
		f.writers.Status()
		f.keepScraping(time.Second, time.Minute)
		down := f.writers.Status()[0]
		l.failing(nil)
		back := time.Now()
		for f.writers.Status()[0].PendingSamples > 2*200 { // two intervals
			f.scrapeAll()
			time.Sleep(time.Second)
			if time.Since(back) > outage {
				t.Fatal("the backlog does not shrink")
			}
		}
		if late := time.Since(back); late > outage/20+5*time.Second {
			t.Errorf("caught up in %v after %v, want 20 times the live rate after a backoff of at most 5s", late,
				outage)
		}
		f.keepScraping(time.Second, 10*time.Second)
		stop()
		f.wantNothingLost(db, 0)
		if !down.Unreachable || down.PendingSamples < 200*590 || time.Since(down.OldestPending) < outage ||
			down.FullIn == 0 {
			t.Errorf("status when down = %+v", down)
		}
		if f.retried() == 0 || f.answered("refused") != f.retried() {
			t.Errorf("retries %d, refused connections %d", f.retried(), f.answered("refused"))
		}
		if n := logs.Len(); n < 9 || n > 11 {
			t.Errorf("warnings in ten minutes = %d, want one a minute", n)
		}
	})
}

// TestBytesNeedAConnection: a body that had no connection was not sent.
func TestBytesNeedAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, l, stop := newHTTPFeed(t, oneLane(wire.V2, 2000), 1, 20)
		l.failing(func(context.Context, string) error { return syscall.ECONNREFUSED })
		f.scrapeAll()
		time.Sleep(time.Minute)
		sent := func() int { return int(testutil.ToFloat64(f.writers.metrics.bytes.WithLabelValues("a"))) }
		if n := sent(); n != 0 || f.retried() < 10 {
			t.Errorf("sent %d bytes in %d tries without a connection", n, f.retried())
		}
		waiting := int(f.writers.Status()[0].PendingBytes)
		l.failing(nil)
		time.Sleep(10 * time.Second)
		stop()
		if n := sent(); n == 0 || n > waiting {
			t.Errorf("sent %d bytes of a request of at most %d", n, waiting)
		}
	})
}

func TestR2BlackHole(t *testing.T) {
	hang := func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }
	for name, tc := range map[string]struct {
		hole   func(l *pipes, db *tsdb)
		repair func(l *pipes, db *tsdb)
	}{
		"no packet comes back": {func(l *pipes, _ *tsdb) { l.failing(hang) },
			func(l *pipes, _ *tsdb) { l.failing(nil) }},
		"accepts, never answers": {
			func(_ *pipes, db *tsdb) { db.set(func(r *tsdbRules) { r.delay = time.Hour }) },
			func(_ *pipes, db *tsdb) { db.set(func(r *tsdbRules) { r.delay = 0 }) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, db, l, stop := newHTTPFeed(t, endpointConfig("a"), 10, 20)
				f.keepScraping(10*time.Second, time.Minute)
				tc.hole(l, db)
				(*f.writers.endpoints.Load())[0].settings.Load().delivery.Client.Close()
				f.keepScraping(10*time.Second, 5*time.Minute)
				tc.repair(l, db)
				f.keepScraping(10*time.Second, 2*time.Minute)
				lag := f.writers.Status()[0].PendingSamples
				stop()
				f.wantNothingLost(db, 0)
				if f.answered("timeout") == 0 || f.answered("5xx") != 0 || f.answered("timeout") != f.retried() {
					t.Errorf("timeouts %d, 5xx %d, retries %d", f.answered("timeout"), f.answered("5xx"), f.retried())
				}
				if lag > 2*200 {
					t.Errorf("pending two minutes later = %d", lag)
				}
			})
		})
	}
}

func TestR3RetryAfter(t *testing.T) {
	for name, tc := range map[string]struct {
		code  int
		value func() string
	}{
		"503, seconds": {503, func() string { return "30" }},
		"429, seconds": {429, func() string { return "30" }},
		"503, date":    {503, func() string { return time.Now().Add(30 * time.Second).UTC().Format(http.TimeFormat) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, db, _, stop := newHTTPFeed(t, endpointConfig("a"), 10, 20)
				var asked time.Time // when it said so first
				db.set(func(r *tsdbRules) {
					r.fate = func(wire.Protocol, int) *deliver.Answer {
						if asked.IsZero() {
							asked = time.Now()
						} else if time.Since(asked) > time.Second {
							return nil
						}
						a := status(tc.code)
						a.Header.Set("Retry-After", tc.value())
						return &a
					}
				})
				f.keepScraping(time.Second, 2*time.Minute)
				stop()
				f.wantNothingLost(db, 0)
				began, quiet := db.offered[0].at, time.Duration(0)
				for _, o := range db.offered {
					if o.status == tc.code && o.at.Sub(began) > time.Second {
						t.Errorf("asked again after %v", o.at.Sub(began))
					}
					if o.status != tc.code && quiet == 0 {
						quiet = o.at.Sub(began)
					}
				}
				if quiet < 29*time.Second || quiet > 31*time.Second {
					t.Errorf("the first try came after %v, want 30s", quiet)
				}
			})
		})
	}
}

func TestR3RateLimitUnlessToldOtherwise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ec := endpointConfig("a")
		ec.QueueConfig.RetryOnRateLimit = false
		f, db, _, stop := newHTTPFeed(t, ec, 1, 10)
		db.set(func(r *tsdbRules) { r.fate = func(wire.Protocol, int) *deliver.Answer { a := status(429); return &a } })
		f.scrapeAll()
		time.Sleep(time.Minute)
		stop()
		if lost := f.lostAt(db, "a"); lost != 10 || f.answered("429") != 1 {
			t.Errorf("lost %d after %d answers, want 10 after 1", lost, f.answered("429"))
		}
	})
}

// TestR4OneFailsForEver also holds the delay of the endpoint that works against the one it has alone.
func TestR4OneFailsForEver(t *testing.T) {
	for name, bad := range map[string]tsdbRules{
		"500":  {fate: func(wire.Protocol, int) *deliver.Answer { a := status(500); return &a }},
		"slow": {delay: 29 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				good, failing := newTSDB(t), newTSDB(t)
				failing.rules = bad
				f := newFeedVia(t, endpointConfig("a"), func(ec EndpointConfig) (deliver.Client, error) {
					if ec.Name == "bad" {
						return failing, nil
					}
					return good, nil
				}, 10, 20)
				f.cfg.Endpoints = append(f.cfg.Endpoints, endpointConfig("bad"))
				f.apply()
				f.run()
				for range 120 {
					f.scrapeAll()
					time.Sleep(5*time.Second + time.Millisecond) // batch_send_deadline
					synctest.Wait()
					if n := good.distinct(); n != f.appended() {
						t.Fatalf("arrived %d of %d: the healthy endpoint waits", n, f.appended())
					}
				}
				failing.set(func(r *tsdbRules) { *r = tsdbRules{} })
				time.Sleep(time.Minute)
				f.stop()
				f.wantNothingLost(good, 0)
				if lost := f.lostAt(failing, "bad"); lost != 0 || failing.disorder() != 0 {
					t.Errorf("lost %d, out of order %d at the other", lost, failing.disorder())
				}
			})
		})
	}
}

func TestR5SlowReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, db, _, stop := newHTTPFeed(t, endpointConfig("a"), 40, 50)
		db.set(func(r *tsdbRules) { r.delay = 5 * time.Second })
		most := 0
		for range 60 {
			f.scrapeAll()
			time.Sleep(15 * time.Second)
			most = max(most, f.writers.Status()[0].PendingSamples)
		}
		db.set(func(r *tsdbRules) { r.delay = 0 })
		stop()
		f.wantNothingLost(db, 0)
		if most > 2*40*50 {
			t.Errorf("pending samples = %d, want at most two scrapes", most)
		}
		if n := len(db.offers()); n > 2*4*60 {
			t.Errorf("requests = %d for %d scrapes of 40 targets in four lanes, want few", n, f.scrapes)
		}
	})
}

func TestR7Statuses(t *testing.T) {
	for code, tc := range map[int]struct{ lost, twice int }{401: {}, 403: {}, 404: {lost: 10 * 20},
		409: {lost: 10 * 20}, 422: {lost: 10 * 20}, 413: {}} {
		for _, p := range []wire.Protocol{wire.V1, wire.V2} {
			t.Run(fmt.Sprint(code, " ", p), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f, db, _, stop := newHTTPFeed(t, explicit(endpointConfig("a"), p), 10, 20)
					db.set(func(r *tsdbRules) {
						r.fate = func(_ wire.Protocol, n int) *deliver.Answer {
							if code == 413 && n <= 3 {
								return nil
							}
							a := status(code)
							return &a
						}
					})
					f.scrapeAll()
					time.Sleep(10 * time.Second)
					db.set(func(r *tsdbRules) { r.fate = nil })
					f.keepScraping(10*time.Second, 2*time.Minute)
					stop()
					if lost := f.lostAt(db, "a"); lost != tc.lost || db.disorder() != 0 || db.twice != 0 {
						t.Errorf("lost %d, out of order %d, twice %d; want %d, 0, 0", lost, db.disorder(), db.twice,
							tc.lost)
					}
					if f.answered(fmt.Sprint(code)) == 0 {
						t.Errorf("no answer %d was counted", code)
					}
				})
			})
		}
	}
}

// TestR7RotatedCredential: a new password in the file helps without a restart, and tries until then are few.
func TestR7RotatedCredential(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		db, l := newTSDB(t), newPipes()
		var denied atomic.Int64
		end := l.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, password, _ := r.BasicAuth(); password != "new" {
				denied.Add(1)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			db.ServeHTTP(w, r)
		}))
		ec := endpointConfig("a")
		ec.HTTPClientConfig.BasicAuth = &promhttp.BasicAuth{Username: "u", PasswordFile: file}
		f := newFeedVia(t, ec, over(l.dial), 1, 10)
		f.run()
		f.keepScraping(10*time.Second, 5*time.Minute)
		if err := os.WriteFile(file, []byte("new"), 0o600); err != nil {
			t.Fatal(err)
		}
		f.keepScraping(10*time.Second, 6*time.Minute)
		if n := f.writers.Status()[0].PendingSamples; n > 20 {
			t.Errorf("pending = %d after the new password", n)
		}
		f.stop()
		end()
		f.wantNothingLost(db, 0)
		if n := denied.Load(); n > 10 {
			t.Errorf("tries with the old password = %d, want few", n)
		}
	})
}

func TestR8OtherProtocol(t *testing.T) {
	for name, fate := range map[string]func(p wire.Protocol, n int) *deliver.Answer{
		"415": nil,
		"2xx without Written headers": func(p wire.Protocol, _ int) *deliver.Answer {
			if p == wire.V1 {
				return nil
			}
			a := status(204) // and kept nothing
			return &a
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, db, _, stop := newHTTPFeed(t, endpointConfig("a"), 10, 20)
				db.set(func(r *tsdbRules) { r.only, r.fate = wire.V1, fate })
				f.scrapeAll()
				time.Sleep(6 * time.Second)
				if n := db.distinct(); n != f.appended() {
					t.Errorf("arrived at once = %d, want %d", n, f.appended())
				}
				f.keepScraping(10*time.Second, time.Minute)
				protocol := f.writers.Status()[0].Protocol
				stop()
				f.wantNothingLost(db, 0)
				if protocol != "1.0" {
					t.Errorf("protocol = %s", protocol)
				}
			})
		})
	}
}

// cutConn closes a connection after a number of bytes were written to it.
type cutConn struct {
	net.Conn
	left *int // shared by the connections of a test: each cut is a new allowance
}

func (c cutConn) Write(p []byte) (int, error) {
	if *c.left -= len(p); *c.left < 0 {
		*c.left = 5000
		n, _ := c.Conn.Write(p[:len(p)-10])
		_ = c.Close()
		return n, syscall.ECONNRESET
	}
	return c.Conn.Write(p)
}

func TestR9Resets(t *testing.T) {
	t.Run("mid-body", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ec := endpointConfig("a")
			ec.QueueConfig.MaxShards = 1
			f, db, l, stop := newHTTPFeed(t, ec, 5, 20)
			left := 5000
			l.mu.Lock()
			l.wrap = func(c net.Conn) net.Conn { return cutConn{c, &left} }
			l.mu.Unlock()
			f.keepScraping(10*time.Second, 10*time.Minute)
			stop()
			f.wantNothingLost(db, 0)
			if f.answered("network") == 0 {
				t.Error("nothing was cut")
			}
		})
	})
	for name, keep := range map[string]bool{"before the body is read": false,
		"after the body, before the answer": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db, l := newTSDB(t), newPipes()
				var n, reset atomic.Int64
				end := l.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if n.Add(1)%3 != 0 {
						db.ServeHTTP(w, r)
						return
					}
					reset.Add(1)
					if keep {
						body, _ := io.ReadAll(r.Body)
						db.write(body, wire.V2)
					}
					panic(http.ErrAbortHandler) // closes the connection
				}))
				ec := endpointConfig("a")
				ec.QueueConfig.MaxShards = 1
				f := newFeedVia(t, ec, over(l.dial), 5, 20)
				f.run()
				f.keepScraping(10*time.Second, 10*time.Minute)
				lag := f.writers.Status()[0].PendingSamples
				f.stop()
				end()
				resets := int(reset.Load())
				f.wantNothingLost(db, resets*100) // one request each
				if resets == 0 || f.retried() < resets || lag > 200 {
					t.Errorf("resets %d, retries %d, pending %d", resets, f.retried(), lag)
				}
				if (db.twice > 0) != keep {
					t.Errorf("twice = %d", db.twice)
				}
			})
		})
	}
}

func TestR10EndlessAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, l := newTSDB(t), newPipes()
		var wrote, answers atomic.Int64
		end := l.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			a := db.write(body, wire.V2)
			w.Header().Set("X-Prometheus-Remote-Write-Samples-Written",
				a.Header.Get("X-Prometheus-Remote-Write-Samples-Written"))
			n, _ := io.Copy(w, io.LimitReader(endless{}, 1<<30))
			wrote.Add(n)
			answers.Add(1)
		}))
		f := newFeedVia(t, endpointConfig("a"), over(l.dial), 3, 20)
		f.run()
		f.keepScraping(10*time.Second, time.Minute)
		f.stop()
		end()
		f.wantNothingLost(db, 0)
		answered := answers.Load()
		// buffers of both sides
		if most := answered * (deliver.MaxAnswerBytes + 16<<10); answered == 0 || wrote.Load() > most {
			t.Errorf("%d answers of %d bytes were read, want at most %d", answered, wrote.Load(), most)
		}
		if int64(l.dialed) != answered {
			t.Errorf("connections %d for %d answers, want each closed", l.dialed, answered)
		}
	})
}

func TestR11RedirectElsewhere(t *testing.T) {
	for _, code := range []int{307, 308} {
		for name, change := range map[string]func(*EndpointConfig){
			"no credentials": nil,
			"basic auth": func(ec *EndpointConfig) {
				ec.HTTPClientConfig.BasicAuth = &promhttp.BasicAuth{Username: "u", Password: "secret"}
			},
			"header": func(ec *EndpointConfig) { ec.Headers = map[string]string{"X-Api-Key": "secret"} },
		} {
			t.Run(fmt.Sprint(code, " ", name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					db, l := newTSDB(t), newPipes()
					var back atomic.Bool
					end := l.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if r.Host == "a.test" && !back.Load() {
							http.Redirect(w, r, "http://elsewhere.test/write", code)
							return
						}
						if r.Host == "elsewhere.test" && strings.Contains(fmt.Sprint(r.Header), "secret") ||
							r.Host != "a.test" && r.Header.Get("Authorization") != "" {
							t.Errorf("%s got %v", r.Host, r.Header)
						}
						db.ServeHTTP(w, r)
					}))
					ec := endpointConfig("a")
					if change != nil {
						change(&ec)
					}
					f := newFeedVia(t, ec, over(l.dial), 3, 20)
					f.run()
					f.keepScraping(10*time.Second, time.Minute)
					back.Store(true)
					f.keepScraping(10*time.Second, 6*time.Minute)
					f.stop()
					end()
					f.wantNothingLost(db, 0)
				})
			})
		}
	}
}

// TestN2NameMoves: the old address fails, by an answer or by none, and the name means another one by now.
func TestN2NameMoves(t *testing.T) {
	for name, old := range map[string]http.HandlerFunc{
		"the old one answers 503": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) },
		"the old one cuts off":    func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"the old one hangs":       func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db, before, after := newTSDB(t), newPipes(), newPipes()
				var moved, lost atomic.Bool // the receiver; its name
				end1 := before.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					if moved.Load() {
						old(w, r)
						return
					}
					w.Header().Set("X-Prometheus-Remote-Write-Samples-Written", "999999")
					w.WriteHeader(204)
				}))
				end2 := after.serve(db)
				f := newFeedVia(t, endpointConfig("a"), over(func(ctx context.Context, network,
					address string) (net.Conn, error) {
					switch {
					case lost.Load():
						return nil, &net.DNSError{Err: "no such host", Name: address, IsNotFound: true}
					case moved.Load():
						return after.dial(ctx, network, address)
					}
					return before.dial(ctx, network, address)
				}), 10, 20)
				f.run()
				f.keepScraping(10*time.Second, time.Minute)
				synctest.Wait()
				missed := f.acceptedCount("a") // by the old one
				moved.Store(true)
				lost.Store(true)
				f.keepScraping(10*time.Second, 2*time.Minute)
				lost.Store(false)
				repaired := time.Now()
				for db.distinct() == 0 && time.Since(repaired) < time.Minute {
					time.Sleep(time.Second)
				}
				if late := time.Since(repaired); late > 30*time.Second {
					t.Errorf("the new address was found after %v", late)
				}
				f.keepScraping(10*time.Second, time.Minute)
				f.stop()
				end1()
				end2()
				if n := db.distinct(); n < f.appended()-missed || db.disorder() != 0 {
					t.Errorf("arrived %d, out of order %d; want %d, 0", n, db.disorder(), f.appended()-missed)
				}
				if f.answered("dns") == 0 {
					t.Error("no failed look-up was counted")
				}
			})
		})
	}
}

// TestF3BacklogFollowsTheName changes what a reload may change of an endpoint while its backlog waits.
func TestF3BacklogFollowsTheName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, l := newTSDB(t), newPipes()
		right := func(r *http.Request) bool {
			_, password, _ := r.BasicAuth()
			return r.URL.Path == "/v2/write" && r.URL.Query().Get("tenant") == "b" && password == "new"
		}
		end := l.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !right(r) {
				w.WriteHeader(503)
				return
			}
			db.ServeHTTP(w, r)
		}))
		ec := endpointConfig("a")
		f := newFeedVia(t, ec, over(l.dial), 10, 20)
		f.run()
		for _, change := range []func(u *url.URL, c *promhttp.HTTPClientConfig){
			func(*url.URL, *promhttp.HTTPClientConfig) {},
			func(u *url.URL, _ *promhttp.HTTPClientConfig) { u.Path = "/v2/write" },
			func(u *url.URL, _ *promhttp.HTTPClientConfig) { u.RawQuery = "tenant=b" },
			func(_ *url.URL, c *promhttp.HTTPClientConfig) {
				c.BasicAuth = &promhttp.BasicAuth{Username: "u", Password: "new"}
			},
		} {
			next, u := endpointConfig("a"), *ec.URL.URL
			next.URL, next.HTTPClientConfig = &promhttp.URL{URL: &u}, ec.HTTPClientConfig
			change(&u, &next.HTTPClientConfig)
			ec = next
			f.cfg.Endpoints = []EndpointConfig{ec}
			f.apply()
			f.keepScraping(10*time.Second, time.Minute)
		}
		f.stop()
		end()
		f.wantNothingLost(db, 0)
	})
}

// TestDownForHours: what a lane holds beside its queue does not grow, and the queue stays in its bounds.
func TestDownForHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 1 << 20
		f, db, l, stop := newHTTPFeed(t, endpointConfig("a"), 10, 20)
		f.cfg.Endpoints = nil
		f.apply()
		f.cfg.Endpoints = []EndpointConfig{endpointConfig("a")}
		f.cfg.Queue.MaxBytes = limit
		f.apply()
		l.failing(func(context.Context, string) error { return errors.New("no route to host") })
		for range 3 * 360 { // three hours
			f.scrapeAll()
			time.Sleep(10 * time.Second)
			if s := f.writers.Status()[0]; s.PendingBytes > limit+64<<10 {
				t.Fatalf("pending bytes = %d", s.PendingBytes)
			}
		}
		l.failing(nil)
		time.Sleep(10 * time.Second)
		lag := f.writers.Status()[0].PendingSamples
		stop()
		if lost := f.lostAt(db, "a"); lost == 0 || f.dropped("a", queueFull) != lost || db.disorder() != 0 || lag != 0 {
			t.Errorf("lost %d, for the full queue %d, out of order %d, pending %d", lost, f.dropped("a", queueFull),
				db.disorder(), lag)
		}
	})
}

// endless is a body of zeros that never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, bytes.Repeat([]byte("0"), len(p))), nil }
