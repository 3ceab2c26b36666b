package queue

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/envoy-scraper/envoy-scraper/internal/queue/filesystem"
)

const (
	slotSize    = 48 // without the extents behind it
	slotVersion = 2
	slotStride  = 64 << 10 // a torn write hits one of the two slots
	extentSize  = 16
	maxExtents  = (slotStride - slotSize) / extentSize

	oldSlotVersion = 1
	oldSlotStride  = 512
	oldSlotSize    = 40 // of version 1
	firstSlotSize  = 32 // of a slot without a version
)

var (
	positionMagic    = [4]byte{'E', 's', 'q', 'Q'}
	oldPositionMagic = [4]byte{'E', 's', 'q', 'P'}
)

// position is a point in a lane. {3, 52} is offset 52 of segment 3.
type position struct {
	seq    uint32
	offset int64
}

func (p position) compare(o position) int {
	return cmp.Or(cmp.Compare(p.seq, o.seq), cmp.Compare(p.offset, o.offset))
}

// slot is what one of the two slots of a position file says. doc.go draws it.
type slot struct {
	position          // everything before it is delivered
	delivered extents // behind the position
	doubtful  extents // a request that begins in one of them may have arrived
	left      uint32  // samples that a stop left undelivered on disk; 0: not known
	last      uint32  // the highest number of a segment of the lane so far
	counter   uint64
	old       bool // of an earlier version: doubtful is not known
	place     int  // 0 or 1: where in the file it is
}

// append appends the slot in the format of a position file.
func (s slot) append(dst []byte) []byte {
	s.cut()
	le := binary.LittleEndian
	var b [slotSize]byte
	copy(b[:], positionMagic[:])
	le.PutUint32(b[4:], slotVersion)
	le.PutUint32(b[8:], s.seq)
	le.PutUint32(b[12:], s.left)
	le.PutUint64(b[16:], s.counter)
	le.PutUint64(b[24:], uint64(s.offset))
	le.PutUint16(b[32:], uint16(len(s.delivered)))
	le.PutUint16(b[34:], uint16(len(s.doubtful)))
	le.PutUint32(b[36:], checksum(b[:36]))
	le.PutUint32(b[40:], s.last)
	begin := len(dst)
	dst = append(dst, b[:]...)
	for _, list := range []extents{s.delivered, s.doubtful} {
		for _, x := range list {
			dst = le.AppendUint64(dst, uint64(x.from))
			dst = le.AppendUint32(dst, x.seq)
			dst = le.AppendUint32(dst, uint32(x.to-x.from))
		}
	}
	le.PutUint32(dst[begin+44:], checksum(dst[begin+slotSize:]))
	return dst
}

// cut leaves out extents that have no room. Delivered requests that are not listed are delivered again after a kill,
// so the doubtful ones include them.
func (s *slot) cut() {
	tooLong := func(x extent) bool { return x.to-x.from > 1<<32-1 }
	if slices.ContainsFunc(s.delivered, tooLong) || slices.ContainsFunc(s.doubtful, tooLong) {
		s.delivered = slices.DeleteFunc(slices.Clone(s.delivered), tooLong)
		s.doubtful = slices.DeleteFunc(slices.Clone(s.doubtful), tooLong)
	}
	if len(s.doubtful) > maxExtents/2 {
		s.doubtful = s.doubtful.hulls()
		s.doubtful = s.doubtful[:min(len(s.doubtful), maxExtents/2)]
	}
	if len(s.delivered)+len(s.doubtful) <= maxExtents {
		return
	}
	most := maxExtents - len(s.doubtful) - maxExtents/8
	hulls := s.delivered[most:].hulls()
	s.delivered = s.delivered[:most]
	s.doubtful = slices.Clone(s.doubtful)
	for _, x := range hulls[:min(len(hulls), maxExtents/8)] {
		s.doubtful.add(x)
	}
}

