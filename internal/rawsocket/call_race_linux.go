//go:build race

package rawsocket

import "syscall"

// The race detector learns from the calls of package syscall that a read comes after the write of the other end.

// Read is as without the race detector.
func Read(fd uintptr, b []byte) (n int, errno syscall.Errno) { return checked(syscall.Read, fd, b) }

// Write is as without the race detector.
func Write(fd uintptr, b []byte) (n int, errno syscall.Errno) {
	return checked(syscall.Write, fd, b)
}

func checked(call func(int, []byte) (int, error), fd uintptr, b []byte) (n int, errno syscall.Errno) {
	for {
		n, err := call(int(fd), b)
		if err == nil {
			return n, 0
		}
		if errno, _ := err.(syscall.Errno); errno != syscall.EINTR {
			return 0, errno
		}
	}
}
