package scrape

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
	"github.com/envoy-scraper/envoy-scraper/internal/shard"
	"github.com/envoy-scraper/envoy-scraper/internal/via"
)

// noSink discards every batch.
type noSink struct{}

func (noSink) Append(*series.Batch) error { return nil }
func (noSink) Flush()                     {}

const envoyPage = "envoy_server_live 1\n"

// pacedDuring runs the pools in a bubble of fake time with a target a:1, whose page is an Envoy's, while body acts.
func pacedDuring(t *testing.T, opts Options, yaml string,
	body func(t *testing.T, r *rig, logged *observer.ObservedLogs)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		core, logged := observer.New(zap.InfoLevel)
		table, p := series.NewTable(), &pages{}
		s := &sink{table: table}
		opts.transport = p
		r := &rig{Pools: New(table, s, opts, zap.New(core), prometheus.NewRegistry()), sink: s, pages: p, table: table}
		p.set("a:1", envoyPage)
		r.apply(t, job(t, yaml))
		r.discover(at("a:1"))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		body(t, r, logged)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// distances returns how many turns lie between the batches from the n-th on. A batch that is not at a turn fails the
// test.
func (r *rig) distances(t *testing.T, n int) (turns []int) {
	t.Helper()
	r.sink.mu.Lock()
	defer r.sink.mu.Unlock()
	for i := n + 1; i < len(r.sink.got); i++ {
		d := r.sink.got[i].at.Sub(r.sink.got[i-1].at)
		if d%(10*time.Second) != 0 {
			t.Errorf("%v between two batches", d)
		}
		turns = append(turns, int(d/(10*time.Second)))
	}
	return turns
}

func (r *rig) onlyTarget(t *testing.T) TargetStatus {
	t.Helper()
	if s := r.Status(); len(s) == 1 && len(s[0].Targets) == 1 {
		return s[0].Targets[0]
	}
	t.Fatal("there is not one target")
	return TargetStatus{}
}

// slowedTargets is the gauge of the job.
func (r *rig) slowedTargets() float64 {
	return testutil.ToFloat64(r.env.metrics.slowed.WithLabelValues("envoy"))
}

// TestRow52ASlowSidecarIsAskedLessOften: after two slow answers in a row at every second turn, then at every fourth,
// and back step by step. Turns that are left out cause no markers, are counted and logged, and change no timestamp.
func TestRow52ASlowSidecarIsAskedLessOften(t *testing.T) {
	pacedDuring(t, Options{}, "", func(t *testing.T, r *rig, logged *observer.ObservedLogs) {
		pass(30 * time.Second)
		if s := r.onlyTarget(t); s.Turns != 1 || !s.SlowedSince.IsZero() {
			t.Errorf("a quick target: %d turns, slowed since %v", s.Turns, s.SlowedSince)
		}
		r.pages.slow(2 * time.Second)
		slow := r.batches()
		pass(180 * time.Second)
		if got, want := r.distances(t, slow), []int{1, 2, 2, 4, 4, 4}; !slices.Equal(got, want) {
			t.Errorf("a slow target is asked after %v turns, want %v", got, want)
		}
		s := r.onlyTarget(t)
		r.sink.mu.Lock()
		second := r.sink.got[slow+1].at.Add(2 * time.Second)
		r.sink.mu.Unlock()
		if s.Turns != 4 || s.SlowedSince.Unix() != second.Unix() || s.Health != HealthUp {
			t.Errorf("a slow target: %d turns, slowed since %v, %s, want 4, %v", s.Turns, s.SlowedSince, s.Health,
				second)
		}
		if n := r.slowedTargets(); n != 1 {
			t.Errorf("%v targets are slowed, want 1", n)
		}

		r.pages.slow(0)
		quick := r.batches()
		pass(180 * time.Second)
		got := r.distances(t, quick)
		if want := []int{4, 2, 2, 1, 1}; !slices.Equal(got[:min(len(got), 5)], want) {
			t.Errorf("a target that is quick again is asked after %v turns, want %v", got, want)
		}
		if s := r.onlyTarget(t); s.Turns != 1 || !s.SlowedSince.IsZero() {
			t.Errorf("a target that is quick again: %d turns, slowed since %v", s.Turns, s.SlowedSince)
		}
		leftOut := 0
		for _, n := range r.distances(t, 0) {
			leftOut += n - 1
		}
		if n := testutil.ToFloat64(r.env.metrics.leftOut.WithLabelValues("envoy")); n != float64(leftOut) {
			t.Errorf("%v turns counted as left out, want %d", n, leftOut)
		}
		if n := testutil.ToFloat64(r.env.metrics.skipped); n != 0 {
			t.Errorf("%v turns counted as skipped, want none", n)
		}
		for n := range r.batches() {
			want(t, r.values(t, n), named("envoy_server_live"), "1", named("up"), "1")
		}
		for _, text := range []string{"target asked less often", "target asked at every turn again"} {
			if n := logged.FilterMessageSnippet(text).Len(); n != 1 {
				t.Errorf("%q is logged %d times", text, n)
			}
		}
		if n := r.slowedTargets(); n != 0 {
			t.Errorf("%v targets are slowed, want none", n)
		}
	})
}

// TestRow52OneSlowAnswer: it changes nothing, however often it happens.
func TestRow52OneSlowAnswer(t *testing.T) {
	pacedDuring(t, Options{}, "", func(t *testing.T, r *rig, _ *observer.ObservedLogs) {
		for range 10 {
			r.pages.slow(2 * time.Second)
			pass(10 * time.Second)
			r.pages.slow(0)
			pass(10 * time.Second)
		}
		if n := r.batches(); n < 19 {
			t.Errorf("%d scrapes in 200 s", n)
		}
	})
}

// TestRow52WhatIsNotSlowed: every turn has its scrape.
func TestRow52WhatIsNotSlowed(t *testing.T) {
	for _, c := range []struct {
		name, yaml string
		opts       Options
		page       string
		fails      error
		delay      time.Duration
	}{
		{"an answer after a tenth of the interval", "", Options{}, envoyPage, nil, time.Second},
		{"another page than an Envoy's", "", Options{}, "x 1\n", nil, 2 * time.Second},
		{"a fixed pace", "", Options{FixedPace: func(job string) bool { return job == "envoy" }}, envoyPage, nil,
			2 * time.Second},
		{"a proxy", "  proxy_url: http://proxy:1\n", Options{}, envoyPage, nil, 2 * time.Second},
		{"a target that is down", "  metrics_path: /stats/prometheus\n", Options{}, "", errNoPage, 2 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			pacedDuring(t, c.opts, c.yaml, func(t *testing.T, r *rig, _ *observer.ObservedLogs) {
				r.pages.set("a:1", c.page)
				r.pages.fail("a:1", c.fails)
				r.pages.slow(c.delay)
				pass(205 * time.Second)
				if n := r.batches(); n < 20 {
					t.Errorf("%d scrapes in 200 s, want 20", n)
				}
			})
		})
	}
}

