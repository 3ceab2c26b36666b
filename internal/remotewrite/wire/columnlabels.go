package wire

// validRefs reports whether refs are labels whose references are all smaller than symbols. The labels of another series
// are; both begin with the same bytes, and both end with the same bytes.
func validRefs(refs, other []byte, begin, end int, symbols uint64) bool {
	from := begin
	for from > 0 && refs[from-1] >= 0x80 { // within a reference
		from--
	}
	to, otherTo := len(refs)-end, len(other)-end
	for to > 0 && refs[to-1] >= 0x80 || otherTo > 0 && other[otherTo-1] >= 0x80 {
		if to == len(refs) {
			return false
		}
		to, otherTo = to+1, otherTo+1
	}
	var n, shift int
	var ref uint64
	for _, c := range refs[from:to] {
		ref |= uint64(c&0x7f) << shift
		if c >= 0x80 {
			shift += 7
			continue
		}
		if ref >= symbols || shift > maxRefBits {
			return false
		}
		n, ref, shift = n+1, 0, 0
	}
	for _, c := range other[from:otherTo] {
		n += int(c>>7 ^ 1)
	}
	return shift == 0 && n%2 == 0
}

// maxRefBits is more than a reference needs, which is smaller than 2^32.
const maxRefBits = 28

// columnLabels finds parts of the references of a series that an earlier series has, too. It is asked for long texts
// only: the labels of a series in which it differs from the series before.
type columnLabels struct {
	written []byte // the texts so far
	words   [1 << (wordBits - 2)]columnWord
}

// columnWord is where four bytes of a text are: in columnLabels.written, and in the plain request.
type columnWord struct {
	said, end uint32 // end of the text in written
	at        uint32
}

const longText = 12 // bytes

func (t *columnLabels) begin() {
	t.written = t.written[:0]
	clear(t.words[:])
}

// write writes a text.
func (t *columnLabels) write(p *snappyWriter, s []byte) {
	first, at := len(t.written), p.at
	t.written = append(t.written, s...)
	end := uint32(len(t.written))
	done := 0 // bytes of s that are written
	for i := 0; i+wordBytes <= len(s); i++ {
		w := &t.words[hashWord(s[i:])>>2]
		before := *w
		*w = columnWord{uint32(first + i), end, uint32(at + i)}
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
