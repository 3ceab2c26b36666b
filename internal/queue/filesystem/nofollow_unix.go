//go:build unix

package filesystem

import "syscall"

// noFollow has an open fail where the name is a symbolic link.
const noFollow = syscall.O_NOFOLLOW
