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
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/s2"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// benchShapes are requests of 2,000 samples: of one sidecar each, and of four.
var benchShapes = map[string][2]int{"1 target": {8, 2000}, "4 targets": {32, 500}}

// BenchmarkRequest makes compressed requests of fragments. To be held against `2.0 request 50-100 ns` and `snappy
// 53` together in 2.0, `1.0 from references perhaps 200` and `snappy 224` in 1.0.
func BenchmarkRequest(b *testing.B) {
	for _, p := range []protocol{v2, v1} {
		for name, shape := range benchShapes {
			b.Run(fmt.Sprint(p, " ", name), func(b *testing.B) {
				ms := meshMessages(b, shape[0], shape[1])
				s := sender{encoders: &encoders{}}
				var i, samples, bytes int
				b.ReportAllocs()
				report := perSample(b, ms[0].samples)
				for b.Loop() {
					m := ms[i%len(ms)]
					i++
					body, _, err := s.encode(m, p, true)
					if err != nil {
						b.Fatal(err)
					}
					samples += m.samples
					bytes += len(body)
					s.encoders.putBody(body)
				}
				report()
				b.ReportMetric(float64(bytes)/float64(samples), "wire-B/sample")
			})
		}
	}
}

// BenchmarkSearch is what a search for repetitions costs in the plain text of the same requests, which in 1.0 would
// have to be written first.
func BenchmarkSearch(b *testing.B) {
	for _, p := range []protocol{v2, v1} {
		for library, encode := range map[string]func(dst, src []byte) []byte{
			"golang":    func(dst, src []byte) []byte { return snappy.Encode(dst[:cap(dst)], src) },
			"s2":        s2.EncodeSnappy,
			"s2 better": s2.EncodeSnappyBetter,
		} {
			for name, shape := range benchShapes {
				b.Run(fmt.Sprint(p, " ", name, " ", library), func(b *testing.B) {
					var plains [][]byte
					for _, m := range meshMessages(b, shape[0], shape[1]) {
						plain, err := plainV2(m)
						if p == v1 {
							plain, _, err = plainV1(m, true)
						}
						if err != nil {
							b.Fatal(err)
						}
						plains = append(plains, plain)
					}
					const samples = 2000
					var dst []byte
					i, bytes := 0, 0
					report := perSample(b, samples)
					for b.Loop() {
						dst = encode(dst, plains[i%len(plains)])
						i++
						bytes += len(dst)
					}
					report()
					b.ReportMetric(float64(bytes)/float64(b.N)/samples, "wire-B/sample")
				})
			}
		}
	}
}

// BenchmarkPost is a POST of the size of a small request, one in 2.0 and one in 1.0, the receiver's side included.
func BenchmarkPost(b *testing.B) {
	for _, size := range []int{100, 20 << 10, 90 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			ec := endpointConfig("a")
			ec.URL.Scheme, ec.URL.Host = "http", nullReceiver(b)
			c, err := newClient(ec)
			if err != nil {
				b.Fatal(err)
			}
			defer c.close()
			body := make([]byte, size)
			b.ReportAllocs()
			report := perSample(b, 2000)
			for b.Loop() {
				if a := c.post(b.Context(), body, v2, 0); a.status != 204 {
					b.Fatal(a)
				}
			}
			report()
		})
	}
}

// pleased is a poster that takes everything at once.
type pleased struct{ header http.Header }

func (p pleased) post(context.Context, []byte, protocol, int) answer {
	return answer{status: 204, header: p.header}
}

func (p pleased) close() {}

// BenchmarkDeliver is what a sender does for a request that is accepted, HTTP left out.
func BenchmarkDeliver(b *testing.B) {
	for _, p := range []protocol{v2, v1} {
		b.Run(p.String(), func(b *testing.B) {
			ms := meshMessages(b, 8, 2000)
			w := New(series.NewTable(), nil, zap.NewNop(), nil)
			w.newClient = func(EndpointConfig) (poster, error) {
				return pleased{http.Header{"X-Prometheus-Remote-Write-Samples-Written": {"2000"}}}, nil
			}
			if err := w.Apply(Config{Endpoints: []EndpointConfig{explicit(endpointConfig("a"), p)}}); err != nil {
				b.Fatal(err)
			}
			e := (*w.endpoints.Load())[0]
			s := sender{endpoint: e, lane: e.all()[0], encoders: &e.encoders}
			i := 0
			b.ReportAllocs()
			report := perSample(b, ms[0].samples)
			for b.Loop() {
				s.deliver(b.Context(), ms[i%len(ms)])
				i++
			}
			report()
		})
	}
}

// BenchmarkCatchUp delivers a backlog over HTTP on loopback, as after an outage: 2,000 samples a request, four lanes. To
// be held against the live rate: 200 sidecars of 2,000 series every 10 s are 40,000 samples a second.
func BenchmarkCatchUp(b *testing.B) {
	for _, p := range []protocol{v2, v1} {
		b.Run(p.String(), func(b *testing.B) {
			table := series.NewTable()
			w := New(table, nil, zap.NewNop(), nil)
			ec := explicit(endpointConfig("a"), p)
			ec.URL.Scheme, ec.URL.Host = "http", nullReceiver(b)
			if err := w.Apply(Config{Endpoints: []EndpointConfig{ec}, Queue: queue.Config{MaxBytes: 1 << 40}, FlushDeadline: time.Hour}); err != nil {
				b.Fatal(err)
			}
			var pods []*series.Batch
			for i := range 40 {
				pods = append(pods, newMesh(table, i/10, i, 2000))
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
			b.ReportMetric(testutil.ToFloat64(w.metrics.accepted.WithLabelValues("a"))/b.Elapsed().Seconds(), "samples/s")
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
		if _, err := io.WriteString(c, "HTTP/1.1 204 No Content\r\nX-Prometheus-Remote-Write-Samples-Written: 2000\r\n\r\n"); err != nil {
			return
		}
	}
}
