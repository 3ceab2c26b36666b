package runner

import "golang.org/x/sys/unix"

// descriptorLimit is how many descriptors a process of ours may have. Go has raised its own limit to the highest that
// is allowed; a child does the same.
func descriptorLimit() (uint64, error) {
	var l unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l)
	return l.Max, err
}
