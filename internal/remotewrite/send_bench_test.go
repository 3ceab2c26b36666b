//go:build unix

package remotewrite

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/chance"
	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/deliver"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire/wiretest"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// BenchmarkPost is a POST of the size of a small request, one in 2.0 and one in 1.0, the receiver's side included.
func BenchmarkPost(b *testing.B) {
	for _, size := range []int{100, 20 << 10, 90 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			ec := endpointConfig("a")
			ec.URL.Scheme, ec.URL.Host = "http", nullReceiver(b)
			c, err := Options{}.newClient(ec)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			body := make([]byte, size)
			b.ReportAllocs()
			report := perSample(b, 2000)
			for b.Loop() {
				if a := c.Post(b.Context(), body, wire.V2, 0); a.Status != 204 {
					b.Fatal(a)
				}
			}
			report()
		})
	}
}

// pleased is a poster that takes everything at once.
type pleased struct{ header http.Header }

func (p pleased) Post(context.Context, []byte, wire.Protocol, int) deliver.Answer {
	return deliver.Answer{Status: 204, Header: p.header}
}

func (p pleased) Close() {}

// repeating is a lane that gives some requests over and over.
type repeating struct {
	messages []wire.Message
	at, left int
	records  []queue.Record
	group    [1]queue.Request
}

func (l *repeating) Next(bool) ([]queue.Request, queue.State, time.Duration) {
	if l.left == 0 {
		return nil, queue.Empty, 0
	}
	m := l.messages[l.at%len(l.messages)]
	l.records = l.records[:0]
	for _, f := range m.Fragments {
		l.records = append(l.records, queue.Record{Data: f})
	}
	l.group[0] = queue.Request{Records: l.records, Samples: m.Samples, Oldest: m.Oldest, Newest: m.Newest}
	return l.group[:], queue.Ready, 0
}

func (l *repeating) Ack([]queue.Request)   { l.at, l.left = l.at+1, l.left-1 }
func (l *repeating) Wake() <-chan struct{} { return nil }

// BenchmarkDeliver is what a sender does for a request that is accepted, HTTP left out.
func BenchmarkDeliver(b *testing.B) {
	for _, p := range []wire.Protocol{wire.V2, wire.V1} {
		b.Run(p.String(), func(b *testing.B) {
			ms := meshMessages(b, 8, 2000)
			w := New(series.NewTable(), nil, Options{}, zap.NewNop(), nil)
			w.newClient = func(EndpointConfig) (deliver.Client, error) {
				return pleased{http.Header{"X-Prometheus-Remote-Write-Samples-Written": {"2000"}}}, nil
			}
			if err := w.Apply(Config{Endpoints: []EndpointConfig{explicit(endpointConfig("a"), p)}}); err != nil {
				b.Fatal(err)
			}
			e := (*w.endpoints.Load())[0]
			q := &repeating{messages: ms}
			s := e.receiver.NewSender(chance.Source{}.Rand(), q, func(f deliver.Fate) {
				e.account.fate(f, new(atomic.Int64))
			})
			b.ReportAllocs()
			report := perSample(b, ms[0].Samples)
			for b.Loop() {
				q.left = 1
				s.Run(b.Context(), nil)
			}
			report()
		})
	}
}

// BenchmarkCatchUp delivers a backlog over HTTP on loopback, as after an outage: 2,000 samples per request, four lanes.
// Compare with the live rate: 200 sidecars of 2,000 series every 10 s are 40,000 samples per second.
func BenchmarkCatchUp(b *testing.B) {
	for _, p := range []wire.Protocol{wire.V2, wire.V1} {
		b.Run(p.String(), func(b *testing.B) {
			table := series.NewTable()
			w := New(table, nil, Options{}, zap.NewNop(), nil)
			ec := explicit(endpointConfig("a"), p)
			ec.URL.Scheme, ec.URL.Host = "http", nullReceiver(b)
			if err := w.Apply(Config{Endpoints: []EndpointConfig{ec}, Queue: queue.Config{MaxBytes: 1 << 40},
				FlushDeadline: time.Hour}); err != nil {
				b.Fatal(err)
			}
			var pods []*series.Batch
			for i := range 40 {
				pods = append(pods, wiretest.Mesh(table, i/10, i, 2000))
			}
			for i := range b.N {
				pod := pods[i%len(pods)]
				pod.Time += 1000
				if err := w.Append(pod); err != nil {
					b.Fatal(err)
				}
			}
			b.ResetTimer()
			ctx, cancel := context.WithCancel(b.Context())
			cancel() // a stop flushes what waits
			if err := w.Run(ctx); err != nil {
				b.Fatal(err)
			}
			// A queue in memory has dropped the oldest of a long backlog: with -benchtime 500x it keeps all.
			b.ReportMetric(testutil.ToFloat64(w.metrics.accepted.WithLabelValues("a"))/b.Elapsed().Seconds(),
				"samples/s")
		})
	}
}

// nullReceiver reads requests and answers each with 204, at the least cost that a server can have.
func nullReceiver(b *testing.B) (hostPort string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveNull(c)
		}
	}()
	return l.Addr().String()
}

func serveNull(c net.Conn) {
	defer func() { _ = c.Close() }()
	r := bufio.NewReaderSize(c, 256<<10)
	for tr := textproto.NewReader(r); ; {
		if _, err := tr.ReadLine(); err != nil {
			return
		}
		h, err := tr.ReadMIMEHeader()
		if err != nil {
			return
		}
		n, _ := strconv.Atoi(h.Get("Content-Length"))
		if _, err := r.Discard(n); err != nil {
			return
		}
		const noContent = "HTTP/1.1 204 No Content\r\nX-Prometheus-Remote-Write-Samples-Written: 2000\r\n\r\n"
		if _, err := io.WriteString(c, noContent); err != nil {
			return
		}
	}
}

// meshMessages packs one scrape of each of a number of sidecars, of size series, and returns the requests.
func meshMessages(t testing.TB, targets, size int) (out []wire.Message) {
	t.Helper()
	table := series.NewTable()
	w := New(table, nil, Options{}, zap.NewNop(), nil)
	var q queue.Queue
	ec := endpointConfig("a")
	ec.QueueConfig.MaxShards = 1
	w.openQueue = func(_ string, lanes int, cfg queue.Config) (queue.Queue, error) {
		q = queue.NewMemory(cfg, lanes)
		return q, nil
	}
	err := w.Apply(Config{Endpoints: []EndpointConfig{ec}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range targets {
		if err := w.Append(wiretest.Mesh(table, i/10, i, size)); err != nil {
			t.Fatal(err)
		}
	}
	q.Seal(0)
	for {
		group, state, _ := q.Next(0, queue.Limit{Requests: 1})
		if state != queue.Ready {
			return out
		}
		out = append(out, requestMessage(group[0]))
		q.Ack(0)
	}
}
