//go:build !race

package scrape

import (
	"syscall"
	"unsafe"
)

func rawRead(fd uintptr, b []byte) (n int, errno syscall.Errno) {
	return rawCall(syscall.SYS_READ, fd, b)
}

func rawWrite(fd uintptr, b []byte) (n int, errno syscall.Errno) {
	return rawCall(syscall.SYS_WRITE, fd, b)
}

// rawCall reads or writes b, which is not empty, without Go's scheduler.
func rawCall(call, fd uintptr, b []byte) (n int, errno syscall.Errno) {
	for {
		got, _, errno := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		switch errno {
		case 0:
			return int(got), 0
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}
