package series

import (
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// View reads the table under its lock: valid only inside the function that Read was given.
type View struct{ t *Table }

// Read calls fn with a view of the table. Nothing is added or released meanwhile, so fn must not block on
// anything else, and must not call the table's own methods.
func (t *Table) Read(fn func(View)) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	fn(View{t})
}

// Labels appends the whole label set of a series of a target to dst, sorted by name.
func (v View) Labels(dst []Pair, id ID, target TargetID) []Pair {
	e := &v.t.entries[id]
	own := v.t.pairs.of(e)
	lean := v.t.targets.entries[target].pairs
	text := v.t.text
	for i, p := range lean {
		if i >= maxMasked || e.mask&(1<<i) == 0 {
			continue
		}
		for len(own) > 0 && text[own[0].Name] < text[p.Name] {
			dst, own = append(dst, own[0]), own[1:]
		}
		dst = append(dst, p)
	}
	return append(dst, own...)
}

// String returns the text of a symbol. It may be kept.
func (v View) String(s Symbol) string { return v.t.text[s] }

// Symbols is one more than the highest symbol that any series uses now: the length of an array by symbol.
func (v View) Symbols() int { return len(v.t.text) }

// SymbolGen changes when a symbol's number is given to another string: whoever keeps anything under a symbol
// for longer than one Read without a reference (a request's renumbering, say) must compare it.
func (v View) SymbolGen(s Symbol) uint32 { return v.t.symbols.gen[s] }

// Gen changes when an id is given to another series.
func (v View) Gen(id ID) uint32 { return v.t.entries[id].gen }

// Whole tells that a series kept every label of its target unchanged: then no series of another target can
// be equal to it.
func (v View) Whole(id ID, _ TargetID) bool { return v.t.entries[id].whole }

// Meta returns what the page said of the family of a series.
func (v View) Meta(id ID) (typ model.MetricType, help, unit Symbol) {
	e := &v.t.entries[id]
	return e.typ.model(), e.help, e.unit
}

// TargetLabels returns the public labels of a target. They may be kept.
func (v View) TargetLabels(id TargetID) labels.Labels { return v.t.targets.entries[id].labels }

// TargetHash is a hash of the target's labels, the same in every process.
func (v View) TargetHash(id TargetID) uint64 { return v.t.targets.entries[id].hash }
