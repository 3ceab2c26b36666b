package wire

import (
	"encoding/binary"
	"math/bits"
)

// baseSeries is the series that the following ones are compared with. Positions are those of the plain request.
type baseSeries struct {
	writtenSeries
	number      uint32     // number of the base in its request
	refs        []byte     // aliases the message
	ends        []labelEnd // positions before the first label, and after each label
	labelsEnded []int32    // by offset in refs: number of labels that end there or before
}

// end returns the end of the last label.
func (b *baseSeries) end() labelEnd { return b.ends[len(b.ends)-1] }

// learn makes a series the base. Its labels are at a position.
func (b *baseSeries) learn(t *textTable, refs []byte, at int) {
	b.number++
	b.refs, b.ends, b.labelsEnded = refs, append(b.ends[:0], labelEnd{}), b.labelsEnded[:0]
	var plain int32
	for rest := refs; len(rest) > 0; {
		var known *pair
		known, rest = t.cutKnown(rest)
		known.at = uint32(at + int(plain))
		plain += int32(known.size)
		for len(b.labelsEnded) < len(refs)-len(rest) {
			b.labelsEnded = append(b.labelsEnded, int32(len(b.ends)-1))
		}
		b.ends = append(b.ends, labelEnd{int32(len(refs) - len(rest)), plain})
	}
	b.labelsEnded = append(b.labelsEnded, int32(len(b.ends)-1))
}

// labelEnd is where a label ends: in the references, and in the plain labels.
type labelEnd struct{ refs, plain int32 }

// writtenSeries is a series that is written already.
type writtenSeries struct {
	at     uint32 // position of its begin
	labels uint32 // position of its labels
	end    uint32 // position of the end of its labels
	size   uint32 // its length
	first  int32  // number of labels with which both it and its base begin
	last   int32  // index of the first label of its base with which both end
	base   uint32 // number of its base
	clock  uint32 // v1Writer.clock of the timestamp right before it

	valueHead uint32 // of its sample
	value     uint64
}

// difference is how a series differs from the base. In order, it has: one label of its own if skip is 1, the labels
// of the base up to first, the rest of its own labels, the labels of the base from last on.
type difference struct {
	skip, first, last int
	from, begin       int // offset and length of the common begin in the plain labels
	end               int // length of the common end
	newLabels         []newLabel
}

func (d *difference) compare(t *textTable, refs []byte, b *baseSeries) (err error) {
	d.newLabels = d.newLabels[:0]
	d.skip = 0
	d.first = int(b.labelsEnded[commonPrefix(refs, b.refs)])
	rest := refs[b.ends[d.first].refs:]
	if d.first == 0 && len(b.ends) > 1 && len(refs) > 0 {
		if rest, err = d.cutOwn(t, refs); err != nil {
			return err
		}
		first := b.ends[1].refs
		n := commonPrefix(rest, b.refs[first:])
		d.skip, d.first = 1, int(b.labelsEnded[int(first)+n])
		rest = rest[b.ends[d.first].refs-first:]
	}
	begin, end := b.ends[d.first], b.end()
	d.last = b.common(rest, begin)
	last := b.ends[d.last]
	d.from = int(b.ends[d.skip].plain)
	d.begin = int(begin.plain) - d.from
	d.end = int(end.plain - last.plain)
	for rest = rest[:len(rest)-int(end.refs-last.refs)]; len(rest) > 0; {
		if rest, err = d.cutOwn(t, rest); err != nil {
			return err
		}
	}
	return nil
}

// common returns the index of the first base label of the longest run of labels that ends both rest and the base
// after begin.
func (b *baseSeries) common(rest []byte, begin labelEnd) (last int) {
	n := commonSuffix(rest, b.refs[begin.refs:])
	from := len(b.refs) - n
	last = int(b.labelsEnded[from])
	switch mine := len(rest) - n; {
	case int(b.ends[last].refs) < from:
		return last + 1 // within a label
	case n > 0 && mine > 0 && rest[mine-1] >= 0x80:
		return last + 1 // the label ends as the base's does, and begins otherwise
	}
	return last
}

