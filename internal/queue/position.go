package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

const (
	slotSize    = 40
	slotVersion = 1
	slotStride  = 512 // a sector each: a torn write hits one of them

	oldSlotSize = 32 // of a slot without a version, which is read, not written any more
)

var (
	positionMagic    = [4]byte{'E', 's', 'q', 'Q'}
	oldPositionMagic = [4]byte{'E', 's', 'q', 'P'}
)

// position is a point in a lane up to which everything is delivered. {3, 52} is offset 52 of segment 3.
type position struct {
	seq    uint32
	offset int64
}

// slot is a position as one of the two slots of a file has it. doc.go draws it.
type slot struct {
	position
	counter uint64
	left    uint32 // samples that a stop left undelivered on disk; 0: not known
}

func (s slot) put(b []byte) {
	le := binary.LittleEndian
	copy(b, positionMagic[:])
	b[4], b[5], b[6], b[7] = slotVersion, 0, 0, 0
	le.PutUint32(b[8:], s.seq)
	le.PutUint32(b[12:], s.left)
	le.PutUint64(b[16:], s.counter)
	le.PutUint64(b[24:], uint64(s.offset))
	le.PutUint32(b[32:], 0)
	le.PutUint32(b[36:], checksum(b[:36]))
}

// parseSlot returns false for bytes that are no slot, and a *FormatError without a file name for a slot of another
// version.
func parseSlot(b []byte) (s slot, ok bool, err error) {
	le := binary.LittleEndian
	switch {
	case len(b) >= slotSize && [4]byte(b[:4]) == positionMagic && le.Uint32(b[36:]) == checksum(b[:36]):
		if le.Uint32(b[4:]) != slotVersion {
			return s, false, &FormatError{Unknown: fmt.Sprintf(
				"version %d of a position, where this program knows version %d", b[4], slotVersion)}
		}
		s = slot{
			position: position{seq: le.Uint32(b[8:]), offset: int64(le.Uint64(b[24:]))},
			counter:  le.Uint64(b[16:]), left: le.Uint32(b[12:]),
		}
	case len(b) >= oldSlotSize && [4]byte(b[:4]) == oldPositionMagic && le.Uint32(b[28:]) == checksum(b[:28]):
		s = slot{
			position: position{seq: le.Uint32(b[4:]), offset: int64(le.Uint64(b[16:]))},
			counter:  le.Uint64(b[8:]), left: le.Uint32(b[24:]),
		}
	default:
		return s, false, nil
	}
	return s, s.offset >= 0, nil
}

// readSlots returns the valid slots of a position file, the newest first. Damaged or missing slots are left out. An
// error means that the file could not be read, or a *FormatError.
func readSlots(fs FS, name string) (slots []slot, err error) {
	f, err := fs.Open(name, false)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for i := range int64(2) {
		var b [slotSize]byte
		n, err := f.ReadAt(b[:], i*slotStride)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		s, ok, err := parseSlot(b[:n])
		if err != nil {
			return nil, err
		}
		if ok {
			slots = append(slots, s)
		}
	}
	if len(slots) == 2 && slots[1].counter > slots[0].counter {
		slots[0], slots[1] = slots[1], slots[0]
	}
	return slots, nil
}

// positionFile is the file that has the position of a lane.
type positionFile struct {
	name    string
	foreign bool // something else has the name, and is left alone

	mu      sync.Mutex // guards the following; taken before the queue's
	file    File       // nil: not open
	counter uint64
	written position
	gone    bool // removed, or the queue is closed: nothing is written any more
}

// write writes a position into the slot that does not have the last one; left is as in slot. The caller holds mu.
func (p *positionFile) write(fs FS, at position, left uint32) (created bool, err error) {
	if p.file == nil {
		if p.file, created, err = openOrCreate(fs, p.name); err != nil {
			p.file = nil
			return false, err
		}
	}
	var b [slotSize]byte
	slot{position: at, counter: p.counter + 1, left: left}.put(b[:])
	if _, err := p.file.WriteAt(b[:], int64((p.counter+1)%2)*slotStride); err != nil {
		return created, err
	}
	p.counter++
	p.written = at
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
	p.written = position{}
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
