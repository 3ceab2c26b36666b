//go:build unix

package scrape

import (
	"math"
	"syscall"
)

// openFiles is how many files the process may have open. Go raises it to the hard limit when the process starts.
func openFiles() int {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return unknownOpenFiles
	}
	return int(min(uint64(r.Cur), math.MaxInt32)) //nolint:unconvert // a signed number on some systems
}
