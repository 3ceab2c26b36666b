package wire

import "slices"

// textTable is the symbols of one request, and where in its plain 1.0 text they and their pairs were written last.
// Owned by a v1Writer or a columnWriterV1.
//
// Cost: 40 bytes per symbol, its text, and 40 KiB. This memory is kept until the owner is freed.
type textTable struct {
	of     []text
	pairs  [1 << pairBits]pair // by hash; a newer one replaces an older one
	values writtenTexts        // each once
}

const pairBits = 10

type text struct {
	text    []byte // aliases the message
	size    uint32 // with the length in front
	asName  uint32 // position of its tag when it was last written as a name; 0: never
	asValue uint32
}

// pair is a label that was written before, and its position and size in the plain text.
type pair struct {
	name, value uint32
	at, size    uint32
}

func (p *pair) is(name, value uint64) bool {
	return uint64(p.name) == name && uint64(p.value) == value && p.at != 0
}

// newLabel is a label to be written. at is 0 if it was not written before, as far as is known.
type newLabel = pair

// forget drops the references to the message.
func (t *textTable) forget() {
	clear(t.of)
	t.of = t.of[:0]
	clear(t.pairs[:])
	t.values.begin()
}

func (t *textTable) add(s []byte) {
	t.of = append(t.of, text{text: s, size: uint32(uvarintSize(uint64(len(s))) + len(s))})
}

// set adds the symbol with a number, unless the table has it.
func (t *textTable) set(n uint32, s []byte) {
	if more := int(n) + 1 - len(t.of); more > 0 {
		t.of = slices.Grow(t.of, more)[:n+1]
	}
	if o := &t.of[n]; o.size == 0 {
		o.text, o.size = s, uint32(shortSize(len(s))+len(s))
	}
}

// complete reports whether the first symbol is the empty string, as it must be.
func (t *textTable) complete() bool { return len(t.of) > 0 && len(t.of[0].text) == 0 }

func (t *textTable) has(ref uint64) bool { return ref < uint64(len(t.of)) }

// cutLabel splits one label off packed references.
func (t *textTable) cutLabel(refs []byte) (name, value *text, rest []byte, err error) {
	n, v, rest, ok := cutRefs(refs)
	if !ok || !t.has(n) || !t.has(v) {
		return nil, nil, nil, errDamaged
	}
	return &t.of[n], &t.of[v], rest, nil
}

// labelSize returns the size of a plain label.
func (t *textTable) labelSize(name, value uint64) uint32 {
	inner := t.innerSize(name, value)
	return 1 + uint32(uvarintSize(uint64(inner))) + inner
}

func (t *textTable) innerSize(name, value uint64) uint32 {
	return 2 + t.of[name].size + t.of[value].size
}

// pair returns the slot of a label.
func (t *textTable) pair(name, value uint32) *pair {
	return &t.pairs[(value*0x9e3779b1^name*0x85ebca77)>>(32-pairBits)]
}

// writeLabel writes one label.
func (t *textTable) writeLabel(p *snappyWriter, o *newLabel) {
	at := p.at
	if o.at != 0 {
		p.repeat(int(o.at), int(o.size))
	} else {
		t.writeNewLabel(p, o)
	}
	known := t.pair(o.name, o.value)
	known.name, known.value, known.at, known.size = o.name, o.value, uint32(at), o.size
}

// writeNewLabel writes a label that was not written before, although its name or its value may have been.
func (t *textTable) writeNewLabel(p *snappyWriter, o *newLabel) {
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
		t.values.write(p, value.text)
	}
	value.asValue = uint32(at)
}

// cutKnown splits one label off references that were read before, and returns its slot.
func (t *textTable) cutKnown(refs []byte) (known *pair, rest []byte) {
	name, value, rest, _ := cutRefs(refs)
	known = t.pair(uint32(name), uint32(value))
	if !known.is(name, value) {
		*known = pair{name: uint32(name), value: uint32(value), size: t.labelSize(name, value)}
	}
	return known, rest
}
