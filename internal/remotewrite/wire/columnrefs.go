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
