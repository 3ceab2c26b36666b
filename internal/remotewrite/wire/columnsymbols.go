package wire

import "bytes"

// columnSymbols gives the symbols of layouts their numbers in the present message. Replicas have nearly the same
// symbols in the same order, so a symbol is compared with that of the layout before at the same place. Any other one
// is looked up.
type columnSymbols struct {
	known  []uint32 // number by reference to the present layout; 0: not known, or the empty string
	before []uint32 // by reference to the layout before
	text   []byte   // the symbols of the present layout, as fields
	texts  []uint32 // where each of them begins and ends in text: 2 entries by reference

	whole   snappyBlock // the symbols of the layout with which the message begins, if they are sent as they are
	first   []byte      // these symbols, as fields
	firsts  []uint32    // where each of them is in first, as in texts
	isFirst bool        // they are still in text
	group   textNumbers // of the message; without the symbols of whole as long as no other layout has come
	fresh   []byte      // the symbols after whole, as fields
}

// beginMessage begins a message.
func (s *columnSymbols) beginMessage() {
	s.whole, s.isFirst, s.fresh = snappyBlock{}, false, s.fresh[:0]
	s.first, s.firsts = s.first[:0], s.firsts[:0]
	s.group.begin()
	s.known, s.before = s.known[:0], s.before[:0]
}

// read reads the symbols of the next layout, which has n of them.
func (s *columnSymbols) read(packed snappyBlock, n uint64) error {
	if s.isFirst {
		s.isFirst = false
		s.first, s.text = s.text, s.first
		s.firsts, s.texts = s.texts, s.firsts
	}
	if cap(s.text) < packed.plain {
		s.text = make([]byte, 0, packed.plain+packed.plain/4)
	}
	text, err := packed.unpack(s.text[:0])
	if err != nil {
		return err
	}
	s.text = s.text[:len(text)] // with all its room
	s.texts = s.texts[:0]
	for at := 0; at < len(s.text); {
		text, rest, ok := cutBytes(s.text[at+1:])
		if !ok || s.text[at] != tagSymbol {
			return errDamaged
		}
		at = len(s.text) - len(rest)
		s.texts = append(s.texts, uint32(at-len(text)), uint32(at))
	}
	if uint64(len(s.texts)) != 2*n || s.texts[0] != s.texts[1] {
		return errDamaged
	}
	return nil
}

// beginPacked sends the symbols of the layout that was read as they are. The message has no other symbols yet.
func (s *columnSymbols) beginPacked(whole snappyBlock) {
	s.whole = whole
	s.next()
	for i := range s.known {
		s.known[i] = uint32(i)
	}
	s.isFirst = true
}

// begin gives the symbols of the layout that was read numbers when they are needed.
func (s *columnSymbols) begin() {
	switch {
	case len(s.group.texts) > 0:
	case s.whole.whole == nil:
		s.group.number(nil)
		s.fresh = append(s.fresh, tagSymbol, 0)
	default:
		for i := 0; i < len(s.firsts); i += 2 {
			s.group.add(s.first[s.firsts[i]:s.firsts[i+1]])
		}
	}
	s.next()
	clear(s.known)
}

// next makes the layout that was read the present one.
func (s *columnSymbols) next() {
	s.known, s.before = s.before, s.known
	n := len(s.texts) / 2
	if cap(s.known) < n {
		s.known = make([]uint32, n+n/4)
	}
	s.known = s.known[:n]
}

// number returns the number of a symbol of the present layout.
func (s *columnSymbols) number(ref uint32) uint32 {
	if n := s.known[ref]; n != 0 {
		return n
	}
	return s.newNumber(ref)
}

func (s *columnSymbols) newNumber(ref uint32) (n uint32) {
	if ref == 0 {
		return 0
	}
	text := s.textOf(ref)
	if int(ref) < len(s.before) {
		if n = s.before[ref]; n != 0 && bytes.Equal(s.group.texts[n], text) {
			s.known[ref] = n
			return n
		}
	}
	n, isNew := s.group.number(text)
	if isNew {
		s.fresh = appendBytesField(s.fresh, tagSymbol, text)
		s.group.texts[n] = s.fresh[len(s.fresh)-len(text):] // text is overwritten by the next layout
	}
	s.known[ref] = n
	return n
}

// textOf returns a symbol of the present layout.
func (s *columnSymbols) textOf(ref uint32) []byte { return s.text[s.texts[2*ref]:s.texts[2*ref+1]] }

// keptText is textOf for a symbol with a number, as a text that stays as it is until the message ends.
func (s *columnSymbols) keptText(ref, number uint32) []byte {
	if s.isFirst {
		return s.textOf(ref)
	}
	return s.group.texts[number]
}

// fieldSize returns the size of a symbol of the present layout with its length in front.
func (s *columnSymbols) fieldSize(ref uint32) int {
	n := int(s.texts[2*ref+1] - s.texts[2*ref])
	return shortSize(n) + n
}

// size returns the size of the symbols of the message.
func (s *columnSymbols) size() int { return s.whole.plain + len(s.fresh) }

// used returns about how much memory the symbols of the message need.
func (s *columnSymbols) used() int {
	return len(s.text) + len(s.first) + len(s.fresh) + 4*(len(s.known)+len(s.before)+len(s.texts)+len(s.firsts)) +
		s.group.used()
}

// kept returns how much memory is kept.
func (s *columnSymbols) kept() int {
	return cap(s.text) + cap(s.first) + cap(s.fresh) + 4*(cap(s.known)+cap(s.before)+cap(s.texts)+cap(s.firsts)) +
		s.group.size()
}
