//go:build unix

package scrape

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The servers of the benchmarks run in another process, so that the measured CPU and memory are those of the client.
// That process is this test binary with these environment variables set.
const (
	serveOn    = "ENVOY_SCRAPER_TEST_SERVERS" // number of servers
	serveLines = "ENVOY_SCRAPER_TEST_LINES"   // samples per page
	serveForm  = "ENVOY_SCRAPER_TEST_FORM"    // of the body
)

// serveWriteBytes is how much of a response is written at a time. Envoy writes at most 16 slices of 16 KiB.
const serveWriteBytes = 256 << 10

// Forms of a body.
const (
	chunkedForm  = "chunks"   // of 16 KiB, as Envoy sends them
	oneChunkForm = "onechunk" // as Go servers send a large page
	lengthForm   = "length"
)

func TestMain(m *testing.M) {
	n, err := strconv.Atoi(os.Getenv(serveOn))
	if err != nil {
		os.Exit(m.Run())
	}
	lines, _ := strconv.Atoi(os.Getenv(serveLines))
	response := benchResponse(lines, os.Getenv(serveForm))
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(l.Addr())
		go serveForever(l, response)
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // until the benchmark ends
}

// benchResponse returns a response with that many samples, 512 bytes each.
func benchResponse(lines int, form string) []byte {
	const head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=UTF-8\r\ncache-control: no-cache, " +
		"max-age=0\r\n" +
		"x-content-type-options: nosniff\r\ndate: Mon, 01 Jan 2024 00:00:00 GMT\r\nserver: envoy\r\n" +
		"x-envoy-upstream-service-time: 2\r\n"
	var page strings.Builder
	for n := range lines {
		fmt.Fprintf(&page, "istio_requests_total{n=\"%08d\",x=\"%s\"} 1\n", n, strings.Repeat("x", 512-38))
	}
	body := page.String()
	switch form {
	case lengthForm:
		return fmt.Appendf(nil, "%scontent-length: %d\r\n\r\n%s", head, len(body), body)
	case oneChunkForm:
		return []byte(head + "transfer-encoding: chunked\r\n\r\n" + chunks(body))
	}
	var parts []string
	for len(body) > 0 {
		n := min(len(body), 16<<10)
		parts = append(parts, body[:n])
		body = body[n:]
	}
	return []byte(head + "transfer-encoding: chunked\r\n\r\n" + chunks(parts...))
}

func serveForever(l net.Listener, response []byte) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			request := make([]byte, 4<<10)
			for {
				if _, err := c.Read(request); err != nil {
					return
				}
				for left := response; len(left) > 0; {
					n, err := c.Write(left[:min(len(left), serveWriteBytes)])
					if err != nil {
						return
					}
					left = left[n:]
				}
			}
		}()
	}
}

// servers starts n servers in another process. Their pages have the given number of lines, 512 bytes each.
func servers(b *testing.B, n, lines int) []*target {
	b.Helper()
	var targets []*target
	for _, host := range startServers(b, n, lines, chunkedForm) {
		targets = append(targets, (&rawServer{host: host}).target())
	}
	return targets
}

// startServers is servers with a form of the bodies, and returns the addresses.
func startServers(b *testing.B, n, lines int, form string) (addresses []string) {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprint(serveOn, "=", n), fmt.Sprint(serveLines, "=", lines),
		fmt.Sprint(serveForm, "=", form))
	cmd.Stderr = os.Stderr
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	hosts := bufio.NewScanner(out)
	for len(addresses) < n && hosts.Scan() {
		addresses = append(addresses, hosts.Text())
	}
	if len(addresses) < n {
		b.Fatalf("%d servers", len(addresses))
	}
	return addresses
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// readPage reads a page like exposition does, with a buffer of 64 KiB.
func readPage(b *testing.B, f *fetcher, t *target, buf []byte) {
	ctx, cancel := context.WithTimeout(b.Context(), t.timeout)
	defer cancel()
	p, err := f.get(ctx, t, "")
	if err != nil {
		b.Fatal(err)
	}
	defer p.close()
	for err == nil {
		_, err = p.body.Read(buf)
	}
	if err != io.EOF {
		b.Fatal(err)
	}
}

func clients() map[string]func(testing.TB) *fetcher {
	return map[string]func(testing.TB) *fetcher{"nethttp": netHTTPFetcher, "plain": plainFetcher}
}

// BenchmarkFetch measures the client's CPU time for reading pages without parsing them, see docs/decisions/0004. With a
// pause between pages, as between scrapes, CPU caches are cold. Waking more goroutines then costs more.
func BenchmarkFetch(b *testing.B) {
	for _, lines := range []int{1, 500, 2000} {
		targets := servers(b, 1, lines)
		for _, pause := range []time.Duration{0, 3 * time.Millisecond} {
			for _, name := range []string{"nethttp", "plain"} {
				b.Run(fmt.Sprintf("samples=%d/pause=%v/%s", lines, pause, name), func(b *testing.B) {
					f, buf := clients()[name](b), make([]byte, 64<<10)
					readPage(b, f, targets[0], buf)
					b.SetBytes(int64(lines) * 512)
					b.ReportAllocs()
					before := cpuTime()
					for b.Loop() {
						readPage(b, f, targets[0], buf)
						if pause > 0 {
							<-time.After(pause)
						}
					}
					spent := float64((cpuTime() - before).Nanoseconds()) / float64(b.N)
					b.ReportMetric(spent/1000, "cpu-us/page")
					b.ReportMetric(spent/float64(lines), "cpu-ns/sample")
				})
			}
		}
	}
}

// BenchmarkIdle measures the memory of an idle connection.
func BenchmarkIdle(b *testing.B) {
	const connections = 500
	targets := servers(b, connections, 1)
	for _, name := range []string{"nethttp", "plain"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				f, buf := clients()[name](b), make([]byte, 64<<10)
				before, goroutines := inUse(), runtime.NumGoroutine()
				for _, t := range targets {
					readPage(b, f, t, buf)
				}
				b.ReportMetric(float64(inUse()-before)/connections, "B/conn")
				b.ReportMetric(float64(runtime.NumGoroutine()-goroutines)/connections, "goroutines/conn")
				f.close()
			}
		})
	}
}

// inUse returns the bytes of heap and stacks in use.
func inUse() int64 {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}
