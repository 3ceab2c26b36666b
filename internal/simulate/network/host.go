package network

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// firstPort is the first ephemeral port.
const firstPort = 32768

// backlog is how many connections wait to be accepted. Linux has 4096; then a dial is not answered.
const backlog = 4096

// Host is a process with its sockets at an address. After Kill or Vanish its calls fail with net.ErrClosed, and another
// Host may take the address: the same machine after a start, or another pod.
type Host struct {
	net  *Network
	ip   net.IP
	addr string
	gone chan struct{} // closed by Kill and Vanish

	// net.mu guards the following.
	dead      bool
	listeners map[int]*listener // by port
	ends      map[*Conn]bool    // that are open
	lastPort  int
}

// Addr returns the host's address.
func (h *Host) Addr() string { return h.addr }

// Kill ends the process, as kill -9 does. The kernel closes its sockets: peers read the end, or a reset if there was
// something that the process had not read.
func (h *Host) Kill() { h.end((*Conn).hangUp) }

// Vanish takes the machine's power away. Peers hear nothing. What they send is answered by a reset once another host
// has the address; otherwise the connection times out after minutes.
func (h *Host) Vanish() {
	h.end(func(c *Conn) {
		c.link.vanished = true
		c.link.beginSilence()
	})
}

// Cut resets all connections of the host. Its listeners stay.
func (h *Host) Cut() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	for _, c := range h.sortedEnds() {
		h.net.failAt(c, h.net.moment(0), syscall.ECONNRESET)
		h.net.resetAt(c.peer, h.net.moment(c.link.latency()))
	}
}

// end takes the host off the network and closes its connections. notify does what the peer of each notices.
func (h *Host) end(notify func(*Conn)) {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if h.dead {
		return
	}
	h.dead = true
	delete(n.hosts, h.addr)
	close(h.gone)
	for _, port := range slices.Sorted(maps.Keys(h.listeners)) {
		h.listeners[port].close(notify)
	}
	for _, c := range h.sortedEnds() {
		c.leave(notify)
	}
}

// sortedEnds returns the host's ends in the order in which they were made. The caller holds net.mu.
func (h *Host) sortedEnds() []*Conn {
	return slices.SortedFunc(maps.Keys(h.ends), func(a, b *Conn) int {
		return cmp.Or(cmp.Compare(a.link.id, b.link.id), cmp.Compare(a.toward, b.toward)) // it may have dialed itself
	})
}

// freePort returns a port that no listener has. The caller holds net.mu.
func (h *Host) freePort() int {
	for {
		h.lastPort++
		if h.lastPort > 65535 {
			h.lastPort = firstPort
		}
		if h.listeners[h.lastPort] == nil {
			return h.lastPort
		}
	}
}

// Listen listens on a port, such as ":15090". With port 0 the host chooses one.
func (h *Host) Listen(network, addr string) (net.Listener, error) {
	failed := func(err error) (net.Listener, error) {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	if !isTCP(network) {
		return failed(net.UnknownNetworkError(network))
	}
	_, text, err := net.SplitHostPort(addr)
	if err != nil {
		return failed(err)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return failed(err)
	}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	switch {
	case h.dead:
		return failed(net.ErrClosed)
	case port == 0:
		port = uint64(h.freePort())
	case h.listeners[int(port)] != nil:
		return failed(os.NewSyscallError("bind", syscall.EADDRINUSE))
	}
	l := &listener{host: h, addr: &net.TCPAddr{IP: h.ip, Port: int(port)}}
	l.waiting.L = &h.net.mu
	h.listeners[int(port)] = l
	return l, nil
}

func isTCP(network string) bool { return network == "tcp" || network == "tcp4" || network == "tcp6" }

type listener struct {
	host *Host
	addr *net.TCPAddr

	// host.net.mu guards the following.
	waiting sync.Cond
	queue   []*Conn // not accepted yet
	closed  bool
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	l.host.net.mu.Lock()
	defer l.host.net.mu.Unlock()
	for len(l.queue) == 0 && !l.closed {
		l.waiting.Wait()
	}
	if l.closed {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
	}
	c := l.queue[0]
	l.queue = l.queue[1:]
	return c, nil
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.host.net.mu.Lock()
	defer l.host.net.mu.Unlock()
	if l.closed {
		return &net.OpError{Op: "close", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
	}
	l.close(func(c *Conn) {
		n := c.link.net
		n.resetAt(c.peer, n.moment(c.link.latency()))
	})
	return nil
}

// close also closes connections that nobody accepted. The caller holds host.net.mu.
func (l *listener) close(notify func(*Conn)) {
	l.closed = true
	delete(l.host.listeners, l.addr.Port)
	for _, c := range l.queue {
		c.leave(notify)
	}
	l.queue = nil
	l.waiting.Broadcast()
}

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return l.addr }

// synPauses are how long a dial waits before it sends its next SYN. After the last it times out.
var synPauses = [...]time.Duration{
	1 * time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second,
	64 * time.Second,
}

// noRoute is how long the last router looks for a host before it answers that there is none.
const noRoute = 3 * time.Second

// Dial connects to an address such as "10.0.0.1:15090". Names do not resolve. It fits net.Dialer's DialContext.
func (h *Host) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := &dial{host: h, ctx: ctx}
	n := h.net
	n.mu.Lock()
	n.dials[h.addr]++
	n.mu.Unlock()
	c, err := d.run(network, addr)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.dials[h.addr]--; n.dials[h.addr] == 0 {
		delete(n.dials, h.addr)
	}
	if err != nil {
		op := &net.OpError{Op: "dial", Net: network, Err: err}
		if d.to != nil {
			op.Addr = d.to
		}
		return nil, op
	}
	return c, nil
}

