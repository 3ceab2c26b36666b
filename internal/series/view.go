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

// Parts are what a series is made of.
type Parts struct {
	Name, Le Symbol // values of its labels __name__ and le; 0: it has none
	Stem     StemID
	Meta     MetaID
}

// Parts takes a series apart.
func (v View) Parts(id ID) Parts {
	e := v.t.entries.at(id)
	return Parts{e.name, e.le, e.stem, e.meta}
}

// Labels appends the whole label set of a series of a target to dst, sorted by name.
func (v View) Labels(dst []Pair, id ID, target TargetID) []Pair {
	e := v.t.entries.at(id)
	first := len(dst)
	dst = v.StemLabels(dst, e.stem, target)
	if e.name != 0 {
		dst = v.insert(dst, first, Pair{SymbolName, e.name})
	}
	if e.le != 0 {
		dst = v.insert(dst, first, Pair{SymbolLe, e.le})
	}
	return dst
}

// insert puts a label where it belongs among dst[first:].
func (v View) insert(dst []Pair, first int, p Pair) []Pair {
	at := len(dst)
	dst = append(dst, p)
	for ; at > first && v.String(dst[at-1].Name) > v.String(p.Name); at-- {
		dst[at] = dst[at-1]
	}
	dst[at] = p
	return dst
}

// StemLabels appends what the series of a stem share in a target, sorted by name: all labels but __name__ and
// le.
func (v View) StemLabels(dst []Pair, id StemID, target TargetID) []Pair {
	own := v.t.stems.own(id)
	mask := v.t.stems.all[id].mask
	lean := v.t.targets.entries[target].pairs
	text := v.t.text
	for i, p := range lean {
		if i >= maxMasked || mask&(1<<i) == 0 {
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

// Stems and Metas are the lengths of arrays by StemID and MetaID.
func (v View) Stems() int { return len(v.t.stems.all) }

// Metas is the length of an array by MetaID.
func (v View) Metas() int { return len(v.t.metas.all) }

// SymbolGen changes when a symbol's number is given to another string: whoever keeps anything under a symbol
// for longer than one Read without a reference (a request's renumbering, say) must compare it.
func (v View) SymbolGen(s Symbol) uint32 { return v.t.symbols.gen[s] }

// MetaGen is SymbolGen for what is known of families.
func (v View) MetaGen(id MetaID) uint32 { return v.t.metas.all[id].gen }

// Gen changes when an id is given to another series.
func (v View) Gen(id ID) uint32 { return v.t.entries.at(id).gen }

// Whole tells that the series of a stem kept every label of their target unchanged: then no series of another
// target can be equal to one of them.
func (v View) Whole(id StemID) bool { return v.t.stems.all[id].whole }

// Meta returns what the page said of a family.
func (v View) Meta(id MetaID) (typ model.MetricType, help, unit Symbol) {
	m := &v.t.metas.all[id]
	return m.typ.model(), m.help, m.unit
}

// TargetLabels returns the public labels of a target. They may be kept.
func (v View) TargetLabels(id TargetID) labels.Labels { return v.t.targets.entries[id].labels }

// TargetHash is a hash of the target's labels, the same in every process.
func (v View) TargetHash(id TargetID) uint64 { return v.t.targets.entries[id].hash }
