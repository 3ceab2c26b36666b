// Package filesystem declares the part of a file system that a queue uses, and implements it for the machine. Tests and
// simulations have other implementations.
package filesystem

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/prometheus/prometheus/tsdb/fileutil"
)

// FS is a file system. Directories are 0700 and files 0600.
type FS interface {
	Mkdir(dir string) error
	ReadDir(dir string) ([]Entry, error)
	// Open opens a regular file for reading and writing. It fails for a symbolic link. With create it makes a new file,
	// and fails with os.ErrExist if anything has that name.
	Open(name string, create bool) (File, error)
	Remove(name string) error // a file, or an empty directory
	Rename(from, to string) error
	// SyncDir makes the names in a directory durable.
	SyncDir(dir string) error
	// Lock locks a file until Close or the end of the process. It fails at once with ErrLocked if another process has
	// the lock.
	Lock(name string) (io.Closer, error)
}

// File is an open file. It has no cursor: a write after a failed write goes to the same offset.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	// Data returns the offset of the first byte, at or after at, that is outside the holes of a sparse file. A hole
	// reads as zeros.
	Data(at int64) int64
	Truncate(size int64) error
	Sync() error
}

// Entry is a name in a directory.
type Entry struct {
	Name    string
	Size    int64
	Dir     bool
	Special bool // neither a file nor a directory: a symbolic link, a pipe, a device
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

// Data implements File. On systems other than Linux it reports no holes.
func (f osFile) Data(at int64) int64 {
	const seekData = 3 // SEEK_DATA of lseek(2)
	if runtime.GOOS != "linux" {
		return at
	}
	next, err := f.Seek(at, seekData) // nothing uses the cursor
	if errors.Is(err, syscall.ENXIO) {
		next, err = f.Size() // a hole up to the end
	}
	if err != nil {
		return at
	}
	return max(at, next)
}

func (osFS) Mkdir(dir string) error { return os.Mkdir(dir, 0o700) }

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
		entries = append(entries, Entry{
			Name: n.Name(), Size: info.Size(), Dir: info.IsDir(), Special: !info.IsDir() && !info.Mode().IsRegular(),
		})
	}
	return entries, nil
}

// ErrNotRegular is the error of Open for a symbolic link, a directory, a pipe or a device.
var ErrNotRegular = errors.New("is not a regular file")

func (osFS) Open(name string, create bool) (File, error) {
	flags := os.O_RDWR | noFollow
	if create {
		flags |= os.O_CREATE | os.O_EXCL
	}
	f, err := os.OpenFile(name, flags, 0o600)
	if err != nil {
		if info, e := os.Lstat(name); !create && e == nil && !info.Mode().IsRegular() {
			err = &os.PathError{Op: "open", Path: name, Err: ErrNotRegular} // clearer than the system's error
		}
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		if err == nil {
			err = &os.PathError{Op: "open", Path: name, Err: ErrNotRegular}
		}
		return nil, errors.Join(err, f.Close())
	}
	return osFile{f}, nil
}

func (osFS) Remove(name string) error     { return os.Remove(name) }
func (osFS) Rename(from, to string) error { return os.Rename(from, to) }

func (osFS) SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // Windows cannot sync a directory
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// ErrLocked is the error of Lock if another process has the lock.
var ErrLocked = errors.New("lock is taken")

type lockedFile struct{ fileutil.Releaser }

func (l lockedFile) Close() error { return l.Release() }

func (fs osFS) Lock(name string) (io.Closer, error) {
	if runtime.GOOS != "windows" { // on Windows an open file is locked
		f, _, err := OpenOrCreate(fs, name) // Flock would follow a link, and make a file that all may read
		if err != nil {
			return nil, err
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
	r, _, err := fileutil.Flock(filepath.Clean(name))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLocked, err)
	}
	return lockedFile{r}, nil
}

// OpenOrCreate opens a file, or makes it if there is none.
func OpenOrCreate(fs FS, name string) (f File, created bool, err error) {
	if f, err = fs.Open(name, false); errors.Is(err, os.ErrNotExist) {
		f, err = fs.Open(name, true)
		created = err == nil
	}
	return f, created, err
}
