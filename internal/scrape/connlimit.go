package scrape

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
)

// unknownOpenFiles stands for the limit of open files where the system has none that can be asked for.
const unknownOpenFiles = 16384

// connectionsOf returns how many connections to targets may be open under a limit of open files: three quarters. The
// rest is for the queue's files, connections to endpoints and to API servers, and the own web server.
func connectionsOf(files int) int { return max(1, files-files/4) }

// descriptors bound the open connections to targets, of all jobs: those in use and those kept between scrapes. Near the
// bound a new connection closes one that is kept, and waits where all are in use. Safe for concurrent use. nil: no
// bound.
type descriptors struct {
	gate *gate

	mu    sync.Mutex // guards the following
	users map[*fetcher]struct{}
}

func newDescriptors(connections int) *descriptors {
	return &descriptors{gate: newGate(connections), users: map[*fetcher]struct{}{}}
}

// add notes a fetcher whose kept connections may be closed for others.
func (d *descriptors) add(f *fetcher) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.users[f] = struct{}{}
}

func (d *descriptors) remove(f *fetcher) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.users, f)
}

// noDescriptorError is a scrape that could not have a connection in time.
type noDescriptorError struct{ connections int }

func (e *noDescriptorError) Error() string {
	return fmt.Sprintf("no connection within the scrape timeout: %d are in use, as many as the limit of open files leaves for targets; raise it (ulimit -n)", e.connections)
}

// Unwrap gives the error the reason of a process that has too many files open.
func (e *noDescriptorError) Unwrap() error { return syscall.EMFILE }

// dial connects as soon as there is a descriptor for it.
//
// An answering target comes before others, and kept connections are closed for it. One that did not answer its last scrape
// waits for room: targets that hang must not take the connections of those that answer.
func (d *descriptors) dial(ctx context.Context, answering bool, connect func() (net.Conn, error)) (net.Conn, error) {
	if d == nil {
		return connect()
	}
	makeRoom := func() {
		if answering {
			d.closeKept()
		}
	}
	if !d.gate.tryEnter() && !d.gate.enter(ctx, answering, makeRoom) {
		if context.Cause(ctx) == context.DeadlineExceeded {
			return nil, &noDescriptorError{d.gate.limit}
		}
		return nil, context.Cause(ctx)
	}
	c, err := connect()
	if (errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)) && answering && d.closeKept() { // others hold more than their quarter
		c, err = connect()
	}
	if err != nil {
		d.gate.leave()
		return nil, err
	}
	return &counted{Conn: c, gate: d.gate}, nil
}

// closeKept closes a connection that is kept between scrapes, or several. It returns false if there is none.
func (d *descriptors) closeKept() bool {
	d.mu.Lock()
	users := make([]*fetcher, 0, len(d.users))
	for f := range d.users {
		users = append(users, f)
	}
	d.mu.Unlock()
	for _, f := range users {
		if f.plain != nil && f.plain.idle.closeOne() {
			return true
		}
	}
	before, _ := d.gate.load()
	for _, f := range users {
		f.client.CloseIdleConnections()
		if held, _ := d.gate.load(); held < before {
			return true
		}
	}
	return false
}

// scarce reports whether a connection of net/http should be closed after its scrape: the last sixteenth is for those
// that are closed after their scrape. net/http cannot close a single one that it keeps.
func (d *descriptors) scarce() bool {
	if d == nil {
		return false
	}
	held, waiting := d.gate.load()
	return waiting > 0 || held >= d.gate.limit-max(1, d.gate.limit/16)
}

// awaited reports whether somebody waits for a connection to be closed.
func (d *descriptors) awaited() bool {
	if d == nil {
		return false
	}
	_, waiting := d.gate.load()
	return waiting > 0
}

// counted is a connection that leaves a gate when it is closed.
type counted struct {
	net.Conn
	gate   *gate
	closed atomic.Bool
}

// Close implements net.Conn.
func (c *counted) Close() error {
	err := c.Conn.Close()
	if c.closed.CompareAndSwap(false, true) {
		c.gate.leave()
	}
	return err
}

// SyscallConn lets quiet look into the socket.
func (c *counted) SyscallConn() (syscall.RawConn, error) {
	s, ok := c.Conn.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return s.SyscallConn()
}
