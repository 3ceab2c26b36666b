package runner

import (
	"os"
	"syscall"
	"testing"
	"time"
)

// TestProcessCPUIsWhatTheKernelCharges compares the process's CPU clock with the other account of the same.
func TestProcessCPUIsWhatTheKernelCharges(t *testing.T) {
	charged := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	for charged() < 50*time.Millisecond { // something to compare
	}
	const rounding = 2 * tick
	low := charged() - rounding
	got, err := processCPU(os.Getpid())
	if high := charged() + rounding; err != nil || got < low || got > high {
		t.Errorf("CPU = %v, %v; want %v to %v", got, err, low, high)
	}
	if _, err := processCPU(1 << 22); err == nil {
		t.Error("no error for a process that cannot exist")
	}
}
