//go:build unix

package scrape

import (
	"math"
	"syscall"
)

// openFiles returns the limit on open files of the process. Go raises it to the hard limit at the start.
func openFiles() int {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return unknownOpenFiles
	}
	return int(min(uint64(r.Cur), math.MaxInt32)) //nolint:unconvert // signed on some systems
}
