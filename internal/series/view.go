package series

import (
	"slices"

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
	dst, name, le := v.StemLabels(dst, e.stem, target)
	if e.le != 0 {
		dst = slices.Insert(dst, le, Pair{SymbolLe, e.le})
	}
	if e.name != 0 {
		dst = slices.Insert(dst, name, Pair{SymbolName, e.name})
	}
	return dst
}

// StemLabels appends what the series of a stem share in a target, sorted by name: all labels but __name__ and
// le. Those belong before out[name] and out[le].
func (v View) StemLabels(dst []Pair, id StemID, target TargetID) (out []Pair, name, le int) {
	s := &v.t.stems.all[id]
	own, e := v.t.stems.own(id), &v.t.targets.entries[target]
	plan := s.plan
	if plan.names != e.names {
		if plan = v.t.plan(own, e); plan.names == 0 {
			return v.mergeByName(dst, own, s.mask, e.pairs)
		}
	}
	from := 0
	name, le = len(dst)+int(plan.name), len(dst)+int(plan.le)
	for i, p := range e.pairs {
		if s.mask&(1<<i) == 0 {
			continue
		}
		to := int(plan.at[i])
		dst = append(append(dst, own[from:to]...), p)
		from = to
		if i < e.leaning.name {
			name++
		}
		if i < e.leaning.le {
			le++
		}
	}
	return append(dst, own[from:]...), name, le
}

// mergeByName is StemLabels for more labels than a plan has room for.
func (v View) mergeByName(dst, own []Pair, mask uint64, lean []Pair) (out []Pair, name, le int) {
	first := len(dst)
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
	dst = append(dst, own...)
	position := func(label string) int {
		n := first
		for n < len(dst) && text[dst[n].Name] < label {
			n++
		}
		return n
	}
	return dst, position(model.MetricNameLabel), position(model.BucketLabel)
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

// Valid tells that the text of a symbol is valid UTF-8.
func (v View) Valid(s Symbol) bool { return v.t.symbols.gen[s]&invalidBit == 0 }

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
	return m.typ.Model(), m.help, m.unit
}

// TargetLabels returns the public labels of a target. They may be kept.
func (v View) TargetLabels(id TargetID) labels.Labels { return v.t.targets.entries[id].labels }

// TargetHash is a hash of the target's labels, the same in every process.
func (v View) TargetHash(id TargetID) uint64 { return v.t.targets.entries[id].hash }

// EachFamily calls fn for the name of every series and what is known of its family, each pair of them once, in no
// order. What nothing is known of is left out.
func (v View) EachFamily(fn func(name Symbol, meta MetaID)) {
	type family struct {
		name Symbol
		meta MetaID
	}
	seen := map[family]struct{}{}
	for id := 1; id < v.t.entries.n; id++ {
		e := v.t.entries.at(ID(id))
		if e.refs == 0 || e.meta == 0 {
			continue
		}
		f := family{e.name, e.meta}
		if _, ok := seen[f]; !ok {
			seen[f] = struct{}{}
			fn(f.name, f.meta)
		}
	}
}
