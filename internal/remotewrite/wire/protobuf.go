package wire

import (
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
)

// errDamaged is returned for bytes that this package has not written.
var errDamaged = errors.New("malformed request")

// errColumn is returned for a message with a Layout by everything except Pool.Merge.
var errColumn = errors.New("message is a column of a layout, which only Merge can read")

// Wire types of protobuf.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

// appendUvarint is binary.AppendUvarint, with inlined code for the two shortest forms, which are nearly all.
func appendUvarint(dst []byte, v uint64) []byte {
	switch {
	case v < 1<<7:
		return append(dst, byte(v))
	case v < 1<<14:
		return append(dst, byte(v)|0x80, byte(v>>7))
	}
	return binary.AppendUvarint(dst, v)
}

func uvarintSize(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

func zigzag(v int64) uint64 { return uint64(v)<<1 ^ uint64(v>>63) }

func unzigzag(z uint64) int64 { return int64(z>>1) ^ -int64(z&1) }

func appendVarintField(dst []byte, tag byte, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return appendUvarint(append(dst, tag), v)
}

// appendDoubleField appends nothing for +0. -0 and every NaN keep their bits.
func appendDoubleField(dst []byte, tag byte, v float64) []byte {
	u := math.Float64bits(v)
	if u == 0 {
		return dst
	}
	return binary.LittleEndian.AppendUint64(append(dst, tag), u)
}

func appendBytesField[T string | []byte](dst []byte, tag byte, v T) []byte {
	dst = appendUvarint(append(dst, tag), uint64(len(v)))
	return append(dst, v...)
}

// field is one field of a message. data and whole alias the message.
type field struct {
	number uint64
	wire   byte
	value  uint64 // of a varint or a fixed number
	data   []byte // bytes
	whole  []byte // with the tag
}

// cutField splits the first field off a message.
func cutField(b []byte) (f field, rest []byte, err error) {
	tag, n := binary.Uvarint(b)
	if n <= 0 {
		return f, nil, errDamaged
	}
	f.number, f.wire = tag>>3, byte(tag&7)
	rest = b[n:]
	switch f.wire {
	case wireVarint:
		v, n := binary.Uvarint(rest)
		if n <= 0 {
			return f, nil, errDamaged
		}
		f.value, rest = v, rest[n:]
	case wireFixed64:
		if len(rest) < 8 {
			return f, nil, errDamaged
		}
		f.value, rest = binary.LittleEndian.Uint64(rest), rest[8:]
	case wireBytes:
		size, n := binary.Uvarint(rest)
		if n <= 0 || size > uint64(len(rest)-n) {
			return f, nil, errDamaged
		}
		f.data, rest = rest[n:n+int(size)], rest[n+int(size):]
	case wireFixed32:
		if len(rest) < 4 {
			return f, nil, errDamaged
		}
		f.value, rest = uint64(binary.LittleEndian.Uint32(rest)), rest[4:]
	default:
		return f, nil, errDamaged
	}
	f.whole = b[:len(b)-len(rest)]
	return f, rest, nil
}

// eachField calls fn for every field of a message.
func eachField(b []byte, fn func(field) error) error {
	for len(b) > 0 {
		f, rest, err := cutField(b)
		if err != nil {
			return err
		}
		if err := fn(f); err != nil {
			return err
		}
		b = rest
	}
	return nil
}

// appendWithout appends a message without one of its fields.
func appendWithout(dst, message []byte, number uint64) ([]byte, error) {
	err := eachField(message, func(f field) error {
		if f.number != number {
			dst = append(dst, f.whole...)
		}
		return nil
	})
	return dst, err
}

// cutRef splits a varint off a packed list. It is binary.Uvarint, with inlined code for the two shortest forms, which
// are nearly all.
func cutRef(b []byte) (ref uint64, rest []byte, ok bool) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), b[1:], true
	}
	if len(b) > 1 && b[1] < 0x80 {
		return uint64(b[0]&0x7f) | uint64(b[1])<<7, b[2:], true
	}
	ref, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, false
	}
	return ref, b[n:], true
}

// cutRefs splits the two references of a label off a packed list.
func cutRefs(b []byte) (name, value uint64, rest []byte, ok bool) {
	if len(b) >= 3 && b[0] < 0x80 { // names have low numbers, because they come first in a request
		if v := b[1]; v < 0x80 {
			return uint64(b[0]), uint64(v), b[2:], true
		}
		if v := b[2]; v < 0x80 {
			return uint64(b[0]), uint64(b[1]&0x7f) | uint64(v)<<7, b[3:], true
		}
	}
	name, rest, ok1 := cutRef(b)
	value, rest, ok2 := cutRef(rest)
	return name, value, rest, ok1 && ok2
}

// cutBytes splits the content off a field of bytes whose tag is gone already.
func cutBytes(b []byte) (data, rest []byte, ok bool) {
	if len(b) > 0 && b[0] < 0x80 {
		n := int(b[0])
		if n > len(b)-1 {
			return nil, nil, false
		}
		return b[1 : 1+n], b[1+n:], true
	}
	n, rest, ok := cutRef(b)
	if !ok || n > uint64(len(rest)) {
		return nil, nil, false
	}
	return rest[:n], rest[n:], true
}

// commonPrefix returns the number of bytes with which both a and b begin.
func commonPrefix(a, b []byte) (n int) {
	m := min(len(a), len(b))
	for n+8 <= m {
		if d := binary.LittleEndian.Uint64(a[n:n+8]) ^ binary.LittleEndian.Uint64(b[n:n+8]); d != 0 {
			return n + bits.TrailingZeros64(d)/8
		}
		n += 8
	}
	for n < m && a[n] == b[n] {
		n++
	}
	return n
}

// commonSuffix returns the number of bytes with which both a and b end.
func commonSuffix(a, b []byte) (n int) {
	for len(a) >= 8 && len(b) >= 8 {
		i, j := len(a)-8, len(b)-8
		if d := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[j:]); d != 0 {
			return n + bits.LeadingZeros64(d)/8
		}
		n += 8
		a, b = a[:i], b[:j]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		n++
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	return n
}
