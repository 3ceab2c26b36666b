//go:build unix

package scrape

import (
	"net"
	"syscall"
)

// quiet tells whether an idle connection is open and its other end has said nothing: an end of stream makes it
// useless, and bytes that nobody asked for (a 408, say) would be taken for the next answer.
func quiet(c net.Conn) bool {
	s, ok := c.(syscall.Conn)
	if !ok {
		return true // no socket: a test's
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	silent := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, err := syscall.Read(int(fd), b[:])
		silent = err == syscall.EAGAIN
		return true // whatever it was: do not wait
	})
	return silent && err == nil
}
