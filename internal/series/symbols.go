package series

import (
	"strings"
	"unicode/utf8"

	"github.com/prometheus/common/model"
)

// Symbol is an interned string.
type Symbol uint32

// Symbols that are there always.
const (
	SymbolEmpty Symbol = iota // ""
	SymbolName                // "__name__"
	SymbolLe                  // "le"
	firstSymbol = iota
)

// symbols interns strings. Guarded by the table's lock. A string is released when nothing refers to it any
// more; its number is then given to the next new string, under a new generation.
//
// Cost: per distinct string its bytes, 24 bytes of entry and some 40 of map. A mesh has some thousand.
type symbols struct {
	byText map[string]Symbol
	text   []string
	refs   []uint32
	gen    []uint32 // a multiple of two, and invalidBit
	free   []Symbol
}

// invalidBit in a generation tells that the text is not valid UTF-8.
const invalidBit = 1

func newSymbols() symbols {
	s := symbols{byText: map[string]Symbol{}}
	for _, text := range []string{"", model.MetricNameLabel, model.BucketLabel} {
		s.retain(s.symbol(text))
	}
	return s
}

// symbol returns the symbol of a text. A new one has no reference yet, so the caller retains it before anybody
// could release it. The text is copied: it may alias a page.
func (s *symbols) symbol(text string) Symbol {
	if sym, ok := s.byText[text]; ok {
		return sym
	}
	text = strings.Clone(text)
	var sym Symbol
	if n := len(s.free); n > 0 {
		sym, s.free = s.free[n-1], s.free[:n-1]
		s.text[sym] = text
	} else {
		sym = Symbol(len(s.text))
		s.text, s.refs, s.gen = append(s.text, text), append(s.refs, 0), append(s.gen, 0)
	}
	s.gen[sym] &^= invalidBit
	if !utf8.ValidString(text) {
		s.gen[sym] |= invalidBit
	}
	s.byText[text] = sym
	return sym
}

// intern is symbol with one more reference.
func (s *symbols) intern(text string) Symbol {
	sym := s.symbol(text)
	s.retain(sym)
	return sym
}

func (s *symbols) retain(sym Symbol) { s.refs[sym]++ }

func (s *symbols) release(sym Symbol) {
	if sym < firstSymbol {
		return
	}
	if s.refs[sym]--; s.refs[sym] > 0 {
		return
	}
	delete(s.byText, s.text[sym])
	s.text[sym] = ""
	s.gen[sym] += 2
	s.free = append(s.free, sym)
}
