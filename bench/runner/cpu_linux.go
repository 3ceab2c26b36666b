package runner

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// processCPU is the CPU time that the process has used: all threads, those that
// ended too, user and system. It reads the process's own CPU clock, which counts
// nanoseconds where /proc counts hundredths of a second.
func processCPU(pid int) (time.Duration, error) {
	const schedulerClock = 2 // CPUCLOCK_SCHED; the way a pid becomes a clock is the kernel's MAKE_PROCESS_CPUCLOCK
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedulerClock), &t); err != nil {
		return 0, fmt.Errorf("CPU clock of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}
