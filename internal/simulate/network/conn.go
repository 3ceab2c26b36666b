package network

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// window is how many bytes may be written in one direction and not yet read.
const window = 64 << 10

// Conn is one end of a connection. Besides net.Conn it has CloseRead and CloseWrite, as *net.TCPConn.
type Conn struct {
	link          *link
	host          *Host
	peer          *Conn
	local, remote *net.TCPAddr
	// index in link.left and effect.rate of the direction that this end writes: 0 to the listener, 1 to the dialer
	toward int

	// Network.mu guards the following.
	in, out       *half
	readers       waiters
	writers       waiters
	readDeadline  int64 // 0: none
	writeDeadline int64
	closed        bool
	readShut      bool
	resetAt       int64 // when it fails; never
	resetErr      syscall.Errno
	resetReported bool // a call has returned resetErr
}

// Sent returns the number of bytes written.
func (c *Conn) Sent() int64 {
	c.link.net.mu.Lock()
	defer c.link.net.mu.Unlock()
	return c.out.sent
}

// Taken returns how many of the bytes written the peer has read.
func (c *Conn) Taken() int64 {
	c.link.net.mu.Lock()
	defer c.link.net.mu.Unlock()
	return c.out.read
}

func (c *Conn) failed(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	n := c.link.net
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		now := n.now()
		switch {
		case c.closed:
			return 0, c.failed("read", net.ErrClosed)
		case c.readDeadline != 0 && c.readDeadline <= now:
			return 0, c.failed("read", os.ErrDeadlineExceeded)
		case len(p) == 0:
			return 0, nil
		case c.readShut:
			return 0, io.EOF
		}
		if got := c.in.take(p, min(now, c.resetAt)); got > 0 {
			c.peer.writers.wake()
			return got, nil
		}
		switch {
		case c.failsNow(now):
			return 0, c.failed("read", os.NewSyscallError("read", c.resetErr))
		case c.resetAt <= now, c.in.next() <= now: // no bytes were left
			return 0, io.EOF
		}
		c.readers.wait(earliest(c.readDeadline, min(c.in.next(), c.resetAt)), n)
	}
}

// earliest returns the earlier of a deadline, where 0 is none, and an event.
func earliest(deadline, event int64) int64 {
	if deadline == 0 {
		return event
	}
	return min(deadline, event)
}

// Write implements net.Conn. It waits while the window is full.
func (c *Conn) Write(p []byte) (written int, err error) {
	n := c.link.net
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		now := n.now()
		switch {
		case c.closed:
			return written, c.failed("write", net.ErrClosed)
		case c.writeDeadline != 0 && c.writeDeadline <= now:
			return written, c.failed("write", os.ErrDeadlineExceeded)
		case c.failsNow(now):
			return written, c.failed("write", os.NewSyscallError("write", c.resetErr))
		case c.resetAt <= now, c.out.finOut:
			return written, c.failed("write", os.NewSyscallError("write", syscall.EPIPE))
		case len(p) == 0:
			return written, nil
		}
		if room := min(c.out.room(), len(p)); room > 0 {
			c.send(p[:room])
			written, p = written+room, p[room:]
			if len(p) == 0 {
				return written, nil
			}
			continue
		}
		c.writers.wait(earliest(c.writeDeadline, c.resetAt), n)
	}
}

// failsNow reports whether a call returns resetErr. As on Linux, one call does. Later ones find a connection that was
// shut, and so do all calls if the peer's stream had ended before.
func (c *Conn) failsNow(now int64) bool {
	if c.resetAt > now || c.resetReported || c.in.finAt <= c.resetAt {
		return false
	}
	c.resetReported = true
	return true
}

// send sends bytes that fit into the window.
func (c *Conn) send(p []byte) {
	l, n := c.link, c.link.net
	left := &l.left[c.toward]
	if *left == never || l.isSilent() {
		c.transmit(p)
		return
	}
	passes := min(*left, int64(len(p)))
	*left -= passes
	if passes > 0 {
		c.transmit(p[:passes])
	}
	if passes < int64(len(p)) {
		n.resetAt(c.peer, n.momentAfter(n.now()+int64(l.latency()), c.out.lastAt))
		n.resetAt(c, n.moment(l.latency()))
	}
}

// transmit schedules the arrival of p at the peer.
func (c *Conn) transmit(p []byte) {
	l, n := c.link, c.link.net
	switch {
	case l.vanished && n.hosts[c.peer.host.addr] != nil && !l.effect.blackHole: // another host has its address
		n.failAt(c, n.moment(2*l.latency()), syscall.ECONNRESET)
		c.out.discard(len(p))
		return
	case l.isSilent():
		if !c.out.inFlight() && c.resetErr == syscall.ETIMEDOUT {
			c.resetAt = n.moment(retransmitTimeout)
		}
		c.out.put(p, never)
		return
	case c.peer.closed:
		n.resetAt(c, n.moment(2*l.latency()))
		c.out.discard(len(p))
		return
	case c.peer.readShut:
		c.out.discard(len(p))
		return
	}
	if rate := l.effect.rate[c.toward]; rate > 0 {
		c.sendAtRate(p, rate)
	} else {
		c.out.put(p, n.momentAfter(n.now()+int64(l.latency()), c.out.lastAt))
	}
	c.peer.readers.wakeAt(c.out.next(), n)
}

