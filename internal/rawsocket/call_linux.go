//go:build !race

package rawsocket

import (
	"syscall"
	"unsafe"
)

// Read reads a socket that does not block into b, which is not empty. EAGAIN: nothing has come yet.
func Read(fd uintptr, b []byte) (n int, errno syscall.Errno) {
	return call(syscall.SYS_READ, fd, b)
}

// Write writes b, which is not empty, to a socket that does not block. EAGAIN: it has no room.
func Write(fd uintptr, b []byte) (n int, errno syscall.Errno) {
	return call(syscall.SYS_WRITE, fd, b)
}

// call reads or writes b, which is not empty, without Go's scheduler.
func call(number, fd uintptr, b []byte) (n int, errno syscall.Errno) {
	for {
		got, _, errno := syscall.RawSyscall(number, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		switch errno {
		case 0:
			return int(got), 0
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}
