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

// wire is a target whose every byte the test decides.
type wire struct {
	host     string
	accepted atomic.Int32
	open     atomic.Int32 // connections whose other end has not closed

	mu    sync.Mutex
	heads []string // of the requests, as they came
}

// ring is one connection as its server sees it.
type ring struct {
	net.Conn
	wire *wire
	in   *bufio.Reader
}

// listen serves each connection with talk, which gets its number, from 0, and closes it afterwards.
func listen(t testing.TB, talk func(n int, c *ring)) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{host: l.Addr().String()}
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
				talk(n, &ring{Conn: c, wire: w, in: bufio.NewReader(c)})
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

// hear reads a request's head; false: there is none.
func (c *ring) hear() bool {
	var head strings.Builder
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return false
		}
		head.WriteString(line)
		if line == "\r\n" {
			c.wire.mu.Lock()
			defer c.wire.mu.Unlock()
			c.wire.heads = append(c.wire.heads, head.String())
			return true
		}
	}
}

func (c *ring) say(s string) { _, _ = io.WriteString(c, s) }

// wait returns when the other end has closed.
func (c *ring) wait() { _, _ = io.Copy(io.Discard, c.in) }

// always answers every request with s.
func always(s string) func(int, *ring) {
	return func(_ int, c *ring) {
		for c.hear() {
			c.say(s)
		}
	}
}

func (w *wire) target() *target {
	return &target{url: "http://" + w.host + "/stats/prometheus", hostPort: w.host, timeout: 10 * time.Second}
}

const ok = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nx 1\n\r\n0\r\n\r\n"

// lean returns a fetcher that asks itself, library one that lets net/http ask. Both may dial loopback addresses.
func lean(t testing.TB) *fetcher {
	t.Helper()
	f := library(t)
	f.plain = newPlain(f.guard.dial, f.request, nil)
	return f
}

func library(t testing.TB) *fetcher {
	t.Helper()
	f := &fetcher{
		client: &http.Client{Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 1, MaxResponseHeaderBytes: maxHeadBytes}},
		guard:  &guard{allowLoopback: true},
		accept: "text/plain;version=0.0.4;q=0.5,*/*;q=0.1", acceptEncoding: "gzip", userAgent: "envoy-scraper/test",
	}
	t.Cleanup(f.close)
	return f
}

// seen is what a scrape got to see of an answer.
type seen struct {
	contentType, body string
	err               string // of the request or of the body
}

func look(ctx context.Context, f *fetcher, t *target) seen {
	p, err := f.get(ctx, t)
	if err != nil {
		return seen{err: err.Error()}
	}
	defer p.close()
	var body bytes.Buffer
	_, err = io.Copy(&body, p.body)
	s := seen{contentType: p.contentType, body: body.String()}
	if err != nil {
		s.err = err.Error()
	}
	return s
}

// good asks and fails the test unless that yields the page of ok.
func good(t *testing.T, f *fetcher, tg *target) {
	t.Helper()
	if s := look(t.Context(), f, tg); s.err != "" || s.body != "x 1\n" {
		t.Fatalf("got %q, error %q", s.body, s.err)
	}
}

func (f *fetcher) kept() int {
	f.plain.idle.mu.Lock()
	defer f.plain.idle.mu.Unlock()
	return len(f.plain.idle.idle)
}

// keptConn is the only connection that f keeps.
func (f *fetcher) keptConn(t *testing.T) *conn {
	t.Helper()
	f.plain.idle.mu.Lock()
	defer f.plain.idle.mu.Unlock()
	for _, c := range f.plain.idle.idle {
		return c
	}
	t.Fatal("no connection was kept")
	return nil
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-deadline:
			t.Fatal("never: " + what)
		case <-tick.C:
		}
	}
}

func chunks(s ...string) string {
	var b strings.Builder
	for _, c := range s {
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(c), c)
	}
	return b.String() + "0\r\n\r\n"
}

// withoutLog silences the standard log, which net/http tells of every server that says too much.
func withoutLog(t testing.TB) {
	log.SetOutput(io.Discard)
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
}