// TestRow52ATargetThatIsCutOff: it is asked less often, although nothing of its page was ever seen, and up is 0. As
// soon as it is down, it is asked at every turn.
func TestRow52ATargetThatIsCutOff(t *testing.T) {
	pacedDuring(t, Options{}, "  metrics_path: /stats/prometheus\n",
		func(t *testing.T, r *rig, _ *observer.ObservedLogs) {
			r.pages.slow(time.Hour)
			pass(150 * time.Second)
			if got, want := r.distances(t, 0), []int{1, 2, 2, 4, 4}; !slices.Equal(got[:min(len(got), 5)], want) {
				t.Errorf("asked after %v turns, want %v", got, want)
			}
			want(t, r.values(t, -1), named("up"), "0")
			r.pages.slow(0)
			r.pages.fail("a:1", errNoPage)
			pass(40 * time.Second)
			down := r.batches()
			pass(100 * time.Second)
			if n := r.batches() - down; n != 10 {
				t.Errorf("a target that is down is asked %d times in 10 turns", n)
			}
			if n := r.slowedTargets(); n != 0 {
				t.Errorf("%v targets are slowed, want none", n)
			}
		})
}

// TestRow54AReloadKeepsThePace: a reload does not ask a slow target more often, unless the job has a fixed pace now.
func TestRow54AReloadKeepsThePace(t *testing.T) {
	var fixed atomic.Bool
	opts := Options{FixedPace: func(string) bool { return fixed.Load() }}
	pacedDuring(t, opts, "", func(t *testing.T, r *rig, logged *observer.ObservedLogs) {
		r.pages.slow(2 * time.Second)
		pass(130 * time.Second)
		before := r.onlyTarget(t)
		r.apply(t, job(t, "  sample_limit: 1000\n"))
		if s := r.onlyTarget(t); s.Turns != 4 || s.SlowedSince != before.SlowedSince {
			t.Errorf("after the reload: %d turns, slowed since %v, want 4, %v", s.Turns, s.SlowedSince,
				before.SlowedSince)
		}
		reloaded := r.batches()
		pass(100 * time.Second)
		if got, want := r.distances(t, reloaded), []int{4, 4}; !slices.Equal(got[:min(len(got), 2)], want) {
			t.Errorf("after the reload it is asked after %v turns, want %v", got, want)
		}

		fixed.Store(true)
		r.apply(t, job(t, "  sample_limit: 1000\n")) // the same job
		if s, n := r.onlyTarget(t), r.slowedTargets(); s.Turns != 1 || n != 0 {
			t.Errorf("a fixed pace: %d turns, %v targets are slowed", s.Turns, n)
		}
		if n := logged.FilterMessageSnippet("at every turn again").Len(); n != 1 {
			t.Errorf("the end is logged %d times", n)
		}
		reloaded = r.batches()
		pass(100 * time.Second)
		if n := r.batches() - reloaded; n != 10 {
			t.Errorf("%d scrapes in 100 s, want 10", n)
		}
	})
}

