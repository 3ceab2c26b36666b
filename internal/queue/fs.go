package queue

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/prometheus/prometheus/tsdb/fileutil"
)

// FS is what the queue asks of a file system. Directories are 0700 and files 0600.
type FS interface {
	MkdirAll(dir string) error
	ReadDir(dir string) ([]Entry, error)
	// Open opens a file for reading and writing; create makes one that is not there.
	Open(name string, create bool) (File, error)
	Remove(name string) error // a file, or an empty directory
	Rename(from, to string) error
	// SyncDir makes the names in a directory durable.
	SyncDir(dir string) error
	// Lock takes a lock that dies with the process; it fails at once where another has it.
	Lock(name string) (io.Closer, error)
}

// File is an open file. Writes do not move a cursor: a write after a failed one goes to the same place.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	Truncate(size int64) error
	Sync() error
}

// Entry is a name in a directory.
type Entry struct {
	Name string
	Size int64
	Dir  bool
}

// OS is the file system of the machine.
func OS() FS { return osFS{} }

type osFS struct{}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (osFS) MkdirAll(dir string) error { return os.MkdirAll(dir, 0o700) }

func (osFS) ReadDir(dir string) ([]Entry, error) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(names))
	for _, n := range names {
		info, err := n.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue // gone since
		}
		if err != nil {
			return nil, err
		}
		if info.Mode().IsRegular() || info.IsDir() {
			entries = append(entries, Entry{Name: n.Name(), Size: info.Size(), Dir: info.IsDir()})
		}
	}
	return entries, nil
}

func (osFS) Open(name string, create bool) (File, error) {
	flags := os.O_RDWR
	if create {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(name, flags, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) Remove(name string) error     { return os.Remove(name) }
func (osFS) Rename(from, to string) error { return os.Rename(from, to) }

func (osFS) SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // has no such call
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

type lockedFile struct{ fileutil.Releaser }

func (l lockedFile) Close() error { return l.Release() }

func (fs osFS) Lock(name string) (io.Closer, error) {
	if runtime.GOOS != "windows" { // there, whoever has it open has the lock
		f, err := fs.Open(name, true) // Flock would make a file that all may read
		if err != nil {
			return nil, err
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
	r, _, err := fileutil.Flock(filepath.Clean(name))
	if err != nil {
		return nil, err
	}
	return lockedFile{r}, nil
}

func join(dir, name string) string { return filepath.Join(dir, name) }
