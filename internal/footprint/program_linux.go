package footprint

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// mapping is a part of the program's file in memory.
type mapping struct{ from, to uintptr }

// dropProgram unmaps the pages of the program's own file (code and constants) from the process. The file's pages
// stay in the kernel's cache as long as it likes, and come back one by one where they are touched.
func dropProgram() error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	parts, err := untouched(f, program)
	if err != nil {
		return err
	}
	for _, m := range parts {
		if _, _, errno := syscall.Syscall(syscall.SYS_MADVISE, m.from, m.to-m.from, syscall.MADV_DONTNEED); errno != 0 {
			return errno
		}
	}
	return nil
}

// untouched finds the mappings of a file that are read-only and as the file has them: only those come back the
// same (a position-independent program has others, which the loader wrote to).
func untouched(smaps io.Reader, file string) (found []mapping, err error) {
	var m mapping
	ours, clean := false, false
	keep := func() {
		if ours && clean {
			found = append(found, m)
		}
	}
	s := bufio.NewScanner(smaps)
	for s.Scan() {
		key, rest, _ := strings.Cut(s.Text(), " ")
		rest = strings.TrimSpace(rest)
		switch {
		case !strings.HasSuffix(key, ":"): // from-to perms offset device inode path
			keep()
			clean = false
			if _, err := fmt.Sscanf(key, "%x-%x", &m.from, &m.to); err != nil {
				return nil, fmt.Errorf("read smaps: %q: %w", s.Text(), err)
			}
			perms, rest, _ := strings.Cut(rest, " ")
			ours = strings.HasSuffix(rest, " "+file) && strings.HasPrefix(perms, "r-") && strings.HasSuffix(perms, "p")
		case key == "Anonymous:":
			clean = rest == "0 kB"
		}
	}
	keep()
	return found, s.Err()
}