// TestRow06ASlowedTargetVanishes: it is marked as early as any other target: two intervals and a tenth after its last
// scrape, if it vanishes at once.
func TestRow06ASlowedTargetVanishes(t *testing.T) {
	pacedDuring(t, Options{}, "", func(t *testing.T, r *rig, _ *observer.ObservedLogs) {
		r.pages.slow(2 * time.Second)
		pass(150 * time.Second)
		before := r.batches()
		for r.batches() == before {
			pass(100 * time.Millisecond)
		}
		before++
		r.discover()
		pass(21 * time.Second)
		if n := r.batches(); n != before+1 {
			t.Fatalf("%d batches after 21 s, want one", n-before)
		}
		want(t, r.values(t, -1), named("envoy_server_live"), "stale", named("up"), "stale")
		if got := r.distances(t, before-1); !slices.Equal(got, []int{1}) {
			t.Errorf("the markers are dated %v turns after the last scrape, want 1", got)
		}
		if n := r.slowedTargets(); n != 0 {
			t.Errorf("%v targets are slowed, want none", n)
		}
	})
}

// TestShardsHandOverSlowedTargets: the other instance has its first sample two intervals after the last one here, as
// for any target. The move may be known early, or only when turns are already being left out.
func TestShardsHandOverSlowedTargets(t *testing.T) {
	for _, notice := range []time.Duration{time.Hour, 25 * time.Second} {
		t.Run(fmt.Sprint(notice), func(t *testing.T) {
			fleetDuring(t, 2, changes(1), func(t *testing.T, f *fleet) {
				names, found := f.hosts(30)
				for _, name := range names {
					f.pages.set(name, envoyPage)
				}
				f.pages.slow(2 * time.Second)
				f.discover(found...)
				move := time.Now().Add(220 * time.Second)
				pass(max(0, time.Until(move)-notice))
				f.maps = append(f.maps, shard.Period{Count: 2, From: move.Round(0)})
				for i, r := range f.instances {
					r.Shard(shard.Map{Index: i, Periods: f.maps})
				}
				pass(time.Until(move.Add(100 * time.Second)))
				moved, slowed := 0, 0
				for _, name := range names {
					all := f.of(name)
					for i := 1; i < len(all); i++ {
						d := all[i].at.Sub(all[i-1].at)
						if d == 40*time.Second {
							slowed++
						}
						if all[i].by != all[i-1].by {
							moved++
							if d != 20*time.Second {
								t.Errorf("%s: instance %d goes on after %v, want two intervals", name, all[i].by, d)
							}
						}
					}
				}
				if moved < 5 || slowed < 30 {
					t.Errorf("%d targets moved, %d times four turns lay between two samples", moved, slowed)
				}
			})
		})
	}
}

// slowServer is a target that takes its time, over pipes and in fake time.
type slowServer struct {
	dial, header, body time.Duration // before each of them
}

