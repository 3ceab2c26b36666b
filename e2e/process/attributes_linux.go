package process

import "syscall"

// childAttributes gives the child its own process group, and lets the kernel kill it when the thread that
// started it ends. The Go runtime ends a thread only with a goroutine that locked it, which nobody here does.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
