package wire

import (
	"bytes"
	"hash/maphash"
)

// textNumbers numbers distinct texts from 0, in the order in which they come. The texts must stay as they are until
// the next begin.
type textNumbers struct {
	seed   maphash.Seed
	byHash refTable
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
	t.texts = t.texts[:0]
}

// number returns the number of a text. A text that is new gets the next number.
func (t *textNumbers) number(text []byte) (n uint32, isNew bool) {
	key := maphash.Bytes(t.seed, text)
	for {
		n, known := t.byHash.find(key)
		switch {
		case !known:
			n = uint32(len(t.texts))
			t.byHash.add(key, n)
			t.texts = append(t.texts, text)
			return n, true
		case bytes.Equal(t.texts[n], text):
			return n, false
		}
		key++ // two texts with one hash
	}
}

// size returns how much memory it keeps.
func (t *textNumbers) size() int { return 24*cap(t.texts) + 16*len(t.byHash.slots) }