func (s slowServer) connect(ctx context.Context, _, _ string) (net.Conn, error) {
	select {
	case <-time.After(s.dial):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	client, server := net.Pipe()
	go func() {
		defer server.Close()
		c := &serverConn{Conn: server, server: &rawServer{}, in: bufio.NewReader(server)}
		for c.readRequest() {
			<-time.After(s.header)
			c.send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
			<-time.After(s.body)
			c.send(chunks(envoyPage))
		}
	}()
	return client, nil
}

// TestWhatCountsAsTheTimeOfASidecar: with both clients, the time from the request to the first byte counts. If the
// scrape is cut off, the time until then counts. What this process waits for does not count. The interval is 10 s, so
// more than 1 s is slow.
func TestWhatCountsAsTheTimeOfASidecar(t *testing.T) {
	const second = time.Second
	before := pace{every: 2, row: 1, since: 1}
	slow, quick := pace{every: 4, since: before.since}, pace{every: 2, row: -1, since: before.since}
	for _, c := range []struct {
		name   string
		server slowServer
		memory time.Duration // until there is some
		want   pace
	}{
		{"a quick answer", slowServer{}, 0, quick},
		{"a slow answer", slowServer{header: 2 * second}, 0, slow},
		{"a long page", slowServer{body: 2 * second}, 0, quick},
		{"a long way", slowServer{dial: 2 * second}, 0, quick},
		{"no memory for a while", slowServer{}, 2 * second, quick},
		{"no memory for a while, and a slow answer", slowServer{header: 2 * second}, 3 * second, slow},
		{"no memory", slowServer{}, time.Hour, before},
		{"cut off before the header", slowServer{header: time.Hour}, 0, slow},
		{"cut off within the page", slowServer{body: time.Hour}, 0, slow},
		{"cut off after a long wait for a connection", slowServer{dial: 4500 * time.Millisecond, header: time.Hour}, 0,
			before},
		{"cut off after a long wait for memory", slowServer{body: time.Hour}, 4500 * time.Millisecond, before},
		{"nobody is there", slowServer{dial: time.Hour}, 0, pace{}},
	} {
		for _, client := range []string{"plain", "net/http"} {
			t.Run(c.name+"/"+client, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ps := New(series.NewTable(), noSink{}, Options{MaxMemory: 1}, zap.NewNop(), nil)
					r := &rig{Pools: ps}
					r.apply(t, job(t, "  metrics_path: /stats/prometheus\n"))
					defer pass(2 * time.Hour) // the server ends
					defer ps.closeJobs()
					f := ps.jobs["envoy"].state.fetcher
					if client == "plain" {
						f.plain.dial = c.server.connect
					} else {
						f.plain, f.client.Transport = nil, &http.Transport{DialContext: c.server.connect}
					}
					memory := ps.opts.budget.memory.slots
					if c.memory > 0 {
						for memory.tryAcquire() {
						}
						time.AfterFunc(c.memory, memory.release)
					}
					r.discover(at("10.0.0.1:15090"))
					for _, l := range ps.jobs["envoy"].loops {
						l.pace = before
						l.scrape(t.Context(), nil)
						if l.pace != c.want {
							t.Errorf("pace %+v, want %+v; the scrape ended with %q", l.pace, c.want, l.status.err)
						}
					}
				})
			})
		}
	}
}

// TestThePaceOfAPodThroughTheAPIServer: how long its Envoy took is not known.
func TestThePaceOfAPodThroughTheAPIServer(t *testing.T) {
	l := &loop{job: &jobState{}, target: &target{url: "http://10.0.0.1:15090/stats/prometheus"}}
	if !l.isPaced() {
		t.Error("a target that is read directly has no pace")
	}
	if l.target.pod = (&via.Pod{Namespace: "shop", Name: "cart-0"}); l.isPaced() {
		t.Error("a target that is read through the API server has a pace")
	}
}

// TestASlowSidecarOverTCP: the same with real connections, and the whole way from the answer to the next turn.
func TestASlowSidecarOverTCP(t *testing.T) {
	for client, auth := range map[string]string{"plain": "", "net/http": "  basic_auth: {username: a, password: b}\n"} {
		t.Run(client, func(t *testing.T) {
			var quick atomic.Bool
			server := startRawServer(t, func(_ int, c *serverConn) {
				for c.readRequest() {
					if !quick.Load() {
						<-time.After(leastSlow + 50*time.Millisecond)
					}
					c.send(okResponse)
				}
			})
			table := series.NewTable()
			ps := New(table, &sink{table: table}, Options{AllowLoopback: true}, zap.NewNop(), nil)
			r := &rig{Pools: ps, table: table}
			r.apply(t, job(t, "  scrape_interval: 500ms\n  scrape_timeout: 500ms\n"+
				"  metrics_path: /stats/prometheus\n"+auth))
			r.discover(at(server.host))
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- ps.Run(ctx) }()
			eventually(t, "the target is slowed", func() bool { return r.onlyTarget(t).Turns == 2 })
			quick.Store(true)
			eventually(t, "the target has its pace again", func() bool { return r.onlyTarget(t).Turns == 1 })
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}
