package queue

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"go.uber.org/zap"
)

// maxCorruptBytes limits the .corrupt files of a queue; the oldest are removed first.
const maxCorruptBytes = 64 << 20

// quarantine copies damaged bytes of segments to .corrupt files, for people to look at. The name of such a file has the
// segment and the offset: damage that has a file was counted by an earlier start, and is not counted again.
type quarantine struct {
	fs  FS
	dir string

	mu    diskLock // guards the following; held over calls of the file system
	files []Entry  // oldest first
	bytes int64
}

func newQuarantine(fs FS, dir string) quarantine {
	return quarantine{fs: fs, dir: dir, mu: newDiskLock()}
}

// found adds a file that an earlier process left, or that was just written.
func (c *quarantine) found(e Entry) {
	if i := slices.IndexFunc(c.files, func(o Entry) bool { return o.Name == e.Name }); i >= 0 {
		c.bytes -= c.files[i].Size
		c.files = slices.Delete(c.files, i, i+1)
	}
	c.files = append(c.files, e)
	c.bytes += e.Size
}

// corruptEntry returns the file for a part of a segment.
func corruptEntry(segment string, at span) Entry {
	lane := strings.TrimSuffix(segment, segmentSuffix)
	return Entry{Name: fmt.Sprintf("%s-%08x%s", lane, at.from, corruptSuffix), Size: at.to - at.from}
}

// has reports whether a part of a segment was copied aside before.
func (c *quarantine) has(segment string, at span) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.files, corruptEntry(segment, at))
}

// keep copies a part of a segment to a .corrupt file, and logs it. A part of zeros is not copied.
func (c *quarantine) keep(log *zap.Logger, segment string, r io.ReaderAt, at span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := corruptEntry(segment, at)
	fields := []zap.Field{zap.String("segment", segment), zap.Int64("offset", at.from), zap.Int64("bytes", e.Size)}
	kept, err := c.copy(e, r, at)
	if kept {
		fields = append(fields, zap.String("kept", e.Name))
	}
	if err != nil {
		fields = append(fields, zap.NamedError("keep", err))
	}
	log.Error("damaged data skipped", fields...)
}

func (c *quarantine) copy(e Entry, r io.ReaderAt, at span) (kept bool, err error) {
	if e.Size > maxCorruptBytes {
		return false, nil
	}
	if zeros, err := onlyZeros(r, at); zeros || err != nil {
		return false, err
	}
	if err := c.limit(e.Size); err != nil {
		return false, err
	}
	f, err := createAgain(c.fs, join(c.dir, e.Name))
	if err != nil {
		return false, err
	}
	_, err = io.Copy(io.NewOffsetWriter(f, 0), io.NewSectionReader(r, at.from, e.Size))
	if err = errors.Join(err, f.Close()); err != nil {
		return false, errors.Join(err, c.fs.Remove(join(c.dir, e.Name)))
	}
	c.found(e)
	return true, nil
}

// limit removes the oldest files until a file of the given size is within maxCorruptBytes. The caller holds mu.
func (c *quarantine) limit(bytes int64) error {
	for len(c.files) > 0 && c.bytes+bytes > maxCorruptBytes {
		if err := c.fs.Remove(join(c.dir, c.files[0].Name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err // a file that is gone was taken by somebody
		}
		c.bytes -= c.files[0].Size
		c.files = c.files[1:]
	}
	return nil
}

// discard removes the file of a segment. A segment that could not be read is renamed to a .corrupt name instead.
func (c *quarantine) discard(s *segment) error {
	from := join(c.dir, s.name)
	if !s.unreadable || s.size > maxCorruptBytes {
		return c.fs.Remove(from)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e := corruptEntry(s.name, span{0, s.size})
	if err := c.limit(e.Size); err != nil {
		return err
	}
	if err := c.fs.Rename(from, join(c.dir, e.Name)); err != nil {
		return err
	}
	c.found(e)
	return nil
}

// onlyZeros reports whether a part of a file holds only zeros.
func onlyZeros(r io.ReaderAt, at span) (bool, error) {
	var b [4 << 10]byte
	for at.from = nextData(r, at.from); at.from < at.to; at.from = nextData(r, at.from) {
		n, err := r.ReadAt(b[:min(int64(len(b)), at.to-at.from)], at.from)
		for _, x := range b[:n] {
			if x != 0 {
				return false, nil
			}
		}
		at.from += int64(n)
		if errors.Is(err, io.EOF) || n == 0 && err == nil {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}
