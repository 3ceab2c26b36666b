package agent

import (
	"context"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"
)

// latency is the time that it takes to open a connection.
const latency = 200 * time.Microsecond

// memNet is a network in memory. Nothing in it depends on the order of two events that happen at one time.
type memNet struct {
	mu        sync.Mutex // guards the following
	listeners map[string]*memListener
	open      map[string]int // connections that were dialed and not closed by the one who dialed, by address
	stops     []func()
}

func newMemNet() *memNet {
	return &memNet{listeners: map[string]*memListener{}, open: map[string]int{}}
}

// memListener is a listener of a memNet.
type memListener struct {
	net   *memNet
	addr  net.Addr
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

// memConn is one end of a connection.
type memConn struct {
	net.Conn
	local, remote net.Addr
	closed        func() // called once; nil: nobody wants to know
}

// Close implements net.Conn.
func (c *memConn) Close() error {
	if c.closed != nil {
		c.closed()
	}
	return c.Conn.Close()
}

// LocalAddr implements net.Conn.
func (c *memConn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *memConn) RemoteAddr() net.Addr { return c.remote }

// Listen is World.Listen.
func (n *memNet) Listen(_, address string) (net.Listener, error) {
	l := &memListener{net: n, addr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address)),
		conns: make(chan net.Conn), done: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[address] != nil {
		return nil, syscall.EADDRINUSE
	}
	n.listeners[address] = l
	return l, nil
}

// Accept implements net.Listener.
func (l *memListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *memListener) Close() error {
	l.once.Do(func() {
		close(l.done)
		l.net.mu.Lock()
		defer l.net.mu.Unlock()
		delete(l.net.listeners, l.addr.String())
	})
	return nil
}

// Addr implements net.Listener.
func (l *memListener) Addr() net.Addr { return l.addr }

// Dial is World.Dial.
func (n *memNet) Dial(ctx context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[address]
	n.mu.Unlock()
	if l == nil {
		return nil, syscall.ECONNREFUSED
	}
	select {
	case <-time.After(latency):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	client, server := net.Pipe()
	local := net.TCPAddrFromAddrPort(netip.MustParseAddrPort("10.9.0.1:1"))
	select {
	case l.conns <- &memConn{server, l.addr, local, nil}:
		n.count(address, 1)
		return &memConn{client, local, l.addr, sync.OnceFunc(func() { n.count(address, -1) })}, nil
	case <-l.done:
		return nil, syscall.ECONNREFUSED
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (n *memNet) count(address string, by int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open[address] += by; n.open[address] == 0 {
		delete(n.open, address)
	}
}

// left returns the connections that are open.
func (n *memNet) left() map[string]int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.open)
}

// serve runs an HTTP server until stop is called.
func (n *memNet) serve(t *testing.T, address string, h http.HandlerFunc) {
	t.Helper()
	l, err := n.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Hour}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l)
	}()
	n.stops = append(n.stops, func() {
		_ = srv.Close()
		<-done
	})
}

// stop ends the servers.
func (n *memNet) stop() {
	for _, stop := range n.stops {
		stop()
	}
}
