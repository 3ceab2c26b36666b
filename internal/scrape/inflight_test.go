package scrape

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// stuck is a connection to a target that answers with some bytes and then says nothing more until it is closed.
type stuck struct {
	net.Conn
	says   string
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

func (s *stuck) Write(b []byte) (int, error) { return len(b), nil }

func (s *stuck) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

func (s *stuck) SetDeadline(time.Time) error { return s.Close() }

// stuckTargets are pools with n targets, each of which says the same and then nothing more, and memory for so many pages. stalled counts those
// that have said it.
func stuckTargets(t testing.TB, n, pages int, says string, stalled *atomic.Int64) *Pools {
	t.Helper()
	ps := New(series.NewTable(), &nowhere{}, Options{MaxMemory: int64(pages) * pageBytes}, zap.NewNop(), nil)
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
	ps.Update(map[string][]*targetgroup.Group{"envoy": {{Source: "0", Targets: targets}}})
	return ps
}

// BenchmarkInFlight is what a scrape costs that waits for the first byte of its answer, and one that has read half of
// its page, in bytes of heap and stacks. The connection itself is not in it.
func BenchmarkInFlight(b *testing.B) {
	half := "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000000\r\n\r\n" + string(pageOf(20))
	for name, says := range map[string]string{"waiting": "", "reading": half} {
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
