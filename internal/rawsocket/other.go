//go:build !linux

package rawsocket

import (
	"net"
	"syscall"
)

// RawConnOf returns nil: only Linux has this package's calls.
func RawConnOf(net.Conn) syscall.RawConn { return nil }

// Wrap returns c itself.
func Wrap(c net.Conn) net.Conn { return c }
