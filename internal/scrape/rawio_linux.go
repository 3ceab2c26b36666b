package scrape

import (
	"io"
	"syscall"

	"github.com/envoy-scraper/envoy-scraper/internal/rawsocket"
)

// rawIO sends a request and reads its response by system calls that Go's scheduler does not see (package rawsocket).
// The runtime's poller still waits for bytes, so deadlines and Close work as usual. It belongs to one exchange at a
// time.
type rawIO struct {
	conn  *conn
	asked bool // the request of conn was written
	stale bool // conn, which was idle, was closed or has bytes that nobody asked for
	sent  int  // bytes of the request
	buf   []byte
	n     int // bytes read into buf
	errno syscall.Errno

	onAnswer, onRead func(fd uintptr) bool // the methods awaitAnswer and readNow, bound once
}

func (r *rawIO) init() { r.onAnswer, r.onRead = r.awaitAnswer, r.readNow }

// end lets go of a connection.
func (r *rawIO) end() { r.conn, r.buf = nil, nil }

// ask sends the request of a connection and returns the first byte of the response.
func (r *rawIO) ask(c *conn) (first byte, err error) {
	if c.raw == nil {
		return c.send()
	}
	r.conn, r.buf, r.asked, r.stale, r.sent = c, c.first[:], false, false, 0
	if err := c.raw.Read(r.onAnswer); err != nil {
		return 0, rawsocket.Rename(err, "read")
	}
	switch {
	case r.stale:
		return 0, errClosedWhileIdle
	case r.sent < len(c.request): // an error, which Write reports, or no room in the socket
		if _, err := c.Write(c.request[r.sent:]); err != nil {
			return 0, err
		}
		_, err := io.ReadFull(c.Conn, c.first[:])
		return c.first[0], err
	}
	_, err = r.result()
	return c.first[0], err
}

// awaitAnswer writes the request at its first call, and reads the first byte when it has come.
//
// The poller forgets earlier events before the first call, and keeps those after it. So nothing is missed if an idle
// connection is found to be open, is written to, and is not read again before the poller says that there is something.
func (r *rawIO) awaitAnswer(fd uintptr) (done bool) {
	if !r.asked {
		r.asked = true
		if r.conn.used && r.readNow(fd) {
			r.stale = true
			return true
		}
		r.sent, _ = rawsocket.Write(fd, r.conn.request)
		if r.sent < len(r.conn.request) {
			return true
		}
		if r.conn.used {
			return false
		}
	}
	return r.readNow(fd)
}

// read reads a connection as its Read does.
func (r *rawIO) read(c *conn, p []byte) (int, error) {
	if c.raw == nil || len(p) == 0 {
		return c.Read(p)
	}
	r.conn, r.buf = c, p
	if err := c.raw.Read(r.onRead); err != nil {
		return 0, rawsocket.Rename(err, "read")
	}
	return r.result()
}

// readNow reads what has come. It returns false if that is nothing.
func (r *rawIO) readNow(fd uintptr) (done bool) {
	r.n, r.errno = rawsocket.Read(fd, r.buf)
	return r.errno != syscall.EAGAIN
}

// result returns what the last readNow has read.
func (r *rawIO) result() (int, error) {
	switch {
	case r.errno != 0:
		return 0, rawsocket.Failed(r.conn, "read", r.errno)
	case r.n == 0:
		return 0, io.EOF
	}
	return r.n, nil
}
