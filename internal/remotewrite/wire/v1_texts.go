package wire

import (
	"bytes"
	"encoding/binary"
)

// texts are the symbols of one request, and where in its plain 1.0 text they and their pairs were written last.
// Owned by an encoderV1: 40 bytes a symbol of the request and its text, which do not shrink before the encoder goes, and 32 KiB.
type texts struct {
	of    []text
	pairs [1 << pairBits]pair // by hash; a newer one takes the place of an older
	said  []byte              // the values written so far, each once
	words [1 << wordBits]word // by hash: where they are; likewise
}

const pairBits = 10

type text struct {
	text    []byte // aliases the message
	size    uint32 // with its length before it
	asName  uint32 // where its tag stands, if it was written as a name; else 0: a request does not begin with labels
	asValue uint32
}

// pair is a label that is written already.
type pair struct {
	name, value uint32
	at, size    uint32
}

func (p *pair) is(name, value uint64) bool {
	return uint64(p.name) == name && uint64(p.value) == value && p.at != 0
}

// ownLabel is a label that is to be written. at 0: for the first time, as far as is known.
type ownLabel = pair

// forget lets go of the message.
func (t *texts) forget() {
	clear(t.of)
	t.of = t.of[:0]
	clear(t.pairs[:])
	t.said = t.said[:0]
	clear(t.words[:])
}

func (t *texts) add(s []byte) {
	t.of = append(t.of, text{text: s, size: uint32(uvarintSize(uint64(len(s))) + len(s))})
}

// complete tells whether the symbols begin as those of a request must.
func (t *texts) complete() bool { return len(t.of) > 0 && len(t.of[0].text) == 0 }

func (t *texts) has(ref uint64) bool { return ref < uint64(len(t.of)) }

// cutLabel takes one label off packed references.
func (t *texts) cutLabel(refs []byte) (name, value *text, rest []byte, err error) {
	n, v, rest, ok := cutRefs(refs)
	if !ok || !t.has(n) || !t.has(v) {
		return nil, nil, nil, errDamaged
	}
	return &t.of[n], &t.of[v], rest, nil
}

// labelSize is the size of a plain label.
func (t *texts) labelSize(name, value uint64) uint32 {
	inner := t.innerSize(name, value)
	return 1 + uint32(uvarintSize(uint64(inner))) + inner
}

func (t *texts) innerSize(name, value uint64) uint32 { return 2 + t.of[name].size + t.of[value].size }

// pair is the place of a label.
func (t *texts) pair(name, value uint32) *pair {
	return &t.pairs[(value*0x9e3779b1^name*0x85ebca77)>>(32-pairBits)]
}

// label writes one label.
func (t *texts) label(p *packer, o *ownLabel) {
	at := p.at
	if o.at != 0 {
		p.repeat(int(o.at), int(o.size))
	} else {
		t.newLabel(p, o)
	}
	known := t.pair(o.name, o.value)
	known.name, known.value, known.at, known.size = o.name, o.value, uint32(at), o.size
}

// newLabel writes a label that was not written before, though its name or its value may have been.
func (t *texts) newLabel(p *packer, o *ownLabel) {
	name, value := &t.of[o.name], &t.of[o.value]
	p.head(tagLabelV1, int(t.innerSize(uint64(o.name), uint64(o.value))))
	at := p.at
	if name.asName != 0 {
		p.repeat(int(name.asName), 1+int(name.size))
	} else {
		p.head(tagLabelNameV1, len(name.text))
		p.literal(name.text)
	}
	name.asName = uint32(at)
	at = p.at
	if value.asValue != 0 && value.size >= minCopy {
		p.repeat(int(value.asValue), 1+int(value.size))
	} else {
		p.head(tagLabelValueV1, len(value.text))
		t.newValue(p, value.text)
	}
	value.asValue = uint32(at)
}

// newValue writes a text that was not written before. Pieces of it often were: hosts, principals and names of metrics
// are made of the same words.
func (t *texts) newValue(p *packer, s []byte) {
	if len(t.said) == 0 {
		t.said = append(t.said, noText) // no word stands at 0
	}
	if bytes.IndexByte(s, noText) >= 0 { // damaged
		p.literal(s)
		return
	}
	first, at := len(t.said), p.at
	t.said = append(append(t.said, s...), noText)
	done := 0 // so much of s is written
	for i := 0; i+wordBytes <= len(s); i++ {
		w := &t.words[hashWord(s[i:])]
		before := *w
		*w = word{uint32(first + i), uint32(at + i)}
		if int(before.said) >= first || !bytes.HasPrefix(t.said[before.said:], s[i:i+wordBytes]) {
			continue
		}
		n := commonPrefix(s[i:], t.said[before.said:first])
		if n < minPiece || p.at-int(before.at) >= farOffset && n < minFarPiece {
			continue
		}
		p.literal(s[done:i])
		p.repeat(int(before.at), n)
		done = i + n
		i = done - 1
	}
	p.literal(s[done:])
}

// word is where four bytes of a text stand: in said and in the plain request.
type word struct{ said, at uint32 }

const (
	wordBits    = 11
	wordBytes   = 4
	minPiece    = 6    // a shorter one saves nothing: a copy takes three bytes, and the literal behind it a tag
	minFarPiece = 9    // from far away it takes five
	noText      = 0xff // between texts: no UTF-8 has it, so no piece reaches over it
)

func hashWord(s []byte) uint32 { return binary.LittleEndian.Uint32(s) * 0x9e3779b1 >> (32 - wordBits) }

// cutKnown takes one label off references that were read before, and returns its place.
func (t *texts) cutKnown(refs []byte) (known *pair, rest []byte) {
	name, value, rest, _ := cutRefs(refs)
	known = t.pair(uint32(name), uint32(value))
	if !known.is(name, value) {
		*known = pair{name: uint32(name), value: uint32(value), size: t.labelSize(name, value)}
	}
	return known, rest
}
