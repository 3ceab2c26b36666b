//go:build unix

package scrape

import (
	"net"
	"syscall"
)

// isReusable reports whether an idle connection is open and the target has sent nothing on it. Bytes that were not
// requested, such as a 408 response, would be taken for the next response.
func isReusable(c net.Conn) bool {
	s, ok := c.(syscall.Conn)
	if !ok {
		return true // no socket: another network than the machine's
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	open := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, err := syscall.Read(int(fd), b[:])
		open = err == syscall.EAGAIN
		return true // do not wait for bytes
	})
	return open && err == nil
}
