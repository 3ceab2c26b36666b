package wire

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// A column is the values of one scrape, in the order of the rows of a layout (Message.Layout), and their time:
//
//	uvarint   number of values
//	varint    time in milliseconds
//	          the values, each as one of the following; bits are written from the highest to the lowest
//
//	xxxxxxx0             an integer: the last integer plus x, in zigzag form
//	nnnnnn01             n+1 values that have the bits of the value before; for n = 63 a uvarint follows, to be added
//	xxxnnn11  n bytes    an integer, n from 1 to 6: the last integer plus the zigzag form x + bytes*8
//	nnn00011  n bytes    the n upper bytes of a value whose lower ones are 0. No byte: +0, also as the last integer
//	00011111  8 bytes    any value
//	00111111             the value that is two before
//
// The value before the first one and the last integer before the first one are 0. The bytes of numbers are in
// little-endian order. For example, the buckets, the sum and the count of a histogram at time 0:
//
//	06 00           six values, time 0
//	05              0 0
//	c7 17           95
//	14              100
//	63 29 ac 40     3604.5, whose bits are 40ac290000000000
//	00              100, the last integer
//
// Nothing of an earlier scrape is needed to read it. Values keep their bits: -0, staleness markers and any other NaN.

const (
	columnRepeat     = 1 // the two lower bits of the first byte
	columnLong       = 3
	columnRaw        = 7<<2 | columnLong
	columnBefore     = 1<<5 | columnRaw
	columnMostRepeat = 63 // the n of a run with a uvarint
	columnBits       = 51 // of the largest zigzag form of an integer
)

// AppendColumn appends a column.
func AppendColumn(dst []byte, timeMillis int64, values []float64) []byte {
	dst = binary.AppendVarint(binary.AppendUvarint(dst, uint64(len(values))), timeMillis)
	var before, twoBefore uint64
	var last int64
	for i := 0; i < len(values); i++ {
		v := values[i]
		b := math.Float64bits(v)
		if b == before {
			from := i
			for i+1 < len(values) && math.Float64bits(values[i+1]) == b {
				i++
			}
			twoBefore = b
			dst = appendColumnRepeat(dst, uint64(i-from))
			continue
		}
		whole := int64(v)
		z := zigzag(whole - last)
		switch isWhole := math.Float64bits(float64(whole)) == b; {
		case isWhole && z < 1<<7:
			dst = append(dst, byte(z)<<1)
			last = whole
		case b == 0:
			dst = append(dst, columnLong)
			last = 0
		case b == twoBefore:
			dst = append(dst, columnBefore)
		case isWhole && z < 1<<columnBits:
			n := (bits.Len64(z>>3) + 7) / 8
			dst = append(dst, byte(z&7)<<5|byte(n)<<2|columnLong)
			dst = appendLow(dst, z>>3, n)
			last = whole
		default:
			if n := 8 - bits.TrailingZeros64(b)/8; n < 8 {
				dst = appendLow(append(dst, byte(n)<<5|columnLong), b>>(64-8*n), n)
			} else {
				dst = binary.LittleEndian.AppendUint64(append(dst, columnRaw), b)
			}
		}
		before, twoBefore = b, before
	}
	return dst
}

// appendColumnRepeat appends more+1 values equal to the one before.
func appendColumnRepeat(dst []byte, more uint64) []byte {
	if more < columnMostRepeat {
		return append(dst, byte(more)<<2|columnRepeat)
	}
	return binary.AppendUvarint(append(dst, columnMostRepeat<<2|columnRepeat), more-columnMostRepeat)
}

// appendLow appends the n lower bytes of a word, at most 7.
func appendLow(dst []byte, w uint64, n int) []byte {
	at := len(dst)
	return binary.LittleEndian.AppendUint64(dst, w)[:at+n]
}

// parsedColumn is a column whose values are not read yet.
type parsedColumn struct {
	count uint64
	time  int64
	data  []byte
}

func parseColumn(data []byte) (c parsedColumn, err error) {
	count, n := binary.Uvarint(data)
	if n <= 0 {
		return c, errDamaged
	}
	at, m := binary.Varint(data[n:])
	if m <= 0 {
		return c, errDamaged
	}
	return parsedColumn{count, at, data[n+m:]}, nil
}

// read reads the values of a column into dst, which has room for exactly as many as the column should have.
func (c *parsedColumn) read(dst []float64) error {
	if c.count != uint64(len(dst)) {
		return errDamaged
	}
	var before, twoBefore float64
	var last int64
	data := c.data
	for i := 0; i < len(dst); {
		if len(data) == 0 {
			return errDamaged
		}
		head := data[0]
		data = data[1:]
		if head&1 == 0 { // nearly always this or a run
			last += unzigzag(uint64(head >> 1))
			before, twoBefore = float64(last), before
			dst[i] = before
			i++
			continue
		}
		if head&3 == columnRepeat {
			n := uint64(head >> 2)
			if n == columnMostRepeat {
				more, size := binary.Uvarint(data)
				if size <= 0 || more > uint64(len(dst)) {
					return errDamaged
				}
				n += more
				data = data[size:]
			}
			if n >= uint64(len(dst)-i) {
				return errDamaged
			}
			equal := dst[i : i+int(n)+1]
			for k := range equal {
				equal[k] = before
			}
			twoBefore = before
			i += len(equal)
			continue
		}
		b, rest, ok := cutColumnLong(head, data)
		switch x := uint64(head >> 5); {
		case !ok:
			return errDamaged
		case head == columnBefore:
			before, twoBefore = twoBefore, before
		case head&^byte(7<<5) == columnRaw:
			before, twoBefore = math.Float64frombits(b), before
		case head&(7<<2) != 0:
			last += unzigzag(x | b<<3)
			before, twoBefore = float64(last), before
		case x == 0:
			last = 0
			before, twoBefore = 0, before
		default:
			before, twoBefore = math.Float64frombits(b<<(64-8*x)), before
		}
		dst[i] = before
		data = rest
		i++
	}
	if len(data) > 0 {
		return errDamaged
	}
	return nil
}

// cutColumnLong cuts off the bytes that follow the first byte of a value. Not ok: there is no such value.
func cutColumnLong(head byte, data []byte) (b uint64, rest []byte, ok bool) {
	n := int(head >> 2 & 7)
	switch {
	case head == columnBefore:
		return 0, data, true
	case head == columnRaw:
		n = 8
	case n == 7:
		return 0, nil, false
	case n == 0:
		n = int(head >> 5)
	}
	if n > len(data) {
		return 0, nil, false
	}
	if len(data) >= 8 {
		return binary.LittleEndian.Uint64(data) & (1<<(8*n) - 1), data[n:], true
	}
	for i, c := range data[:n] {
		b |= uint64(c) << (8 * i)
	}
	return b, data[n:], true
}
