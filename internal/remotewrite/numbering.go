package remotewrite

import (
	"math"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// badRef stands for a text that must not be sent.
const badRef = math.MaxUint32

// numbering gives the symbols of a request their references. Symbols of the table are renumbered through an array
// that is not cleared between requests: an entry counts only if it carries the number of this request.
type numbering struct {
	request uint32            // counts requests; 0: none begun
	known   []knownSymbol     // by series.Symbol
	texts   map[string]uint32 // every text of the request; nil while all texts come from the table
	next    uint32            // reference of the next new symbol
	fresh   []byte            // the new symbols, as fields of the request

	external externalRefs
}

// knownSymbol is the reference of a symbol in a request, under a generation: both must be the current ones.
type knownSymbol struct{ request, gen, ref uint32 }

// begin starts a request. symbols[0] is the empty string.
func (n *numbering) begin(foreignTexts bool) {
	if n.request++; n.request == 0 { // after 2^32 requests old entries would count again
		clear(n.known)
		n.request = 1
	}
	n.next = 1
	n.fresh = append(n.fresh[:0], tagSymbol, 0)
	switch {
	case !foreignTexts:
		n.texts = nil
	case n.texts == nil:
		n.texts = map[string]uint32{}
	default:
		clear(n.texts)
	}
}

// symbol returns the reference of a symbol of the table.
func (n *numbering) symbol(v series.View, s series.Symbol) uint32 {
	if int(s) < len(n.known) {
		if k := &n.known[s]; k.request == n.request && k.gen == v.SymbolGen(s) {
			return k.ref
		}
	}
	return n.newSymbol(v, s)
}

func (n *numbering) newSymbol(v series.View, s series.Symbol) uint32 {
	if int(s) >= len(n.known) {
		n.known = grown(n.known, v.Symbols())
	}
	ref := uint32(0)
	switch {
	case s == series.SymbolEmpty:
	case n.texts != nil:
		ref = n.text(v.String(s))
	case v.Valid(s):
		ref = n.add(v.String(s))
	default:
		ref = badRef
	}
	n.known[s] = knownSymbol{n.request, v.SymbolGen(s), ref}
	return ref
}

// grown returns a slice of at least n, with an eighth to spare: what it is indexed by grows slowly, and append would
// double it.
func grown[T any](s []T, n int) []T {
	out := make([]T, n+n/8)
	copy(out, s)
	return out
}

// text returns the reference of a text from anywhere.
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
	of      *labels.Label // the first of the labels
	refs    []externalRef
}

type externalRef struct {
	text        string // of the name
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
