package wire

import "encoding/binary"

// snappyWriter writes a snappy block (the format without frames): a 1.0 request, or the rows of a 2.0 one. It does not
// search for repetitions: the caller knows them, and calls literal, word or repeat. So the plain text is never in
// memory.
//
// A block is the length of the plain text, followed by elements: literals, and copies of earlier text. Positions are
// those of the plain text. Format: google/snappy, format_description.txt. For example, "abcdabcd" is
//
//	08              8 bytes of plain text
//	0c 61 62 63 64  a literal of 4 bytes
//	01 04           a copy of 4 bytes from 4 bytes before
type snappyWriter struct {
	out  []byte // its whole length may be written to
	n    int    // bytes written; the first ones are kept free for the length
	at   int    // length of the plain text so far
	tag  int    // offset in out of the tag of the literal that still grows; 0: none
	from int    // position of the copy that still grows
	run  int    // length of that copy; 0: none
}

const (
	packerHead    = binary.MaxVarintLen64 // room for the length, which is known last
	maxLiteral    = 60                    // longest literal with a tag of one byte
	maxCopy       = 64                    // longest copy
	minCopy       = 4                     // shorter ones are not worth their tag
	nearOffset    = 1 << 11               // copies of 4 to 11 bytes from nearer than this take two bytes
	farOffset     = 1 << 16               // copies from this far or farther take five bytes; all others three
	MaxPlainBytes = 1<<31 - 1             // limit of a block; the format allows twice as much

	elementLiteral  = 0
	elementCopyNear = 1
	elementCopy     = 2
	elementCopyFar  = 3
)

// begin starts a block. It reuses the memory of the last one.
func (p *snappyWriter) begin() {
	*p = snappyWriter{out: p.out, n: packerHead}
	p.room(0)
}

// finish returns the block. It is in the memory of the writer.
func (p *snappyWriter) finish() []byte {
	p.endRun()
	p.endLiteral()
	n := uvarintSize(uint64(p.at))
	block := p.out[packerHead-n : p.n]
	binary.PutUvarint(block, uint64(p.at))
	return block
}

// elements returns the block without the length. It is in the memory of the writer.
func (p *snappyWriter) elements() []byte {
	p.endRun()
	p.endLiteral()
	return p.out[packerHead:p.n]
}

// room makes room for n more bytes.
func (p *snappyWriter) room(n int) {
	if p.n+n > len(p.out) {
		p.grow(n)
	}
}

func (p *snappyWriter) grow(n int) {
	out := make([]byte, max(p.n+n, len(p.out)+len(p.out)/2, 4<<10))
	copy(out, p.out[:min(p.n, len(p.out))])
	p.out = out
}

// literal writes bytes as they are.
func (p *snappyWriter) literal(b []byte) {
	if len(b) == 0 {
		return
	}
	if p.run > 0 {
		p.endRun()
	}
	p.at += len(b)
	for {
		p.room(1 + maxLiteral)
		if p.tag == 0 {
			p.tag = p.n
			p.n++
		}
		room := p.tag + 1 + maxLiteral - p.n
		if len(b) <= room {
			p.n += copy(p.out[p.n:], b)
			return
		}
		p.n += copy(p.out[p.n:], b[:room])
		b = b[room:]
		p.endLiteral()
	}
}

// word writes the first n bytes, one to eight, of a little-endian word.
func (p *snappyWriter) word(w uint64, n int) {
	if p.run > 0 {
		p.endRun()
	}
	p.at += n
	p.room(1 + 8)
	if p.tag == 0 || p.n+n > p.tag+1+maxLiteral {
		p.endLiteral()
		p.tag = p.n
		p.n++
	}
	binary.LittleEndian.PutUint64(p.out[p.n:], w)
	p.n += n
}

// maxHead is the most that head writes.
const maxHead = 1 + binary.MaxVarintLen64

// head writes tag and length of a field of bytes.
func (p *snappyWriter) head(tag byte, size int) {
	switch {
	case size < 1<<7:
		p.word(uint64(tag)|uint64(size)<<8, 2)
	case size < 1<<14:
		p.word(uint64(tag)|uint64(size&0x7f|0x80)<<8|uint64(size>>7)<<16, 3)
	default:
		var b [maxHead]byte
		p.literal(appendUvarint(append(b[:0], tag), uint64(size)))
	}
}

// repeat writes n bytes that are also at from. If that continues the repetition before, it costs nothing.
func (p *snappyWriter) repeat(from, n int) {
	if from != p.from+p.run {
		p.startRun(from, n)
		return
	}
	p.run += n
	p.at += n
}

// startRun is repeat for what does not continue the repetition before.
func (p *snappyWriter) startRun(from, n int) {
	if n > 0 {
		p.endRun()
		p.from, p.run = from, n
		p.at += n
	}
}

// repeatsUpTo reports whether the last thing written is a repetition that ends at a position.
func (p *snappyWriter) repeatsUpTo(at int) bool { return p.run > 0 && p.from+p.run == at }

func (p *snappyWriter) endLiteral() {
	if p.tag > 0 {
		p.out[p.tag] = byte(p.n-p.tag-2)<<2 | elementLiteral
		p.tag = 0
	}
}

func (p *snappyWriter) endRun() {
	n := p.run
	if n == 0 {
		return
	}
	p.endLiteral()
	p.run = 0
	offset := p.at - n - p.from
	if offset >= farOffset {
		p.farRun(offset, n)
		return
	}
	most := n / maxCopy
	p.room(most*3 + 32)
	i := p.n
	if most > 0 {
		// Eight elements of three bytes are three words. Surplus bytes are overwritten.
		w := uint64((maxCopy-1)<<2 | elementCopy | offset<<8)
		w |= w << 24
		w |= w << 48
		out := p.out[i:]
		for k := 0; k < most; k += 8 {
			o := out[3*k : 3*k+24]
			binary.LittleEndian.PutUint64(o, w)
			binary.LittleEndian.PutUint64(o[8:], w>>16|w<<32)
			binary.LittleEndian.PutUint64(o[16:], w>>8|w<<40)
		}
		i += most * 3
	}
	if n %= maxCopy; n > 0 {
		if n >= minCopy && n < minCopy+8 && offset < nearOffset {
			binary.LittleEndian.PutUint16(p.out[i:], uint16(offset>>8<<5|(n-minCopy)<<2|elementCopyNear|offset<<8))
			i += 2
		} else {
			binary.LittleEndian.PutUint32(p.out[i:], uint32((n-1)<<2|elementCopy|offset<<8))
			i += 3
		}
	}
	p.n = i
}

func (p *snappyWriter) farRun(offset, n int) {
	for n > 0 {
		k := min(n, maxCopy)
		p.room(5)
		p.out[p.n] = byte(k-1)<<2 | elementCopyFar
		binary.LittleEndian.PutUint32(p.out[p.n+1:], uint32(offset))
		p.n += 5
		n -= k
	}
}
