//go:build unix && !linux

package process

import "syscall"

// childAttributes puts the child in its own process group.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
