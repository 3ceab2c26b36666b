//go:build unix

package scrape

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// stuck is a connection to a target that answers with some bytes and then says nothing more until it is closed.
type stuck struct {
	net.Conn
	says   string
	again  string        // said for each request; empty: says is all
	stall  func()        // called when everything was said
	closed chan struct{} // by Close or a deadline
	once   sync.Once
}

func (s *stuck) Read(b []byte) (int, error) {
	if n := copy(b, s.says); n > 0 {
		s.says = s.says[n:]
		return n, nil
	}
	if s.stall != nil {
		s.stall()
		s.stall = nil
	}
	<-s.closed
	return 0, net.ErrClosed
}

func (s *stuck) Write(b []byte) (int, error) {
	s.says += s.again
	return len(b), nil
}

func (s *stuck) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func (s *stuck) SetDeadline(time.Time) error { return s.Close() }

// noSink forgets every batch.
type noSink struct{}

func (noSink) Append(*series.Batch) error { return nil }

// stuckTargets returns pools with n targets and memory for a number of pages. Each target says the same and then
// nothing more. stalled counts the connections that have said everything.
func stuckTargets(t testing.TB, n, pages int, says string, stalled *atomic.Int64) *Pools {
	t.Helper()
	return stuckTargetsLogging(t, n, pages, says, stalled, zap.NewNop())
}

func stuckTargetsLogging(t testing.TB, n, pages int, says string, stalled *atomic.Int64, log *zap.Logger) *Pools {
	t.Helper()
	ps := New(series.NewTable(), noSink{}, Options{MaxMemory: int64(pages) * pageBytes}, log, nil)
	if err := ps.Apply([]*promconfig.ScrapeConfig{job(t, "")}); err != nil {
		t.Fatal(err)
	}
	ps.jobs["envoy"].state.fetcher.plain.dial = func(context.Context, string, string) (net.Conn, error) {
		return &stuck{says: says, stall: func() { stalled.Add(1) }, closed: make(chan struct{})}, nil
	}
	targets := make([]model.LabelSet, n)
	for i := range targets {
		targets[i] = at(fmt.Sprintf("10.%d.%d.%d:15090", i>>16, i>>8&255, i&255))
	}
	(&rig{Pools: ps}).Update(map[string][]*targetgroup.Group{"envoy": {{Source: "0", Targets: targets}}})
	return ps
}

// halfAPage is an answer that breaks off.
func halfAPage() string {
	return "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000000\r\n\r\n" + string(pageOf(20))
}

// TestMemoryOfScrapesInFlight: of a mesh that hangs, a scrape that waits for the first byte holds a goroutine, and
// pages take no more than their bound.
func TestMemoryOfScrapesInFlight(t *testing.T) {
	const targets, pages, waiting = 2000, 50, 24 << 10
	for name, c := range map[string]struct {
		says  string
		stall int64 // connections that come to say everything
		most  int64 // bytes
	}{
		"before the first byte":     {"", targets, targets * waiting},
		"in the middle of the page": {halfAPage(), pages, targets*waiting + pages*pageBytes},
	} {
		t.Run(name, func(t *testing.T) {
			var stalled atomic.Int64
			ps := stuckTargets(t, targets, pages, c.says, &stalled)
			ctx, cancel := context.WithCancel(t.Context())
			before := inUse()
			var running sync.WaitGroup
			for _, l := range ps.jobs["envoy"].loops {
				l.target.timeout = time.Hour
				running.Go(func() { l.scrape(ctx, nil) })
			}
			memory := ps.opts.budget.memory
			eventually(t, "all are stuck", func() bool {
				_, waiting := memory.gate.load()
				return stalled.Load() >= c.stall && stalled.Load()+int64(waiting) >= targets
			})
			used := inUse() - before
			if used > c.most {
				t.Errorf("%d targets hold %d bytes, %d each, want %d at most", targets, used, used/targets, c.most)
			}
			cancel()
			running.Wait()
			if held, waiting := memory.gate.load(); held != 0 || waiting != 0 || len(memory.leases) != 0 {
				t.Errorf("afterwards %d pages hold memory, %d wait for it", held, waiting)
			}
		})
	}
}

