package receiver

import (
	"encoding/binary"
	"errors"
	"math"
)

var errWire = errors.New("malformed protobuf")

// wire is a cursor over one protobuf message. The bytes that it returns alias the message.
type wire struct{ b []byte }

// next reads a field's number and, by its wire type, its bytes or its number.
func (w *wire) next() (field int, bytes []byte, number uint64, err error) {
	tag, err := w.varint()
	if err != nil {
		return 0, nil, 0, err
	}
	if tag>>3 == 0 || tag>>3 > math.MaxInt32 {
		return 0, nil, 0, errWire
	}
	field = int(tag >> 3)
	switch tag & 7 {
	case 0:
		number, err = w.varint()
	case 1:
		if len(w.b) < 8 {
			return 0, nil, 0, errWire
		}
		number = binary.LittleEndian.Uint64(w.b)
		w.b = w.b[8:]
	case 2:
		var n uint64
		if n, err = w.varint(); err != nil || n > uint64(len(w.b)) {
			return 0, nil, 0, errWire
		}
		bytes, w.b = w.b[:n], w.b[n:]
		if bytes == nil {
			bytes = w.b[:0]
		}
	case 5:
		if len(w.b) < 4 {
			return 0, nil, 0, errWire
		}
		number = uint64(binary.LittleEndian.Uint32(w.b))
		w.b = w.b[4:]
	default:
		err = errWire
	}
	return field, bytes, number, err
}

func (w *wire) varint() (uint64, error) {
	if len(w.b) > 0 && w.b[0] < 0x80 {
		v := w.b[0]
		w.b = w.b[1:]
		return uint64(v), nil
	}
	v, n := binary.Uvarint(w.b)
	if n <= 0 {
		return 0, errWire
	}
	w.b = w.b[n:]
	return v, nil
}

// sample is a timestamp and a value's bits. Both protocols number their fields alike.
type sample struct {
	millis int64
	bits   uint64
}

func parseSample(b []byte) (s sample, err error) {
	for w := (wire{b}); len(w.b) > 0; {
		field, _, number, err := w.next()
		if err != nil {
			return s, err
		}
		switch field {
		case 1:
			s.bits = number
		case 2:
			s.millis = int64(number)
		}
	}
	return s, nil
}
