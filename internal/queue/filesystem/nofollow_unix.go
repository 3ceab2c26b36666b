//go:build unix

package filesystem

import "syscall"

// noFollow makes open fail for a symbolic link.
const noFollow = syscall.O_NOFOLLOW
