package series

import (
	"hash/maphash"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/internal/hashindex"
)

// Symbol is an interned string.
type Symbol uint32

// Pair is one label of a series.
type Pair struct{ Name, Value Symbol }

// Symbols that are always there.
const (
	SymbolEmpty Symbol = iota // ""
	SymbolName                // "__name__"
	SymbolLe                  // "le"
	firstSymbol = iota
)

// symbols interns strings. Guarded by the table's lock. A string goes with its last reference. Its number is then given
// to another string, under a new generation.
//
// Cost: per distinct string its bytes, 28 bytes of entry and some 7 of index. A mesh has a few thousand strings.
type symbols struct {
	strings slab[interned]
	byText  hashindex.Sharded
	grown   int          // estimated bytes of everything that was ever new in the table; see Table.Grown
	seed    maphash.Seed // immutable
}

// symbolBytes is what a string costs besides its own bytes: entry, generation, index, and rounding by the allocator.
const symbolBytes = 48

// interned is a string and its number of references.
type interned struct {
	text string
	refs uint32
	hash uint32 // bits 31 to 1: of the text; bit 0: invalidBit
}

// invalidBit is set if the text is not valid UTF-8.
const invalidBit = 1

func newSymbols() symbols {
	s := symbols{seed: maphash.MakeSeed()}
	for _, always := range []string{"", model.MetricNameLabel, model.BucketLabel} {
		s.retain(s.symbol(always))
	}
	return s
}

// text returns the string of a symbol.
func (s *symbols) text(sym Symbol) string { return s.strings.at(uint32(sym)).text }

// symbol returns the symbol of a string. A new symbol has no reference yet, so the caller retains it before anything is
// released. The string is copied, so it may alias a page.
func (s *symbols) symbol(str string) Symbol {
	hash := uint32(maphash.String(s.seed, str)) &^ invalidBit
	n, ok := s.byText.Find(uint64(hash), func(n uint32) bool {
		t := s.strings.at(n)
		return t.hash&^invalidBit == hash && t.text == str
	})
	if ok {
		return Symbol(n)
	}
	t := interned{text: strings.Clone(str), hash: hash}
	if !utf8.ValidString(str) {
		t.hash |= invalidBit
	}
	n = s.strings.add(t)
	s.grown += symbolBytes + len(str)
	s.byText.Add(uint64(hash), n, s.hashOf)
	return Symbol(n)
}

func (s *symbols) hashOf(n uint32) uint64 { return uint64(s.strings.at(n).hash &^ invalidBit) }

// intern returns the symbol of a string, with one more reference.
func (s *symbols) intern(str string) Symbol {
	if str == "" {
		return SymbolEmpty
	}
	sym := s.symbol(str)
	s.retain(sym)
	return sym
}

func (s *symbols) retain(sym Symbol) { s.strings.at(uint32(sym)).refs++ }

func (s *symbols) release(sym Symbol) {
	if sym < firstSymbol {
		return
	}
	t := s.strings.at(uint32(sym))
	if t.refs--; t.refs > 0 {
		return
	}
	s.byText.Remove(s.hashOf(uint32(sym)), uint32(sym), s.hashOf)
	s.strings.remove(uint32(sym))
}
