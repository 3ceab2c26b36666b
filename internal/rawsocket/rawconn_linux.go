package rawsocket

import (
	"net"
	"syscall"
)

// RawConnOf returns what Read and Write need of a connection; nil: it has no socket.
func RawConnOf(c net.Conn) syscall.RawConn {
	if s, ok := c.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			return raw
		}
	}
	return nil
}