// leastPiece is the least number of bytes that arrive together at a limited rate.
const leastPiece = 64

// sendAtRate schedules the arrival of p in pieces: the bytes of a tenth of a second, but at least leastPiece. The last
// piece may be smaller.
func (c *Conn) sendAtRate(p []byte, rate int) {
	n := c.link.net
	c.out.freeAt = max(c.out.freeAt, n.now())
	for len(p) > 0 {
		piece := min(len(p), max(rate/10, leastPiece))
		c.out.freeAt += int64(time.Duration(piece) * time.Second / time.Duration(rate))
		c.out.put(p[:piece], n.momentAfter(c.out.freeAt+int64(c.link.latency()), c.out.lastAt))
		p = p[piece:]
	}
}

// Close implements net.Conn.
func (c *Conn) Close() error {
	c.link.net.mu.Lock()
	defer c.link.net.mu.Unlock()
	if c.closed {
		return c.failed("close", net.ErrClosed)
	}
	c.leave((*Conn).hangUp)
	return nil
}

// leave closes the end. notify does what the peer notices of it. The caller holds mu.
func (c *Conn) leave(notify func(*Conn)) {
	if c.closed {
		return
	}
	c.closed = true
	notify(c)
	delete(c.host.ends, c)
	if c.peer.closed {
		delete(c.link.net.links, c.link.id)
	}
	if !c.link.isSilent() { // else the peer still sends again what was lost
		c.in.drop()
	}
	c.readers.wake()
	c.writers.wake()
}

// hangUp is what the kernel does when a socket is closed.
func (c *Conn) hangUp() {
	l, n := c.link, c.link.net
	if c.peer.closed || c.resetAt <= n.now() {
		return
	}
	switch next := c.in.next(); {
	case c.in.first < len(c.in.chunks) && next <= n.now(): // unread bytes
		if !l.isSilent() {
			n.resetAt(c.peer, n.moment(l.latency()))
		}
		return
	case c.in.first < len(c.in.chunks) && next != never: // bytes that arrive at a closed socket
		n.resetAt(c.peer, n.momentAt(next+int64(l.latency())))
	}
	c.sendEnd()
}

// sendEnd sends the end of the stream.
func (c *Conn) sendEnd() {
	if c.out.finOut {
		return
	}
	l, n := c.link, c.link.net
	c.out.finOut = true
	if !l.isSilent() {
		c.out.finAt = n.momentAfter(n.now()+int64(l.latency()), c.out.lastAt)
		c.peer.readers.wakeAt(c.out.next(), n)
	}
}

// CloseWrite ends the stream to the peer, which reads io.EOF after the last byte.
func (c *Conn) CloseWrite() error {
	c.link.net.mu.Lock()
	defer c.link.net.mu.Unlock()
	if c.closed {
		return c.failed("close", net.ErrClosed)
	}
	c.sendEnd()
	c.writers.wake()
	return nil
}

// CloseRead makes reads return io.EOF. Bytes that arrive later are discarded.
func (c *Conn) CloseRead() error {
	c.link.net.mu.Lock()
	defer c.link.net.mu.Unlock()
	if c.closed {
		return c.failed("close", net.ErrClosed)
	}
	c.readShut = true
	c.in.drop()
	c.readers.wake()
	c.peer.writers.wake()
	return nil
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error { return c.setDeadlines(t, true, true) }

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadlines(t, true, false) }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(t, false, true) }

func (c *Conn) setDeadlines(t time.Time, read, write bool) error {
	n := c.link.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if c.closed {
		return c.failed("set", net.ErrClosed)
	}
	at := int64(0)
	if !t.IsZero() {
		at = max(1, int64(t.Sub(n.began)))
	}
	if read {
		c.readDeadline = at
		c.readers.wake()
	}
	if write {
		c.writeDeadline = at
		c.writers.wake()
	}
	return nil
}

// waiters are the calls that wait for one kind of event of a connection. Network.mu guards them.
type waiters struct {
	cond  sync.Cond
	count int
	timer *time.Timer // wakes them; nil: was never needed
	at    int64       // when it does
}

func (w *waiters) init(mu *sync.Mutex) { w.cond.L, w.at = mu, never }

// wait waits for an event that is due at a time, or for wake.
func (w *waiters) wait(until int64, n *Network) {
	w.count++
	w.wakeAt(until, n)
	w.cond.Wait()
	w.count--
	if w.count == 0 && w.at != never {
		w.timer.Stop()
		w.at = never
	}
}

// wake wakes all that wait.
func (w *waiters) wake() {
	if w.count > 0 {
		w.cond.Broadcast()
	}
}

// wakeAt wakes those that wait at a time, if not earlier.
func (w *waiters) wakeAt(at int64, n *Network) {
	if w.count == 0 || at >= w.at {
		return
	}
	w.at = at
	after := time.Duration(at - n.now())
	if w.timer == nil {
		w.timer = time.AfterFunc(after, func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			w.at = never
			w.cond.Broadcast()
		})
		return
	}
	w.timer.Reset(after)
}
