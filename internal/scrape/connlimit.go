package scrape

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
)

// unknownOpenFiles is assumed where the limit on open files cannot be read.
const unknownOpenFiles = 16384

// maxConnections returns three quarters of the limit on open files. The last quarter is for the queue's files,
// connections to receivers and API servers, and the web server.
func maxConnections(files int) int { return max(1, files-files/4) }

// connLimit limits the open connections to targets of all jobs, in use and idle. At the limit a new connection closes
// an idle one. If all are in use, it waits. Safe for concurrent use. A nil connLimit limits nothing.
type connLimit struct {
	slots *semaphore

	mu       sync.Mutex            // guards the following
	fetchers map[*fetcher]struct{} // owners of idle connections
}

func newConnLimit(connections int) *connLimit {
	return &connLimit{slots: newSemaphore(connections), fetchers: map[*fetcher]struct{}{}}
}

// add registers a fetcher whose idle connections may be closed to make room.
func (l *connLimit) add(f *fetcher) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fetchers[f] = struct{}{}
}

func (l *connLimit) remove(f *fetcher) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.fetchers, f)
}

// connLimitError says that a scrape got no connection within its timeout.
type connLimitError struct{ connections int }

func (e *connLimitError) Error() string {
	return fmt.Sprintf("no connection within the scrape timeout: all %d connections that the limit on open "+
		"files allows "+
		"are in use; raise it (ulimit -n)", e.connections)
}

// Unwrap makes the error count as EMFILE, too many open files.
func (e *connLimitError) Unwrap() error { return syscall.EMFILE }

// dial calls connect once a connection may be opened.
//
// A target that answered its last scrape (answering) goes first, and idle connections are closed for it. Other targets
// wait until a connection is closed: targets that hang must not take the connections of targets that answer. If the
// system has no file descriptor, a target that answers gets that of the next connection that is closed. Others fail.
func (l *connLimit) dial(ctx context.Context, answering bool, connect func() (net.Conn, error)) (net.Conn, error) {
	if l == nil {
		return connect()
	}
	makeRoom := func() {
		if answering {
			l.closeIdle()
		}
	}
	if !l.slots.tryAcquire() && !l.slots.acquire(ctx, answering, makeRoom) {
		if context.Cause(ctx) == context.DeadlineExceeded {
			return nil, &connLimitError{l.slots.limit}
		}
		return nil, context.Cause(ctx)
	}
	c, err := connect()
	for answering && isTooManyFiles(err) { // the rest of the process uses more than a quarter of the limit
		if !l.closeIdle() && !l.slots.exchange(ctx) {
			return nil, err
		}
		c, err = connect()
	}
	if err != nil {
		l.slots.release()
		return nil, err
	}
	return &countedConn{Conn: c, slots: l.slots}, nil
}

func isTooManyFiles(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// closeIdle closes one or more idle connections. It returns false if there is none.
func (l *connLimit) closeIdle() bool {
	l.mu.Lock()
	fetchers := slices.Collect(maps.Keys(l.fetchers))
	l.mu.Unlock()
	for _, f := range fetchers {
		if f.plain != nil && f.plain.idle.closeOne() {
			return true
		}
	}
	before, _ := l.slots.counts()
	for _, f := range fetchers {
		f.client.CloseIdleConnections()
		if held, _ := l.slots.counts(); held < before {
			return true
		}
	}
	return false
}

// nearLimit reports whether net/http should close a connection after its scrape instead of keeping it. It does so for
// the last sixteenth of the limit, because net/http can close only all of its idle connections, not one.
func (l *connLimit) nearLimit() bool {
	if l == nil {
		return false
	}
	held, waiting := l.slots.counts()
	return waiting > 0 || held >= l.slots.limit-max(1, l.slots.limit/16)
}

// hasWaiters reports whether a scrape waits for a connection to be closed.
func (l *connLimit) hasWaiters() bool {
	if l == nil {
		return false
	}
	_, waiting := l.slots.counts()
	return waiting > 0
}

// countedConn is a connection that releases its slot when it is closed.
type countedConn struct {
	net.Conn
	slots  *semaphore
	closed atomic.Bool
}

// Close implements net.Conn.
func (c *countedConn) Close() error {
	err := c.Conn.Close()
	if c.closed.CompareAndSwap(false, true) {
		c.slots.release()
	}
	return err
}

// SyscallConn implements syscall.Conn: the socket is read by system calls of our own (rawio_linux.go), or looked at
// (reusable_unix.go).
func (c *countedConn) SyscallConn() (syscall.RawConn, error) {
	s, ok := c.Conn.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return s.SyscallConn()
}