// TestPagesThatStallGiveWay: targets that hang in the middle of their pages fail when others wait for memory. A scrape
// that waits in vain fails at its timeout, which is counted, and logged once. A target that answers loses nothing.
func TestPagesThatStallGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const targets, pages = 100, 10
		core, logged := observer.New(zap.InfoLevel)
		var stalled atomic.Int64
		ps := stuckTargetsLogging(t, targets, pages, halfAPage(), &stalled, zap.New(core))
		var running sync.WaitGroup
		start := func(l *loop) { running.Go(func() { l.scrape(t.Context(), nil) }) }
		var healthy *loop
		for _, healthy = range ps.jobs["envoy"].loops {
			break
		}
		plain := healthy.job.fetcher.plain
		stuckDial := plain.dial
		plain.dial = func(context.Context, string, string) (net.Conn, error) {
			return &stuck{again: ok, closed: make(chan struct{})}, nil
		}
		healthy.scrape(t.Context(), nil)
		plain.dial = stuckDial
		for _, l := range ps.jobs["envoy"].loops {
			if l != healthy {
				start(l)
			}
		}
		synctest.Wait()
		if n := stalled.Load(); n != pages {
			t.Errorf("%d pages are being read, want %d", n, pages)
		}
		start(healthy) // behind 89 others
		running.Wait()
		reasons := map[string]int{}
		for _, l := range ps.jobs["envoy"].loops {
			switch err := l.status.err; {
			case err == "":
				reasons["none"]++
			case strings.Contains(err, "the page stalled"):
				reasons["stalled"]++
			case strings.Contains(err, "no memory for the page"):
				reasons["no memory"]++
			default:
				reasons[err]++
			}
		}
		if healthy.status.err != "" || healthy.status.duration > stallTime+sweepTime {
			t.Errorf("the healthy target waited %v: %q", healthy.status.duration, healthy.status.err)
		}
		if reasons["stalled"] < 3*pages || reasons["no memory"] == 0 {
			t.Errorf("failures: %v", reasons)
		}
		failed := testutil.ToFloat64(ps.env.metrics.failures.WithLabelValues("envoy", "memory"))
		if want := reasons["stalled"] + reasons["no memory"]; failed != float64(want) || want == 0 {
			t.Errorf("%v failures counted under memory, want %d", failed, want)
		}
		if n := testutil.ToFloat64(ps.env.metrics.memoryWaits); n != targets-pages {
			t.Errorf("%v scrapes waited, want %d", n, targets-pages)
		}
		if n := logged.FilterMessageSnippet("memory for pages is used up").Len(); n != 1 {
			t.Errorf("the log said %d times that memory is used up", n)
		}
		if n := logged.FilterMessageSnippet("free again").Len(); n != 1 {
			t.Errorf("the log said %d times that it is free again", n)
		}
	})
}

// TestPagesThatStallGiveWayOnTheWire is the same over real connections, without net/http and with it.
func TestPagesThatStallGiveWayOnTheWire(t *testing.T) {
	for name, fetcherOf := range map[string]func(testing.TB) *fetcher{"plain": lean, "net/http": library} {
		t.Run(name, func(t *testing.T) {
			f := fetcherOf(t)
			m := newPageMemory(1, newMetrics(nil), zap.NewNop())
			f.guard.budget.memory = m
			if f.plain != nil {
				f.plain.memory = m
			}
			m.sweep = time.AfterFunc(time.Hour, m.abortStalled) // only the call below looks for pages that stall
			hanging := listen(t, func(_ int, c *ring) {
				c.hear()
				c.say(halfAPage())
				c.wait()
			})
			ended := make(chan seen, leastPages)
			for range leastPages {
				go func() { ended <- look(t.Context(), f, hanging.target()) }()
			}
			eventually(t, "memory is used up", func() bool { held, _ := m.gate.load(); return held == leastPages })
			other := listen(t, always(ok))
			got := make(chan seen, 1)
			go func() { got <- look(t.Context(), f, other.target()) }()
			eventually(t, "another scrape waits", func() bool { _, waiting := m.gate.load(); return waiting == 1 })
			m.mu.Lock()
			for l := range m.leases { // as if a second had passed in which nothing came
				l.checked, l.before = l.checked.Add(-stallTime), int64(len(halfAPage()))
			}
			m.mu.Unlock()
			m.abortStalled()
			if s := <-got; s.err != "" || s.body != "x 1\n" {
				t.Errorf("the scrape that waited got %q, error %q", s.body, s.err)
			}
			if s := <-ended; !strings.Contains(s.err, "the page stalled") {
				t.Errorf("the page that gave way: error %q", s.err)
			}
			if held, _ := m.gate.load(); held != leastPages-1 {
				t.Errorf("%d pages are being read, want %d: one gave way to one", held, leastPages-1)
			}
		})
	}
}

// BenchmarkInFlight is what a scrape costs that waits for the first byte of its answer, and one that has read half of
// its page, in bytes of heap and stacks. The connection itself is not in it.
func BenchmarkInFlight(b *testing.B) {
	for name, says := range map[string]string{"waiting": "", "reading": halfAPage()} {
		for _, n := range []int{2000, 10_000} {
			b.Run(fmt.Sprintf("%s/targets=%d", name, n), func(b *testing.B) {
				for b.Loop() {
					var stalled atomic.Int64
					ps := stuckTargets(b, n, n, says, &stalled)
					ctx, cancel := context.WithCancel(b.Context())
					before := inUse()
					var running sync.WaitGroup
					for _, l := range ps.jobs["envoy"].loops {
						l.target.timeout = time.Hour
						running.Go(func() { l.scrape(ctx, nil) })
					}
					for stalled.Load() < int64(n) {
						runtime.Gosched()
					}
					b.ReportMetric(float64(inUse()-before)/float64(n), "B/scrape")
					b.ReportMetric(0, "ns/op")
					cancel()
					running.Wait()
				}
			})
		}
	}
}
