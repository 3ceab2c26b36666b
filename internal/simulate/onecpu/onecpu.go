// Package onecpu runs tests in a process whose scheduler does as little by chance as Go's can: one processor, no
// preemption by signals, and the same random numbers for libraries that do not take a source of their own. With more
// processors, goroutines that wake at the same instant run in an order that changes from run to run.
package onecpu

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

// Main is the TestMain of a package whose tests demand that the same seed gives the same run. The settings apply when a
// process starts, so it runs the tests in a second process, and ends this one with its status.
func Main(m *testing.M) {
	const settings = "randautoseed=0,randseednop=0,asyncpreemptoff=1"
	if strings.Contains(os.Getenv("GODEBUG"), settings) {
		runtime.GOMAXPROCS(1)
		debug.SetGCPercent(400) // saves a fifth of the time; the heap is small
		os.Exit(m.Run())
	}
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "GODEBUG="+strings.Trim(os.Getenv("GODEBUG")+","+settings, ","))
	if err := cmd.Run(); err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}
