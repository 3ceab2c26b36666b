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

// hangingConn is a connection to a target that sends some bytes and then nothing until it is closed.
type hangingConn struct {
	net.Conn
	data   string        // still to be sent
	page   string        // sent for each request, after data; may be empty
	stall  func()        // called when all of data was sent
	closed chan struct{} // by Close or a deadline
	once   sync.Once
}

func (s *hangingConn) Read(b []byte) (int, error) {
	if n := copy(b, s.data); n > 0 {
		s.data = s.data[n:]
		return n, nil
	}
	if s.stall != nil {
		s.stall()
		s.stall = nil
	}
	<-s.closed
	return 0, net.ErrClosed
}

func (s *hangingConn) Write(b []byte) (int, error) {
	s.data += s.page
	return len(b), nil
}

func (s *hangingConn) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// SetDeadline closes the connection at its deadline, since it is not used afterwards.
func (s *hangingConn) SetDeadline(at time.Time) error {
	if !at.IsZero() {
		time.AfterFunc(time.Until(at), func() { _ = s.Close() })
	}
	return nil
}

// hangingTargets returns pools with n targets and memory for a number of pages. Each target sends data and then
// nothing. stalled counts the connections that have sent all.
func hangingTargets(t testing.TB, n, pages int, data string, stalled *atomic.Int64) *Pools {
	t.Helper()
	return hangingTargetsLogging(t, n, pages, data, stalled, zap.NewNop())
}

func hangingTargetsLogging(t testing.TB, n, pages int, data string, stalled *atomic.Int64, log *zap.Logger) *Pools {
	t.Helper()
	ps := New(series.NewTable(), noSink{}, Options{MaxMemory: int64(pages) * pageBytes}, log, nil)
	if err := ps.Apply([]*promconfig.ScrapeConfig{job(t, "")}); err != nil {
		t.Fatal(err)
	}
	ps.jobs["envoy"].state.fetcher.plain.dial = func(context.Context, string, string) (net.Conn, error) {
		return &hangingConn{data: data, stall: func() { stalled.Add(1) }, closed: make(chan struct{})}, nil
	}
	targets := make([]model.LabelSet, n)
	for i := range targets {
		targets[i] = at(fmt.Sprintf("10.%d.%d.%d:15090", i>>16, i>>8&255, i&255))
	}
	(&rig{Pools: ps}).Update(map[string][]*targetgroup.Group{"envoy": {{Source: "0", Targets: targets}}})
	return ps
}

// halfAPage is a response that stops within its body.
func halfAPage() string {
	return "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000000\r\n\r\n" + string(pageOf(20))
}

// TestMemoryOfConcurrentScrapes: all targets hang. A scrape that waits for the first byte takes little memory, and
// pages take no more than their limit.
func TestMemoryOfConcurrentScrapes(t *testing.T) {
	const targets, pages, waiting = 2000, 50, 24 << 10
	for name, c := range map[string]struct {
		data  string
		stall int64 // connections that send all their data
		most  int64 // bytes
	}{
		"before the first byte":     {"", targets, targets * waiting},
		"in the middle of the page": {halfAPage(), pages, targets*waiting + pages*pageBytes},
	} {
		t.Run(name, func(t *testing.T) {
			var stalled atomic.Int64
			ps := hangingTargets(t, targets, pages, c.data, &stalled)
			ctx, cancel := context.WithCancel(t.Context())
			before := inUse()
			var running sync.WaitGroup
			for _, l := range ps.jobs["envoy"].loops {
				l.target.timeout = time.Hour
				running.Go(func() { l.scrape(ctx, nil) })
			}
			memory := ps.opts.budget.memory
			eventually(t, "all scrapes hang", func() bool {
				_, waiting := memory.slots.counts()
				return stalled.Load() >= c.stall && stalled.Load()+int64(waiting) >= targets
			})
			used := inUse() - before
			if used > c.most {
				t.Errorf("%d targets take %d bytes, %d each, want %d at most", targets, used, used/targets, c.most)
			}
			cancel()
			running.Wait()
			if held, waiting := memory.slots.counts(); held != 0 || waiting != 0 || len(memory.leases) != 0 {
				t.Errorf("afterwards %d leases of memory, %d waiters", held, waiting)
			}
		})
	}
}