// dial is one call of Dial.
type dial struct {
	host *Host
	ctx  context.Context
	to   *net.TCPAddr // nil until the address is parsed
	addr string       // of the host at to
}

func (d *dial) run(network, addr string) (*Conn, error) {
	if err := d.find(network, addr); err != nil {
		return nil, err
	}
	for _, pause := range synPauses {
		c, err := d.try()
		if !errors.Is(err, errNoAnswer) {
			return c, err
		}
		if err := d.wait(pause); err != nil {
			return nil, err
		}
	}
	return nil, os.NewSyscallError("connect", syscall.ETIMEDOUT)
}

// find sets to and addr.
func (d *dial) find(network, addr string) error {
	if !isTCP(network) {
		return net.UnknownNetworkError(network)
	}
	name, text, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return &net.AddrError{Err: "invalid port", Addr: addr}
	}
	ip, err := netip.ParseAddr(name)
	if err != nil {
		return &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	d.addr = ip.Unmap().String()
	d.to = &net.TCPAddr{IP: net.ParseIP(d.addr), Port: int(port)}
	if d.to.IP.IsLoopback() {
		d.addr = d.host.addr
	}
	return nil
}

// errNoAnswer says that a SYN was lost.
var errNoAnswer = errors.New("no answer")

// try sends one SYN.
func (d *dial) try() (*Conn, error) {
	n := d.host.net
	n.mu.Lock()
	e := n.effectOn(d.host.addr, d.addr, d.to.Port)
	n.mu.Unlock()
	if e.blackHole {
		return nil, errNoAnswer
	}
	latency := n.latencyOf(d.host.addr, d.addr) + e.delay
	if err := d.wait(latency); err != nil {
		return nil, err
	}
	c, err := d.arrive()
	if errors.Is(err, errNoAnswer) {
		return nil, err
	}
	pause := latency
	if errors.Is(err, syscall.EHOSTUNREACH) {
		pause = noRoute
	}
	if err := d.wait(pause); err != nil {
		if c != nil {
			_ = c.Close()
		}
		return nil, err
	}
	return c, err
}

// arrive returns the answer to a SYN that has arrived: a connection or an error.
func (d *dial) arrive() (*Conn, error) {
	n := d.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	e, to := n.effectOn(d.host.addr, d.addr, d.to.Port), n.hosts[d.addr]
	switch {
	case d.host.dead:
		return nil, net.ErrClosed
	case e.blackHole:
		return nil, errNoAnswer
	case to == nil:
		return nil, os.NewSyscallError("connect", syscall.EHOSTUNREACH)
	}
	l := to.listeners[d.to.Port]
	switch {
	case e.refuse || l == nil:
		return nil, os.NewSyscallError("connect", syscall.ECONNREFUSED)
	case len(l.queue) >= backlog:
		return nil, errNoAnswer
	}
	c := newLink(d.host, to, &net.TCPAddr{IP: d.host.ip, Port: d.host.freePort()}, d.to)
	l.queue = append(l.queue, c.peer)
	l.waiting.Signal()
	return c, nil
}

// wait waits for an event of the network that is due after a while.
func (d *dial) wait(after time.Duration) error {
	n := d.host.net
	n.mu.Lock()
	timer := time.NewTimer(time.Duration(n.moment(after) - n.now()))
	n.mu.Unlock()
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-d.host.gone:
		return net.ErrClosed
	case <-d.ctx.Done():
		if errors.Is(d.ctx.Err(), context.DeadlineExceeded) {
			return timeoutError{}
		}
		return canceledError{}
	}
}

// timeoutError is the error of a dial whose time is up, as in package net.
type timeoutError struct{}

func (timeoutError) Error() string        { return "i/o timeout" }
func (timeoutError) Timeout() bool        { return true }
func (timeoutError) Temporary() bool      { return true }
func (timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

// canceledError is the error of a dial that was canceled, as in package net.
type canceledError struct{}

func (canceledError) Error() string        { return "operation was canceled" }
func (canceledError) Is(target error) bool { return target == context.Canceled }
