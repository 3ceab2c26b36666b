//go:build !linux

package rawsocket

import (
	"net"
	"syscall"
)

// RawConnOf returns nil: only Linux has this package's calls.
func RawConnOf(net.Conn) syscall.RawConn { return nil }

// Read is not called.
func Read(uintptr, []byte) (int, syscall.Errno) { panic("rawsocket: Linux only") }

// Write is not called.
func Write(uintptr, []byte) (int, syscall.Errno) { panic("rawsocket: Linux only") }
