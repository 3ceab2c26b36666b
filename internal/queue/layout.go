package queue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"unique"
	"weak"
)

// Layout is bytes that many records have in common. It is never changed. A lane has it once in memory, and once in each
// segment for up to layoutUses records. The garbage collector frees it, not Config.Free.
//
// Its bytes are Data, then Shared. Many layouts can have the same Shared, which is then in memory once (NewLayout).
type Layout struct {
	Data   []byte
	Shared string
	Packed bool                  // it is of an earlier version of this program, which wrote layouts in another form
	handle unique.Handle[string] // of Shared
	weak   weak.Pointer[Layout]  // to the layout itself, from NewLayout; it is not cheap to make
}

// NewLayout returns a layout. Nobody may change data from then on.
func NewLayout(data, shared []byte) *Layout {
	h := unique.Make(string(shared))
	l := &Layout{Data: data, Shared: h.Value(), handle: h}
	l.weak = weak.Make(l)
	return l
}

// weakly returns a weak pointer to a layout.
func (l *Layout) weakly() weak.Pointer[Layout] {
	if l.weak == (weak.Pointer[Layout]{}) { // it was read from disk
		return weak.Make(l)
	}
	return l.weak
}

// Len returns the number of bytes.
func (l *Layout) Len() int { return len(l.Data) + len(l.Shared) }

// Append appends the bytes.
func (l *Layout) Append(dst []byte) []byte { return append(append(dst, l.Data...), l.Shared...) }

func (l *Layout) equal(o *Layout) bool {
	if l.Len() != o.Len() || l.Packed != o.Packed {
		return false
	}
	if len(l.Data) > len(o.Data) {
		l, o = o, l
	}
	n := len(l.Data)
	more := o.Data[n:] // which l has in Shared: o was read from disk
	return bytes.Equal(l.Data, o.Data[:n]) && l.Shared[:len(more)] == string(more) && l.Shared[len(more):] == o.Shared
}

func (l *Layout) checksum() uint32 {
	return crc32.Update(checksum(l.Data), castagnoli, []byte(l.Shared))
}

// kind returns the kind of the record of a copy.
func (l *Layout) kind() kind {
	if l.Packed {
		return kindPackedLayout
	}
	return kindLayout
}

// layoutUses is the number of records that refer to one copy of a layout in a segment. The next record gets a new copy,
// so damage to a copy costs at most layoutUses records.
const layoutUses = 64

// layoutCopy is a record of a layout in a segment.
type layoutCopy struct {
	header
	at     int64                // its offset
	layout weak.Pointer[Layout] // a segment is no reason to keep a layout in memory
	uses   int                  // records that refer to it
}

func (c *layoutCopy) ref() layoutRef { return layoutRef{uint32(c.at), c.crc} }

// layouts are the copies of layouts in a segment to which something may still be written.
type layouts struct {
	copies []*layoutCopy
	bytes  int64                                // of the copies
	last   map[weak.Pointer[Layout]]*layoutCopy // the last copy of each
}

// copyFor returns the copy to which a record refers that is to be written at an offset. A new copy is at that offset.
// When the record is written, add has to be called.
func (l *layouts) copyFor(rec Record, at int64, before uint64) *layoutCopy {
	layout := rec.Layout.weakly()
	if c := l.last[layout]; c != nil && c.uses < layoutUses {
		return c
	}
	return &layoutCopy{at: at, layout: layout, header: header{
		first: true, kind: rec.Layout.kind(), length: uint32(rec.Layout.Len()), crc: rec.Layout.checksum(),
		before: uint32(before), oldest: rec.Oldest, newest: rec.Newest, stream: rec.Stream,
	}}
}

// add counts a written record that refers to a copy.
func (l *layouts) add(c *layoutCopy) {
	if c.uses++; c.uses > 1 {
		return
	}
	if l.last == nil {
		l.last = map[weak.Pointer[Layout]]*layoutCopy{}
	}
	l.copies = append(l.copies, c)
	l.bytes += c.size()
	l.last[c.layout] = c
}

// layoutRef refers to a copy of a layout in the same segment. For example, f8 00 00 00 d1 7d d8 ae: the copy at offset
// 248, whose data has the CRC aed87dd1.
type layoutRef struct{ at, crc uint32 }

const layoutRefSize = 8

func (r layoutRef) append(dst []byte) []byte {
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(dst, r.at), r.crc)
}

// cutLayoutRef splits the data of a record of kindWithLayout.
func cutLayoutRef(data []byte) (record []byte, ref layoutRef) {
	n := len(data) - layoutRefSize
	return data[:n], layoutRef{binary.LittleEndian.Uint32(data[n:]), binary.LittleEndian.Uint32(data[n+4:])}
}

// foundLayouts are layouts of a segment, in memory or read from there. nil: it is damaged.
type foundLayouts map[layoutRef]*Layout

// add adds the layout of a copy if it is still in memory, so that it need not be read.
func (f foundLayouts) add(c *layoutCopy) {
	if layout := c.layout.Value(); layout != nil {
		f[c.ref()] = layout
	}
}

// read returns the layout to which ref refers, or nil if that is damaged. It reads each layout once.
func (f foundLayouts) read(r io.ReaderAt, ref layoutRef) (*Layout, error) {
	layout, known := f[ref]
	if known {
		return layout, nil
	}
	b := make([]byte, headerSize)
	n, err := r.ReadAt(b, int64(ref.at))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if h, ok := parseHeader(b[:n]); ok && h.isLayout() && h.crc == ref.crc {
		data, err := readData(r, int64(ref.at)+headerSize, h, func(n int) []byte { return make([]byte, 0, n) })
		if err != nil {
			return nil, err
		}
		if data != nil {
			layout = &Layout{Data: data, Packed: h.kind == kindPackedLayout}
		}
	}
	f[ref] = layout
	return layout, nil
}
