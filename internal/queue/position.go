package queue

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"sync"
)

const (
	slotSize   = 32
	slotStride = 512 // a sector each: a torn write hits one of them
)

var positionMagic = [4]byte{'E', 's', 'q', 'P'}

// place is a point in a lane: everything before it is delivered.
type place struct {
	seq    uint32
	offset int64
}

// slot is one version of a position.
type slot struct {
	place
	counter uint64
	left    uint32 // samples of the lane that a stop left undelivered on disk; 0: nothing is known
}

func (s slot) put(b []byte) {
	le := binary.LittleEndian
	copy(b, positionMagic[:])
	le.PutUint32(b[4:], s.seq)
	le.PutUint64(b[8:], s.counter)
	le.PutUint64(b[16:], uint64(s.offset))
	le.PutUint32(b[24:], s.left)
	le.PutUint32(b[28:], checksum(b[:28]))
}

func parseSlot(b []byte) (s slot, ok bool) {
	le := binary.LittleEndian
	if len(b) < slotSize || [4]byte(b[:4]) != positionMagic || le.Uint32(b[28:]) != checksum(b[:28]) {
		return s, false
	}
	s = slot{
		place:   place{seq: le.Uint32(b[4:]), offset: int64(le.Uint64(b[16:]))},
		counter: le.Uint64(b[8:]), left: le.Uint32(b[24:]),
	}
	return s, s.offset >= 0
}

// readSlots returns the valid slots of a position file, the newest first. Whatever is wrong with the file:
// there are fewer.
func readSlots(fs FS, name string) (slots []slot) {
	f, err := fs.Open(name, false)
	if err != nil {
		return nil
	}
	defer f.Close()
	for i := range int64(2) {
		var b [slotSize]byte
		n, err := f.ReadAt(b[:], i*slotStride)
		if err != nil && !errors.Is(err, io.EOF) {
			continue
		}
		if s, ok := parseSlot(b[:n]); ok {
			slots = append(slots, s)
		}
	}
	if len(slots) == 2 && slots[1].counter > slots[0].counter {
		slots[0], slots[1] = slots[1], slots[0]
	}
	return slots
}

// position is the file that says what of a lane is delivered.
type position struct {
	name string

	mu      sync.Mutex // guards the following; taken before the queue's
	file    File       // nil: not open
	counter uint64
	written place
	gone    bool // nothing is written any more
}

// write puts a place into the slot that does not hold the last one; left as in slot. The caller holds mu.
func (p *position) write(fs FS, at place, left uint32) (created bool, err error) {
	if p.file == nil {
		if p.file, err = fs.Open(p.name, true); err != nil {
			p.file = nil
			return false, err
		}
		created = true
	}
	var b [slotSize]byte
	slot{place: at, counter: p.counter + 1, left: left}.put(b[:])
	if _, err := p.file.WriteAt(b[:], int64((p.counter+1)%2)*slotStride); err != nil {
		return created, err
	}
	p.counter++
	p.written = at
	return created, nil
}

// open returns the file, or nil.
func (p *position) open() File {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.file
}

// forget makes the next write happen even if the place is the same.
func (p *position) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.written = place{}
}

// remove ends the file. Before it its segments must be gone: without a position all of them is delivered again.
func (p *position) remove(fs FS) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = true
	p.close()
	if err := fs.Remove(p.name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (p *position) close() {
	if p.file != nil {
		_ = p.file.Close()
		p.file = nil
	}
}
