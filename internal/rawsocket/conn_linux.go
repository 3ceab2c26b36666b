package rawsocket

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// conn is a connection whose Read and Write are calls of this package.
type conn struct {
	net.Conn
	raw syscall.RawConn
}

// RawConnOf returns what Read and Write need of a connection; nil: it has no socket.
func RawConnOf(c net.Conn) syscall.RawConn {
	if s, ok := c.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			return raw
		}
	}
	return nil
}

// Wrap returns c with another Read and Write, which return what those of c would. If c has no socket, it returns c
// itself.
func Wrap(c net.Conn) net.Conn {
	raw := RawConnOf(c)
	if raw == nil {
		return c
	}
	return &conn{Conn: c, raw: raw}
}

// mostPerCall bounds the time of a call, during which nothing else runs on its processor: some 20 µs.
const mostPerCall = 64 << 10

// Read implements net.Conn.
func (c *conn) Read(b []byte) (n int, err error) {
	if len(b) == 0 {
		return c.Conn.Read(b)
	}
	var errno syscall.Errno
	err = c.raw.Read(func(fd uintptr) (done bool) {
		n, errno = Read(fd, b)
		return errno != syscall.EAGAIN
	})
	switch {
	case err != nil:
		return 0, Rename(err, "read")
	case errno != 0:
		return 0, Failed(c, "read", errno)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (n int, err error) {
	if len(b) == 0 {
		return c.Conn.Write(b)
	}
	var errno syscall.Errno
	err = c.raw.Write(func(fd uintptr) (done bool) {
		for n < len(b) {
			var written int
			if written, errno = Write(fd, b[n:min(n+mostPerCall, len(b))]); errno != 0 {
				return errno != syscall.EAGAIN
			}
			n += written
		}
		return true
	})
	switch {
	case err != nil:
		return n, Rename(err, "write")
	case errno != 0:
		return n, Failed(c, "write", errno)
	}
	return n, nil
}

// Failed returns the error of a failed call, "read" or "write", as a method of net.Conn returns it.
func Failed(c net.Conn, call string, errno syscall.Errno) error {
	return &net.OpError{Op: call, Net: c.LocalAddr().Network(), Source: c.LocalAddr(), Addr: c.RemoteAddr(),
		Err: os.NewSyscallError(call, errno)}
}

// Rename returns an error of a RawConn as a method of net.Conn returns it, "read" or "write".
func Rename(err error, method string) error {
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		renamed := *op
		renamed.Op = method
		return &renamed
	}
	return err
}
