package disk

import (
	"errors"
	"io"
	"os"
	"slices"
	"syscall"
)

// begin is Disk.begin for a call on the file.
func (f *File) begin(call string) error {
	f.disk.wait(call, f.Name)
	f.disk.Mu.Lock()
	if f.shut {
		return os.ErrClosed
	}
	return f.disk.call(call, f.Name)
}

// ReadAt implements filesystem.File.
func (f *File) ReadAt(b []byte, at int64) (int, error) {
	if len(b) == 0 {
		return 0, nil // without a call, as os.File does
	}
	err := f.begin("read")
	defer f.disk.Mu.Unlock()
	if err != nil {
		return 0, err
	}
	if at >= int64(len(f.data.Content)) {
		return 0, io.EOF
	}
	n := copy(b, f.data.Content[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements filesystem.File. It writes half of b if the call fails with ErrShort, and a part if the disk is
// full or a fault tears it. If the power goes during the call, all of b is written, and CutPower keeps any part of it.
func (f *File) WriteAt(b []byte, at int64) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	ended := f.disk.Ended()
	err := f.begin("write")
	defer f.disk.Mu.Unlock()
	torn := (*tornError)(nil)
	switch {
	case errors.Is(err, ErrShort):
		b = b[:len(b)/2]
	case errors.As(err, &torn):
		b, err = b[:int(torn.part*float64(len(b)+1))], torn.error
	case errors.Is(err, ErrPowerLost) && !ended:
		f.write(b, at)
		return 0, err
	case errors.Is(err, ErrKilled) && !ended && f.disk.endAt.With != nil: // by EndAt
		f.write(b[:f.disk.rnd.IntN(len(b)+1)], at)
		return 0, err
	case err != nil:
		return 0, err
	}
	if room := f.disk.roomFor(at + int64(len(b)) - int64(len(f.data.Content))); room < 0 {
		b, err = b[:max(0, int64(len(b))+room)], &os.PathError{Op: "write", Path: f.Name, Err: syscall.ENOSPC}
	}
	f.write(b, at)
	return len(b), err
}

// write changes the content. The caller holds Mu.
func (f *File) write(b []byte, at int64) {
	f.data.Content = overwrite(f.data.Content, b, at)
	f.data.Writes = append(f.data.Writes, Write{at: at, data: slices.Clone(b)})
}

func overwrite(content, b []byte, at int64) []byte {
	if more := at + int64(len(b)) - int64(len(content)); more > 0 {
		content = append(content, make([]byte, more)...)
	}
	copy(content[at:], b)
	return content
}

// Close implements filesystem.File.
func (f *File) Close() error {
	f.disk.Mu.Lock()
	defer f.disk.Mu.Unlock()
	if f.shut {
		return os.ErrClosed
	}
	f.shut = true
	delete(f.disk.Handles, f)
	return nil
}

// Data implements filesystem.File. No file has holes.
func (f *File) Data(at int64) int64 { return at }

// Size implements filesystem.File.
func (f *File) Size() (int64, error) {
	err := f.begin("size")
	defer f.disk.Mu.Unlock()
	if err != nil {
		return 0, err
	}
	return int64(len(f.data.Content)), nil
}

// Truncate implements filesystem.File.
func (f *File) Truncate(size int64) error {
	err := f.begin("truncate")
	defer f.disk.Mu.Unlock()
	if err != nil {
		return err
	}
	if more := size - int64(len(f.data.Content)); more > 0 {
		if f.disk.roomFor(more) < 0 {
			return &os.PathError{Op: "truncate", Path: f.Name, Err: syscall.ENOSPC}
		}
		f.write(make([]byte, more), size-more)
	} else if more < 0 {
		f.data.Content = f.data.Content[:size:size]
		f.data.Writes = append(f.data.Writes, Write{at: size, cut: true})
	}
	return nil
}

// Sync behaves as on Linux: a failed sync leaves the pages clean, so that the next sync succeeds without writing them.
func (f *File) Sync() error {
	err := f.begin("sync")
	defer f.disk.Mu.Unlock()
	switch {
	case errors.Is(err, ErrKilled), errors.Is(err, ErrPowerLost), errors.Is(err, os.ErrClosed):
		return err
	case err == nil:
		for _, w := range f.data.Writes {
			f.data.Synced = w.apply(f.data.Synced)
		}
	case f.disk.Evict:
		f.data.Content = slices.Clone(f.data.Synced)
	}
	f.data.Writes = nil
	return err
}

// onDisk returns what the disk has after the first n writes since the last sync.
func (d *Data) onDisk(n int) []byte {
	content := slices.Clone(d.Synced)
	for _, w := range d.Writes[:n] {
		content = w.apply(content)
	}
	return content
}
