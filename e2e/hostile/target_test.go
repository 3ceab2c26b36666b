package hostile

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// target is a server that answers each request with its responder.
type target struct {
	kind
	address string
	sent    atomic.Int64 // bytes of the longest answer
	open    atomic.Int32
	maxOpen atomic.Int32 // highest number of concurrent connections
	served  atomic.Int32 // number of answers begun
}

// responder answers one request over c. It returns an error when the connection must be closed.
type responder func(ctx context.Context, c *connection) error

// connection counts the bytes that are sent.
type connection struct {
	net.Conn
	sent int64
}

func (c *connection) send(s string) error {
	n, err := c.Write([]byte(s))
	c.sent += int64(n)
	return err
}

// listen starts a target at an address. Port 0 means a free port.
func listen(t *testing.T, address string, k kind) *target {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	h := &target{kind: k, address: l.Addr().String()}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			h.maxOpen.Store(max(h.maxOpen.Load(), h.open.Add(1)))
			running.Go(func() {
				defer h.open.Add(-1)
				defer context.AfterFunc(ctx, func() { _ = c.Close() })()
				defer c.Close()
				h.serve(ctx, &connection{Conn: c})
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		stop()
		running.Wait()
	})
	return h
}

// serve answers the requests of a connection until either side closes it.
func (h *target) serve(ctx context.Context, c *connection) {
	in := bufio.NewReader(c)
	for readRequest(in) {
		c.sent = 0
		h.served.Add(1)
		err := h.respond(ctx, c)
		h.sent.Store(max(h.sent.Load(), c.sent))
		if err != nil {
			return
		}
	}
}

// readRequest reads the head of a request and reports whether it was complete.
func readRequest(in *bufio.Reader) bool {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return false
		}
		if line == "\r\n" {
			return true
		}
	}
}

const plain = "Content-Type: text/plain; version=0.0.4\r\n"

// page sends a whole page.
func page(header, body string) responder {
	return func(_ context.Context, c *connection) error {
		return c.send(fmt.Sprintf("HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s", header, len(body), body))
	}
}

// raw sends bytes and closes the connection.
func raw(s string) responder {
	return func(_ context.Context, c *connection) error {
		_ = c.send(s)
		return net.ErrClosed
	}
}

// endless sends begin, and then repeats again for as long as the client reads.
func endless(begin, again string) responder {
	again = strings.Repeat(again, max(1, 64<<10/len(again)))
	return func(_ context.Context, c *connection) error {
		err := c.send(begin)
		for err == nil {
			err = c.send(again)
		}
		return err
	}
}

// numbered is like endless, with a number in each line.
func numbered(begin, format string) responder {
	return func(_ context.Context, c *connection) error {
		err := c.send(begin)
		for n := 0; err == nil; {
			var b []byte
			for len(b) < 64<<10 {
				b = fmt.Appendf(b, format, n)
				n++
			}
			err = c.send(string(b))
		}
		return err
	}
}

// drip sends one byte per second.
func drip(begin, again string) responder {
	return func(ctx context.Context, c *connection) error {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		err := c.send(begin)
		for i := 0; err == nil; i++ {
			select {
			case <-tick.C:
				err = c.send(again[i%len(again) : i%len(again)+1])
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return err
	}
}

// reset sends bytes and resets the connection.
func reset(s string) responder {
	return func(_ context.Context, c *connection) error {
		_ = c.send(s)
		_ = c.Conn.(*net.TCPConn).SetLinger(0)
		return net.ErrClosed
	}
}

// silent never sends anything.
func silent(_ context.Context, c *connection) error {
	_, _ = io.Copy(io.Discard, c)
	return net.ErrClosed
}
