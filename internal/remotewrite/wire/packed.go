package wire

import (
	"encoding/binary"

	"github.com/golang/snappy"
)

// packedFragment is a fragment as it is queued: its symbols and its series, each a snappy block. So it is as small in
// memory and on disk as on the wire, and a 2.0 request is made without unpacking it: snappy blocks end to end are one
// block, except for the length of the plain text in front of each, because a block only copies from itself.
//
//	uvarint   length of the first block
//	block     symbols: fields of a 2.0 Request
//	block     series: likewise, to the end
type packedFragment struct {
	symbols, series snappyBlock
	rows            []byte // of a layout, in place of the block of series, of which only the plain size is known
}

// snappyBlock is a block of the snappy format.
type snappyBlock struct {
	plain    int // length of the plain text
	elements []byte
	whole    []byte // with the length in front
}

// maxFragment bounds the plain text of a fragment. A larger length is damage.
const maxFragment = 128 << 20

// appendPacked packs a fragment.
func appendPacked(dst, symbols, series []byte) []byte {
	// The length stands first, and is known last: there is room for the longest one.
	head, room := len(dst), snappy.MaxEncodedLen(len(symbols))+snappy.MaxEncodedLen(len(series))
	dst = append(dst, make([]byte, maxPackedHead+room)...)
	first := snappy.Encode(dst[head+maxPackedHead:], symbols)
	n := binary.PutUvarint(dst[head:], uint64(len(first)))
	n += copy(dst[head+n:], first)
	second := snappy.Encode(dst[head+n:], series)
	return dst[:head+n+len(second)]
}

// maxPacked returns how many bytes appendPacked writes to, before it moves the blocks together.
func maxPacked(symbols, series int) int {
	return maxPackedHead + snappy.MaxEncodedLen(symbols) + snappy.MaxEncodedLen(series)
}

const maxPackedHead = binary.MaxVarintLen32

// parsePacked takes a packed fragment apart.
func parsePacked(data []byte) (p packedFragment, err error) {
	size, n := binary.Uvarint(data)
	if n <= 0 || size > uint64(len(data)-n) {
		return packedFragment{}, errDamaged
	}
	rest := data[n:]
	if p.symbols, err = parseBlock(rest[:size]); err == nil {
		p.series, err = parseBlock(rest[size:])
	}
	return p, err
}

func parseBlock(b []byte) (snappyBlock, error) {
	plain, n := binary.Uvarint(b)
	if n <= 0 || plain > maxFragment {
		return snappyBlock{}, errDamaged
	}
	return snappyBlock{plain: int(plain), elements: b[n:], whole: b}, nil
}

// unpack decompresses a block behind dst, which must have room for it.
func (b snappyBlock) unpack(dst []byte) (plain []byte, err error) {
	plain, err = snappy.Decode(dst[len(dst):len(dst)+b.plain:len(dst)+b.plain], b.whole)
	if err != nil || len(plain) != b.plain {
		return nil, errDamaged
	}
	return plain, nil
}

// plainFragment is an unpacked fragment.
type plainFragment struct{ symbols, series []byte }

// unpacker unpacks the fragments of messages. Its result is valid until its next use. The zero value is ready.
type unpacker struct {
	packed    []packedFragment
	fragments []plainFragment
	rows      rowReader
	text      []byte // length 0; the unpacked text is in its memory
	size      int    // of the unpacked text
}

// unpack unpacks fragments: the symbols and the series of each fragment, end to end in text.
func (u *unpacker) unpack(fragments [][]byte) ([]plainFragment, error) {
	u.begin()
	for _, f := range fragments {
		if p, err := parsePacked(f); err != nil || !u.add(p) {
			return nil, errDamaged
		}
	}
	return u.all()
}

func (u *unpacker) begin() { u.packed, u.fragments, u.size = u.packed[:0], u.fragments[:0], 0 }

// add adds a fragment. Not ok: they are too large.
func (u *unpacker) add(p packedFragment) (ok bool) {
	u.packed = append(u.packed, p)
	u.size += p.symbols.plain + p.series.plain
	return u.size <= maxFragment
}

// all unpacks the fragments that were added.
func (u *unpacker) all() ([]plainFragment, error) {
	defer clear(u.packed)
	if cap(u.text) < u.size {
		u.text = make([]byte, 0, u.size+u.size/4)
	}
	at := u.text[:0]
	for _, p := range u.packed {
		symbols, err := p.symbols.unpack(at)
		if err != nil {
			return nil, err
		}
		at = at[:len(at)+len(symbols)]
		series, err := p.unpackSeries(at, &u.rows)
		if err != nil {
			return nil, err
		}
		at = at[:len(at)+len(series)]
		u.fragments = append(u.fragments, plainFragment{symbols, series})
	}
	return u.fragments, nil
}

// unpackSeries unpacks the series behind dst, which must have room for them.
func (p *packedFragment) unpackSeries(dst []byte, r *rowReader) (series []byte, err error) {
	if p.rows == nil {
		return p.series.unpack(dst)
	}
	if err := r.reset(p.rows); err != nil {
		return nil, err
	}
	n := len(dst)
	if dst, err = r.appendSeries(dst[: n : n+p.series.plain]); err != nil {
		return nil, err
	}
	return dst[n:], nil
}
