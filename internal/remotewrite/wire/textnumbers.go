package wire

import (
	"bytes"
	"hash/maphash"
)

// textNumbers numbers distinct texts from 0, in the order in which they come. The texts must stay as they are until
// the next begin.
type textNumbers struct {
	seed   maphash.Seed
	byHash refTable // of the first texts
	hashed int      // their number
	texts  [][]byte
}

// begin forgets all texts.
func (t *textNumbers) begin() {
	if t.seed == (maphash.Seed{}) {
		t.seed = maphash.MakeSeed()
	}
	t.byHash.begin()
	t.forget()
}

// forget drops the references to the texts.
func (t *textNumbers) forget() {
	clear(t.texts)
	t.texts, t.hashed = t.texts[:0], 0
}

// add gives the next number to a text that is new. Its hash is computed when number is called, if ever.
func (t *textNumbers) add(text []byte) (n uint32) {
	t.texts = append(t.texts, text)
	return uint32(len(t.texts) - 1)
}

// number returns the number of a text. A text that is new gets the next number.
func (t *textNumbers) number(text []byte) (n uint32, isNew bool) {
	t.hashAll()
	key, n, known := t.find(text)
	if known {
		return n, false
	}
	n = t.add(text)
	t.byHash.add(key, n)
	t.hashed++
	return n, true
}

// hashAll computes the hashes that are missing.
func (t *textNumbers) hashAll() {
	for ; t.hashed < len(t.texts); t.hashed++ {
		if key, _, known := t.find(t.texts[t.hashed]); !known {
			t.byHash.add(key, uint32(t.hashed))
		}
	}
}

// find returns the number of a text, or the key under which it may be added.
func (t *textNumbers) find(text []byte) (key uint64, n uint32, known bool) {
	key = maphash.Bytes(t.seed, text)
	for {
		n, known = t.byHash.find(key)
		if !known || bytes.Equal(t.texts[n], text) {
			return key, n, known
		}
		key++ // two texts with one hash
	}
}

// used returns about how much memory the texts need. A table has two slots for each text.
func (t *textNumbers) used() int { return (24 + 2*16) * len(t.texts) }

// size returns how much memory it keeps.
func (t *textNumbers) size() int { return 24*cap(t.texts) + 16*len(t.byHash.slots) }
