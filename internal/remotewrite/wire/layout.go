package wire

import (
	"bytes"
	"encoding/binary"
	"unsafe"
)

// Layout is the series of a target's page, for the scrapes that are columns:
//
//	uvarint   length of the first block
//	block     symbols, as in a packed fragment
//	          rows (rows.go), to the end
//
// It is in two parts, because replicas have the same rows.
type Layout struct {
	Head []byte
	Tail string
	// Packed: it is a packed fragment, whose series have no samples. Versions of before wrote such layouts.
	Packed bool
}

// CutLayout is Cut for series without samples. It returns the two parts of their layout. head is new memory, rows is in
// a buffer of b.
func (e *FragmentWriter) CutLayout(b *Buffers) (head, rows []byte) {
	symbols := e.numbers.fresh
	scratch := appendPacked(b.Get(maxPacked(len(symbols), 0)), symbols, nil)
	size, n := binary.Uvarint(scratch)
	head = bytes.Clone(scratch[:n+int(size)])
	b.Put(scratch)
	rows = appendRows(b.Get(len(e.series)), e.series, e.numbers.next)
	e.numbers.fresh, e.series = emptied(symbols), emptied(e.series)
	return head, rows
}

// equal reports whether two layouts are the same bytes, in the same parts.
func (l *Layout) equal(o *Layout) bool {
	return l == o || l.Packed == o.Packed && bytes.Equal(l.Head, o.Head) && l.Tail == o.Tail
}

// parse takes a layout apart.
func (l *Layout) parse() (p packedFragment, err error) {
	data := l.Head
	size, n := binary.Uvarint(data)
	if n <= 0 || size > uint64(len(data)-n) {
		return p, errDamaged
	}
	rest := data[n:]
	if p.symbols, err = parseBlock(rest[:size]); err != nil {
		return p, err
	}
	switch rest = rest[size:]; {
	case len(rest) > 0 && l.Tail != "":
		return p, errDamaged
	case len(rest) == 0:
		rest = bytesOf(l.Tail)
	}
	if l.Packed {
		p.series, err = parseBlock(rest)
		return p, err
	}
	p.rows = rest
	var r rowReader
	err = r.reset(rest)
	p.series.plain = r.plain
	return p, err
}

// bytesOf returns a string without copying it. Nobody may change the bytes.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
