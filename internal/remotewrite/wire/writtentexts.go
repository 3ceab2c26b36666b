package wire

import "encoding/binary"

// writtenTexts writes texts, parts of which were often written before: hosts, principals and metric names consist of
// the same words, and series have labels in common. It finds what repeats by four bytes at a time.
//
// Cost: 24 KiB, and the texts of one request.
type writtenTexts struct {
	written []byte // the texts so far
	words   [1 << wordBits]word
}

// word is where four bytes of a text are: in written, and in the plain request. A newer one with the same hash replaces
// an older one.
type word struct {
	said, end uint32 // end of the text in written
	at        uint32
}

const (
	wordBits     = 11
	wordBytes    = 4
	minCopied    = 6 // bytes; a shorter copy saves nothing: it takes three bytes, and the literal after it a tag
	minCopiedFar = 9 // likewise from far away, where a copy takes five bytes
)

// begin forgets the texts of the request before.
func (t *writtenTexts) begin() {
	t.written = t.written[:0]
	clear(t.words[:])
}

// write writes a text. No copy goes across two texts.
func (t *writtenTexts) write(p *snappyWriter, s []byte) {
	first, at := len(t.written), p.at
	t.written = append(t.written, s...)
	end := uint32(len(t.written))
	done := 0 // bytes of s that are written
	for i := 0; i+wordBytes <= len(s); i++ {
		w := &t.words[hashWord(s[i:])]
		before := *w
		*w = word{uint32(first + i), end, uint32(at + i)}
		if before.end == 0 || int(before.said) >= first {
			continue
		}
		n := commonPrefix(s[i:], t.written[before.said:before.end])
		if n < minCopied || p.at-int(before.at) >= farOffset && n < minCopiedFar {
			continue
		}
		p.literal(s[done:i])
		p.repeat(int(before.at), n)
		done = i + n
		i = done - 1
	}
	p.literal(s[done:])
}

func hashWord(s []byte) uint32 { return binary.LittleEndian.Uint32(s) * 0x9e3779b1 >> (32 - wordBits) }
