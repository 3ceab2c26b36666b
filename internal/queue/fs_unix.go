//go:build unix

package queue

import "syscall"

// noFollow has an open fail where the name is a symbolic link.
const noFollow = syscall.O_NOFOLLOW