// TestStalledPagesAreAborted: targets that hang within their pages fail when others wait for memory. A scrape that gets
// no memory fails at its timeout. This is counted, and logged once. A healthy target is scraped.
func TestStalledPagesAreAborted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const targets, pages = 100, 10
		core, logged := observer.New(zap.InfoLevel)
		var stalled atomic.Int64
		ps := hangingTargetsLogging(t, targets, pages, halfAPage(), &stalled, zap.New(core))
		var running sync.WaitGroup
		start := func(l *loop) { running.Go(func() { l.scrape(t.Context(), nil) }) }
		var healthy *loop
		for _, healthy = range ps.jobs["envoy"].loops {
			break
		}
		plain := healthy.job.fetcher.plain
		stuckDial := plain.dial
		plain.dial = func(context.Context, string, string) (net.Conn, error) {
			return &hangingConn{page: okResponse, closed: make(chan struct{})}, nil
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
		start(healthy) // 89 others wait already
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
		if healthy.status.err != "" || healthy.status.duration > stallTime+sweepInterval {
			t.Errorf("the healthy target waited %v: %q", healthy.status.duration, healthy.status.err)
		}
		if reasons["stalled"] < 3*pages || reasons["no memory"] == 0 {
			t.Errorf("failures: %v", reasons)
		}
		failed := testutil.ToFloat64(ps.env.metrics.failures.WithLabelValues("envoy", "memory"))
		if want := reasons["stalled"] + reasons["no memory"]; failed != float64(want) || want == 0 {
			t.Errorf("%v failures counted with reason memory, want %d", failed, want)
		}
		if n := testutil.ToFloat64(ps.env.metrics.memoryWaits); n != targets-pages {
			t.Errorf("%v scrapes waited, want %d", n, targets-pages)
		}
		if n := logged.FilterMessageSnippet("memory for pages is used up").Len(); n != 1 {
			t.Errorf("memory used up is logged %d times", n)
		}
		if n := logged.FilterMessageSnippet("free again").Len(); n != 1 {
			t.Errorf("memory free again is logged %d times", n)
		}
	})
}

// TestStalledPagesAreAbortedOverTCP is the same over real connections, with both clients.
func TestStalledPagesAreAbortedOverTCP(t *testing.T) {
	for name, fetcherOf := range map[string]func(testing.TB) *fetcher{"plain": plainFetcher,
		"net/http": netHTTPFetcher} {
		t.Run(name, func(t *testing.T) {
			f := fetcherOf(t)
			m := newPageMemory(1, newMetrics(nil), zap.NewNop())
			f.guard.budget.memory = m
			if f.plain != nil {
				f.plain.memory = m
			}
			m.sweep = time.AfterFunc(time.Hour, m.abortStalled) // only the call below aborts stalled pages
			hanging := startRawServer(t, func(_ int, c *serverConn) {
				c.readRequest()
				c.send(halfAPage())
				c.wait()
			})
			ended := make(chan pageResult, minPages)
			for range minPages {
				go func() { ended <- getPage(t.Context(), f, hanging.target()) }()
			}
			eventually(t, "memory is used up", func() bool { held, _ := m.slots.counts(); return held == minPages })
			other := startRawServer(t, respond(okResponse))
			got := make(chan pageResult, 1)
			go func() { got <- getPage(t.Context(), f, other.target()) }()
			eventually(t, "another scrape waits", func() bool { _, waiting := m.slots.counts(); return waiting == 1 })
			m.mu.Lock()
			for l := range m.leases { // as if nothing had been read for a second
				l.checked, l.readAtCheck = l.checked.Add(-stallTime), int64(len(halfAPage()))
			}
			m.mu.Unlock()
			m.abortStalled()
			if s := <-got; s.err != "" || s.body != "x 1\n" {
				t.Errorf("the scrape that waited got %q, error %q", s.body, s.err)
			}
			if s := <-ended; !strings.Contains(s.err, "the page stalled") {
				t.Errorf("the aborted page: error %q", s.err)
			}
			if held, _ := m.slots.counts(); held != minPages-1 {
				t.Errorf("%d pages are being read, want %d: one was aborted for one waiter", held, minPages-1)
			}
		})
	}
}

// BenchmarkInFlight measures the heap and stack bytes of a scrape that waits for the first byte of its response, and of
// one that has read half of its page. The connection itself is not included.
func BenchmarkInFlight(b *testing.B) {
	for name, data := range map[string]string{"waiting": "", "reading": halfAPage()} {
		for _, n := range []int{2000, 10_000} {
			b.Run(fmt.Sprintf("%s/targets=%d", name, n), func(b *testing.B) {
				for b.Loop() {
					var stalled atomic.Int64
					ps := hangingTargets(b, n, n, data, &stalled)
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