// cutOwn splits one label off, and adds it to the new labels.
func (d *difference) cutOwn(t *textTable, refs []byte) (rest []byte, err error) {
	n, v, rest, ok := cutRefs(refs)
	if known := t.pair(uint32(n), uint32(v)); ok && known.is(n, v) {
		d.newLabels = append(d.newLabels, *known)
		return rest, nil
	}
	if !ok || !t.has(n) || !t.has(v) {
		return nil, errDamaged
	}
	d.newLabels = append(d.newLabels, newLabel{name: uint32(n), value: uint32(v), size: t.labelSize(n, v)})
	return rest, nil
}

// size returns the size of all labels.
func (d *difference) size() int64 {
	n := int64(d.begin + d.end)
	for i := range d.newLabels {
		n += int64(d.newLabels[i].size)
	}
	return n
}

// sample is one sample. head is 0 if something else follows the labels.
type sample struct {
	head  uint32 // tag, length, and the tag of the value if there is one: it is left out if it is 0
	value uint64
	time  shortBytes
}

// shortBytes are up to eight bytes, little-endian.
type shortBytes struct {
	word uint64
	n    int
}

const maxShort = 8

func (s *sample) valued() bool { return s.head>>16 != 0 }

func (s *sample) headSize() int {
	if s.valued() {
		return 3
	}
	return 2
}

func (s *sample) size() int {
	switch {
	case s.head == 0:
		return 0
	case s.valued():
		return 3 + 8 + s.time.n
	}
	return 2 + s.time.n
}

// commonBytes returns the number of equal bytes at the begin of two little-endian words.
func commonBytes(a, b uint64) int { return bits.TrailingZeros64(a^b) / 8 }

// cutPlainSeries reads a series that has samples without a start time, no histogram and no exemplar, as nearly all
// have. The samples after the first one are appended to more.
func cutPlainSeries(body []byte, more []sample) (refs []byte, s sample, _ []sample, ok bool) {
	if len(body) == 0 || body[0] != tagLabelRefs {
		return nil, s, more, false
	}
	refs, rest, ok := cutBytes(body[1:])
	if !ok {
		return nil, s, more, false
	}
	if s, rest, ok = cutSample(rest); !ok {
		return nil, s, more, false
	}
	for len(rest) > 0 && rest[0] == tagSample {
		var next sample
		if next, rest, ok = cutSample(rest); !ok {
			return nil, s, more, false
		}
		more = append(more, next)
	}
	if len(rest) > 0 && (len(rest) < 2 || rest[0] != tagMetadata || int(rest[1]) != len(rest)-2) {
		return nil, s, more, false
	}
	return refs, s, more, true
}

// cutSample splits a sample without a start time off the fields of a series.
func cutSample(fields []byte) (s sample, rest []byte, ok bool) {
	if len(fields) < 2 || fields[0] != tagSample || fields[1] >= 0x80 || int(fields[1]) > len(fields)-2 {
		return s, nil, false
	}
	inner, rest := fields[2:2+fields[1]], fields[2+fields[1]:]
	s.head = tagSampleV1 | uint32(fields[1])<<8
	if len(inner) >= 9 && inner[0] == tagSampleValue {
		s.head |= tagSampleValue << 16
		s.value = binary.LittleEndian.Uint64(inner[1:])
		inner = inner[9:]
	}
	// A time is a tag and a varint: all bytes between the first and the last are marked, or a start follows.
	ok = true
	switch n := len(inner); {
	case n == 7: // milliseconds of this and the next centuries
		const marks = 0x8080808080 << 8
		low, high := binary.LittleEndian.Uint32(inner), binary.LittleEndian.Uint32(inner[3:])
		s.time = shortBytes{uint64(low) | uint64(high)<<24, n}
		ok = s.time.word&marks == marks
	case n <= maxShort:
		for i, c := range inner {
			s.time.word |= uint64(c) << (8 * i)
			ok = ok && (c >= 0x80 || i == 0 || i == n-1)
		}
		s.time.n = n
	default:
		return s, nil, false
	}
	return s, rest, ok
}
