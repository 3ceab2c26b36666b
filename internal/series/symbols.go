package series

import "strings"

// Symbol is an interned string. 0 is the empty string, always.
type Symbol uint32

// symbols interns strings. Guarded by the table's lock. A string is released when nothing refers to it any
// more; its number is then given to the next new string, under a new generation.
//
// Cost: per distinct string its bytes, 28 bytes of entry and some 40 of map.
type symbols struct {
	byText map[string]Symbol
	text   []string
	refs   []uint32
	gen    []uint32
	free   []Symbol
}

func newSymbols() symbols {
	return symbols{byText: map[string]Symbol{"": 0}, text: []string{""}, refs: []uint32{1}, gen: []uint32{0}}
}

// intern returns the symbol of s with one more reference. s is copied: it may alias a page.
func (s *symbols) intern(text string) Symbol {
	if text == "" {
		return 0
	}
	if sym, ok := s.byText[text]; ok {
		s.refs[sym]++
		return sym
	}
	text = strings.Clone(text)
	var sym Symbol
	if n := len(s.free); n > 0 {
		sym, s.free = s.free[n-1], s.free[:n-1]
		s.text[sym], s.refs[sym] = text, 1
	} else {
		sym = Symbol(len(s.text))
		s.text, s.refs, s.gen = append(s.text, text), append(s.refs, 1), append(s.gen, 0)
	}
	s.byText[text] = sym
	return sym
}

func (s *symbols) release(sym Symbol) {
	if sym == 0 {
		return
	}
	if s.refs[sym]--; s.refs[sym] > 0 {
		return
	}
	delete(s.byText, s.text[sym])
	s.text[sym] = ""
	s.gen[sym]++
	s.free = append(s.free, sym)
}
