package remotewrite

import (
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
)

// errDamaged is bytes that are not what this package wrote.
var errDamaged = errors.New("malformed request")

// Wire types of protobuf.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

// appendUvarint is binary.AppendUvarint with the two shortest forms, nearly all of ours, inlined.
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

func appendVarintField(dst []byte, tag byte, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return appendUvarint(append(dst, tag), v)
}

// appendDoubleField leaves out +0 only: -0 and every NaN keep their bits.
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

// field is one field of a message; data aliases the message.
type field struct {
	number uint64
	wire   byte
	value  uint64 // varint and fixed
	data   []byte // bytes
	whole  []byte // tag included
}

// cutField takes the first field off a message.
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