// parseSlot returns false for bytes that are no slot, and a *FormatError without a file name for a slot of another
// version.
func parseSlot(b []byte) (s slot, ok bool, err error) {
	le := binary.LittleEndian
	switch {
	case len(b) >= oldSlotSize && [4]byte(b[:4]) == positionMagic && le.Uint32(b[36:]) == checksum(b[:36]):
		s = slot{
			position: position{seq: le.Uint32(b[8:]), offset: int64(le.Uint64(b[24:]))},
			counter:  le.Uint64(b[16:]), left: le.Uint32(b[12:]),
		}
		switch le.Uint32(b[4:]) {
		case slotVersion:
			ok = s.parseExtents(b)
		case oldSlotVersion:
			s.old, s.last, ok = true, s.seq, true
		default:
			return s, false, &FormatError{Unknown: fmt.Sprintf(
				"version %d of a position, where this program knows version %d", b[4], slotVersion)}
		}
	case len(b) >= firstSlotSize && [4]byte(b[:4]) == oldPositionMagic && le.Uint32(b[28:]) == checksum(b[:28]):
		s = slot{
			position: position{seq: le.Uint32(b[4:]), offset: int64(le.Uint64(b[16:]))},
			counter:  le.Uint64(b[8:]), left: le.Uint32(b[24:]), old: true,
		}
		s.last, ok = s.seq, true
	}
	return s, ok && s.offset >= 0, nil
}

// parseExtents parses what follows the header of a slot. It returns false if that is damaged.
func (s *slot) parseExtents(b []byte) bool {
	le := binary.LittleEndian
	delivered, doubtful := int(le.Uint16(b[32:])), int(le.Uint16(b[34:]))
	end := slotSize + (delivered+doubtful)*extentSize
	if len(b) < end || le.Uint32(b[44:]) != checksum(b[slotSize:end]) {
		return false
	}
	s.last = le.Uint32(b[40:])
	for i := range delivered + doubtful {
		x := b[slotSize+i*extentSize:]
		from, n := int64(le.Uint64(x)), int64(le.Uint32(x[12:]))
		if from < 0 || from+n < from {
			return false
		}
		list := &s.delivered
		if i >= delivered {
			list = &s.doubtful
		}
		list.add(extent{le.Uint32(x[8:]), span{from, from + n}})
	}
	return true
}

// readSlots returns the valid slots of a position file, the newest first. Damaged or missing slots are left out. The
// result is nil if there is no file. An error means that the file could not be read, or a *FormatError.
func readSlots(fs FS, name string) (slots []slot, err error) {
	f, err := fs.Open(name, false)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	slots = []slot{}
	b := make([]byte, slotStride)
	for place := range 2 {
		n, err := f.ReadAt(b, int64(place)*slotStride)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		s, ok, err := parseSlot(b[:n])
		if err != nil {
			return nil, err
		}
		if s.place = place; ok {
			slots = append(slots, s)
		}
		if place > 0 || n < oldSlotStride {
			continue
		}
		if s, ok, _ := parseSlot(b[oldSlotStride:n]); ok && s.old { // the second slot of an earlier version
			slots = append(slots, s)
		}
	}
	slices.SortFunc(slots, func(a, b slot) int { return cmp.Compare(b.counter, a.counter) })
	return slots, nil
}

// positionFile is the file that has the position of a lane.
type positionFile struct {
	name    string
	foreign bool // something else has the name, and is left alone

	mu      diskLock // guards the following; taken before the queue's, and held over calls of the file system
	file    File     // nil: not open
	counter uint64
	place   int    // where the next slot goes, 0 or 1
	written uint64 // lane.changes of the last slot; 0: none is written
	gone    bool   // removed, or the queue is closed: nothing is written any more
	buf     []byte // the slot to write
}

// follow makes the next slot follow one that was read. The slots of an earlier version are both in the first place.
func (p *positionFile) follow(s slot) {
	p.counter = s.counter
	p.place = 1 - s.place
}

// encode prepares a slot for write. The caller holds mu.
func (p *positionFile) encode(s slot) {
	s.counter = p.counter + 1
	p.buf = s.append(p.buf[:0])
}

// write writes the prepared slot to the place that does not have the last one. The caller holds mu.
func (p *positionFile) write(fs FS) (created bool, err error) {
	if p.file == nil {
		if p.file, created, err = filesystem.OpenOrCreate(fs, p.name); err != nil {
			p.file = nil
			return false, err
		}
	}
	if _, err := p.file.WriteAt(p.buf, int64(p.place)*slotStride); err != nil {
		return created, err
	}
	p.counter++
	p.place = 1 - p.place
	return created, nil
}

// open returns the file, or nil.
func (p *positionFile) open() File {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.file
}

// rewrite makes the next write happen even if the position is the same.
func (p *positionFile) rewrite() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.written = 0
}

// remove removes the file. The segments of the lane must be gone: without a position they are delivered again.
func (p *positionFile) remove(fs FS) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = true
	p.close()
	if p.foreign {
		return nil
	}
	if err := fs.Remove(p.name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (p *positionFile) close() {
	if p.file != nil {
		_ = p.file.Close()
		p.file = nil
	}
}
