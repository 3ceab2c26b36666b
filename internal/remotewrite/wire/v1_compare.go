package wire

import (
	"encoding/binary"
	"math/bits"
)

// baseSeries is the series that the next ones are compared with. Positions are those of the plain request.
type baseSeries struct {
	site
	number uint32  // counts the bases of a request
	refs   []byte  // aliases the message
	edges  []edge  // before the first label, and behind each
	ended  []int32 // by offset in refs: how many labels end there or before
}

// end is behind the last label.
func (b *baseSeries) end() edge { return b.edges[len(b.edges)-1] }

// learn makes a series whose labels stand at a position the base.
func (b *baseSeries) learn(t *texts, refs []byte, at int) {
	b.number++
	b.refs, b.edges, b.ended = refs, append(b.edges[:0], edge{}), b.ended[:0]
	var plain int32
	for rest := refs; len(rest) > 0; {
		var known *pair
		known, rest = t.cutKnown(rest)
		known.at = uint32(at + int(plain))
		plain += int32(known.size)
		for len(b.ended) < len(refs)-len(rest) {
			b.ended = append(b.ended, int32(len(b.edges)-1))
		}
		b.edges = append(b.edges, edge{int32(len(refs) - len(rest)), plain})
	}
	b.ended = append(b.ended, int32(len(b.edges)-1))
}

// edge is where a label ends: in the references and in the plain labels.
type edge struct{ refs, plain int32 }

// site is a series that is written already.
type site struct {
	at     uint32 // where it begins
	labels uint32 // where its labels begin
	end    uint32 // and end
	size   uint32 // what its length says
	first  int32  // how many labels it begins with as its base does
	last   int32  // and with which label of its base those begin that it ends with too
	base   uint32 // number of its base
	clock  uint32 // when the time was written that stands right before it

	valueHead uint32 // of its sample
	value     uint64
}

// difference is what a series has of its own, compared with the base: a first label, if skip is 1; then come the
// labels of the base up to first; then the rest of its own; then those of the base from last on.
type difference struct {
	skip, first, last int
	from, begin       int // where in the plain labels what they begin with stands, and how long it is
	end               int // how long what they end with is
	own               []ownLabel
}

func (d *difference) compare(t *texts, refs []byte, b *baseSeries) (err error) {
	d.own = d.own[:0]
	d.skip = 0
	d.first = int(b.ended[commonPrefix(refs, b.refs)])
	rest := refs[b.edges[d.first].refs:]
	if d.first == 0 && len(b.edges) > 1 && len(refs) > 0 {
		if rest, err = d.cutOwn(t, refs); err != nil {
			return err
		}
		first := b.edges[1].refs
		n := commonPrefix(rest, b.refs[first:])
		d.skip, d.first = 1, int(b.ended[int(first)+n])
		rest = rest[b.edges[d.first].refs-first:]
	}
	begin, end := b.edges[d.first], b.end()
	d.last = b.common(rest, begin)
	last := b.edges[d.last]
	d.from = int(b.edges[d.skip].plain)
	d.begin = int(begin.plain) - d.from
	d.end = int(end.plain - last.plain)
	for rest = rest[:len(rest)-int(end.refs-last.refs)]; len(rest) > 0; {
		if rest, err = d.cutOwn(t, rest); err != nil {
			return err
		}
	}
	return nil
}

// common tells with which label those of the base behind begin begin that rest ends with too.
func (b *baseSeries) common(rest []byte, begin edge) (last int) {
	n := commonSuffix(rest, b.refs[begin.refs:])
	from := len(b.refs) - n
	last = int(b.ended[from])
	switch mine := len(rest) - n; {
	case int(b.edges[last].refs) < from:
		return last + 1 // within a label
	case n > 0 && mine > 0 && rest[mine-1] >= 0x80:
		return last + 1 // the label ends as the base's does, and begins otherwise
	}
	return last
}

// cutOwn takes one label off.
func (d *difference) cutOwn(t *texts, refs []byte) (rest []byte, err error) {
	n, v, rest, ok := cutRefs(refs)
	if known := t.pair(uint32(n), uint32(v)); ok && known.is(n, v) {
		d.own = append(d.own, *known)
		return rest, nil
	}
	if !ok || !t.has(n) || !t.has(v) {
		return nil, errDamaged
	}
	d.own = append(d.own, ownLabel{name: uint32(n), value: uint32(v), size: t.labelSize(n, v)})
	return rest, nil
}

// size is that of all labels.
func (d *difference) size() int64 {
	n := int64(d.begin + d.end)
	for i := range d.own {
		n += int64(d.own[i].size)
	}
	return n
}

// sample is one sample. No head: something else follows the labels.
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

// commonBytes tells with how many of eight bytes, little-endian, both begin.
func commonBytes(a, b uint64) int { return bits.TrailingZeros64(a^b) / 8 }

// cutPlainSeries reads a series that has one sample, without a start, and neither histogram nor exemplar, as nearly
// all have.
func cutPlainSeries(body []byte) (refs []byte, s sample, ok bool) {
	if len(body) == 0 || body[0] != tagLabelRefs {
		return nil, s, false
	}
	refs, rest, ok := cutBytes(body[1:])
	if !ok || len(rest) < 2 || rest[0] != tagSample || int(rest[1]) > len(rest)-2 {
		return nil, s, false
	}
	inner, behind := rest[2:2+rest[1]], rest[2+rest[1]:]
	if len(behind) > 0 && (len(behind) < 2 || behind[0] != tagMetadata || int(behind[1]) != len(behind)-2) {
		return nil, s, false
	}
	s.head = tagSampleV1 | uint32(rest[1])<<8
	if len(inner) >= 9 && inner[0] == tagSampleValue {
		s.head |= tagSampleValue << 16
		s.value = binary.LittleEndian.Uint64(inner[1:])
		inner = inner[9:]
	}
	// A time is a tag and a varint: all bytes between the first and the last are marked, or a start follows.
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
		return nil, s, false
	}
	return refs, s, ok
}
