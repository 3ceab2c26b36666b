package process

import "syscall"

// childAttributes puts the child in its own process group, and makes the kernel kill it when the thread that started it
// ends. The Go runtime ends a thread only if a goroutine that locked it returns, which does not happen here.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
