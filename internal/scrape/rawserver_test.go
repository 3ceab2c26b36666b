package scrape

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// rawServer is a target that sends exactly the bytes that a test chooses.
type rawServer struct {
	host     string
	accepted atomic.Int32
	open     atomic.Int32 // connections that the client has not closed

	mu       sync.Mutex
	received []string // request headers, in order of arrival
}

// serverConn is the server's side of one connection.
type serverConn struct {
	net.Conn
	server *rawServer
	in     *bufio.Reader
}

// startRawServer calls talk for each connection, with its number from 0 on, and closes the connection afterwards.
func startRawServer(t testing.TB, talk func(n int, c *serverConn)) *rawServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &rawServer{host: l.Addr().String()}
	end, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n := int(w.accepted.Add(1)) - 1
			w.open.Add(1)
			running.Go(func() {
				defer w.open.Add(-1)
				defer context.AfterFunc(end, func() { _ = c.Close() })()
				talk(n, &serverConn{Conn: c, server: w, in: bufio.NewReader(c)})
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		stop()
		running.Wait()
	})
	return w
}

// readRequest reads the header of a request. It returns false if the connection ends before.
func (c *serverConn) readRequest() bool {
	var head strings.Builder
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return false
		}
		head.WriteString(line)
		if line == "\r\n" {
			c.server.mu.Lock()
			defer c.server.mu.Unlock()
			c.server.received = append(c.server.received, head.String())
			return true
		}
	}
}

func (c *serverConn) send(s string) { _, _ = io.WriteString(c, s) }

// wait returns when the client has closed the connection.
func (c *serverConn) wait() { _, _ = io.Copy(io.Discard, c.in) }

// respond sends s in response to every request.
func respond(s string) func(int, *serverConn) {
	return func(_ int, c *serverConn) {
		for c.readRequest() {
			c.send(s)
		}
	}
}

func (w *rawServer) target() *target {
	return &target{url: "http://" + w.host + "/stats/prometheus", hostPort: w.host, timeout: 10 * time.Second}
}

const okResponse = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nx " +
	"1\n\r\n0\r\n\r\n"

// plainFetcher returns a fetcher that uses plainClient. It may dial loopback addresses.
func plainFetcher(t testing.TB) *fetcher {
	t.Helper()
	f := netHTTPFetcher(t)
	f.plain = newPlainClient(f.guard.dial, f.request, nil)
	return f
}

// netHTTPFetcher returns a fetcher that uses net/http. It may dial loopback addresses.
func netHTTPFetcher(t testing.TB) *fetcher {
	t.Helper()
	f := &fetcher{
		client: &http.Client{Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 1,
			MaxResponseHeaderBytes: maxHeaderBytes}},
		guard:  &guard{allowLoopback: true},
		accept: "text/plain;version=0.0.4;q=0.5,*/*;q=0.1", acceptEncoding: "gzip", userAgent: "envoy-scraper/test",
	}
	t.Cleanup(f.close)
	return f
}

// pageResult is the outcome of a request: the page, or an error.
type pageResult struct {
	contentType, body string
	err               string // of the request or of reading the body
}

// getPage requests a page and reads it to its end.
func getPage(ctx context.Context, f *fetcher, t *target) pageResult {
	p, err := f.get(ctx, t, "")
	if err != nil {
		return pageResult{err: err.Error()}
	}
	defer p.close()
	var body bytes.Buffer
	_, err = io.Copy(&body, p.body)
	s := pageResult{contentType: p.contentType, body: body.String()}
	if err != nil {
		s.err = err.Error()
	}
	return s
}

// getOKPage requests a page and fails the test if it is not that of okResponse.
func getOKPage(t *testing.T, f *fetcher, tg *target) {
	t.Helper()
	if s := getPage(t.Context(), f, tg); s.err != "" || s.body != "x 1\n" {
		t.Fatalf("got %q, error %q", s.body, s.err)
	}
}

// idleCount returns the number of idle connections.
func (f *fetcher) idleCount() int {
	f.plain.idle.mu.Lock()
	defer f.plain.idle.mu.Unlock()
	return len(f.plain.idle.idle)
}

// onlyIdleConn returns the idle connection of f, of which there is one.
func (f *fetcher) onlyIdleConn(t *testing.T) *conn {
	t.Helper()
	f.plain.idle.mu.Lock()
	defer f.plain.idle.mu.Unlock()
	for _, c := range f.plain.idle.idle {
		return c
	}
	t.Fatal("there is no idle connection")
	return nil
}

// eventually waits until ok returns true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-deadline:
			t.Fatal("timeout waiting for: " + what)
		case <-tick.C:
		}
	}
}

// chunks returns a chunked body.
func chunks(s ...string) string {
	var b strings.Builder
	for _, c := range s {
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(c), c)
	}
	return b.String() + "0\r\n\r\n"
}

// silenceLog discards the standard log. net/http logs there if a server sends bytes that were not requested.
func silenceLog(t testing.TB) {
	log.SetOutput(io.Discard)
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
}
