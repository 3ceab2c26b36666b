package queue

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/envoy-scraper/envoy-scraper/internal/queue/filesystem"
)

// FS is the part of a file system that a queue uses, see filesystem.FS.
type FS = filesystem.FS

// File is an open file, see filesystem.File.
type File = filesystem.File

// Entry is a name in a directory, see filesystem.Entry.
type Entry = filesystem.Entry

// OS is the file system of the machine.
func OS() FS { return filesystem.OS() }

// createAgain makes a new file in the place of one that an earlier process may have left.
func createAgain(fs FS, name string) (File, error) {
	f, err := fs.Open(name, true)
	if !errors.Is(err, os.ErrExist) {
		return f, err
	}
	if err := fs.Remove(name); err != nil { // of a symbolic link, the link
		return nil, err
	}
	return fs.Open(name, true)
}

// makeDir makes a directory and its missing parents. It returns the directories in which it made a name; the caller has
// to sync them.
func makeDir(fs FS, dir string) (changed []string, err error) {
	above := filepath.Dir(dir)
	err = fs.Mkdir(dir)
	if errors.Is(err, os.ErrNotExist) && above != dir {
		if changed, err = makeDir(fs, above); err == nil {
			err = fs.Mkdir(dir)
		}
	}
	if errors.Is(err, os.ErrExist) {
		return changed, nil // if it is no directory, the next call in it fails
	}
	if err == nil {
		changed = append(changed, above)
	}
	return changed, err
}

func join(dir, name string) string { return filepath.Join(dir, name) }
