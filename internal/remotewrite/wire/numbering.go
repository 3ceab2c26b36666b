package wire

import (
	"math"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// badRef is the reference of a text that must not be sent.
const badRef = math.MaxUint32

// maxKeptTexts is the size up to which the map of texts is kept for the next request.
const maxKeptTexts = 1 << 14

// numbering gives each string of a request a reference: its index in the symbols of the request. 0 is the empty
// string.
type numbering struct {
	request uint32            // the round of known; 0: no request has begun
	known   refTable          // references by symbol of the table and its generation
	texts   map[string]uint32 // references by text; nil if all texts come from the table
	next    uint32            // reference of the next new symbol
	le      uint32            // reference of "le"; 0: the request does not have it yet
	fresh   []byte            // the new symbols, as fields of the request

	external externalRefs
}

// begin starts a request. symbols[0] is the empty string.
func (n *numbering) begin(foreignTexts bool) {
	n.known.begin()
	n.request = n.known.round
	n.next, n.le = 1, 0
	n.fresh = append(n.fresh[:0], tagSymbol, 0)
	switch {
	case !foreignTexts:
		n.texts = nil
	case n.texts == nil || len(n.texts) > maxKeptTexts:
		n.texts = map[string]uint32{}
	default:
		clear(n.texts)
	}
}

// symbol returns the reference of a symbol of the table.
func (n *numbering) symbol(v series.View, s series.Symbol) uint32 {
	key := uint64(v.SymbolGen(s))<<32 | uint64(s)
	if at := n.known.at(key); at.key == key && at.round == n.request { // nearly always
		return at.ref
	}
	if ref, ok := n.known.find(key); ok {
		return ref
	}
	ref := n.newSymbol(v, s)
	n.known.add(key, ref)
	return ref
}

// leKey returns the reference of "le", which every bucket of a histogram has.
func (n *numbering) leKey(v series.View) uint32 {
	if n.le == 0 {
		n.le = n.symbol(v, series.SymbolLe)
	}
	return n.le
}

func (n *numbering) newSymbol(v series.View, s series.Symbol) (ref uint32) {
	switch {
	case s == series.SymbolEmpty:
		return 0
	case n.texts != nil:
		return n.text(v.String(s))
	case v.Valid(s):
		return n.add(v.String(s))
	default:
		return badRef
	}
}

// grown returns a slice of n elements, with room for an eighth more: append would double it, although its index grows
// slowly.
func grown[T any](s []T, n int) []T {
	out := make([]T, n+n/8)
	copy(out, s)
	return out
}

// text returns the reference of a text that need not be in the table.
func (n *numbering) text(t string) uint32 {
	if t == "" {
		return 0
	}
	if ref, ok := n.texts[t]; ok {
		return ref
	}
	ref := uint32(badRef)
	if utf8.ValidString(t) {
		ref = n.add(t)
	}
	if n.texts != nil {
		n.texts[t] = ref
	}
	return ref
}

// add writes a text that the request does not have yet.
func (n *numbering) add(t string) (ref uint32) {
	ref = n.next
	n.next++
	n.fresh = appendBytesField(n.fresh, tagSymbol, t)
	return ref
}

// externalRefs are the references of the external labels in one request.
type externalRefs struct {
	request uint32
	of      *labels.Label // address of the first label
	refs    []externalRef
}

type externalRef struct {
	text        string // name of the label
	name, value uint32
}

func (n *numbering) externals(external []labels.Label) []externalRef {
	if len(external) == 0 {
		return nil
	}
	x := &n.external
	if x.request != n.request || x.of != &external[0] {
		*x = externalRefs{request: n.request, of: &external[0], refs: x.refs[:0]}
		for _, l := range external {
			x.refs = append(x.refs, externalRef{l.Name, n.text(l.Name), n.text(l.Value)})
		}
	}
	return x.refs
}
