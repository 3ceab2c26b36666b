package series

import (
	"slices"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// View reads the table under its lock. It is valid only inside the function given to Read.
type View struct{ t *Table }

// Read calls fn with a view of the table. Nothing is added or released meanwhile, except in Pause. fn must not take a
// lock under which another goroutine may wait for the table, and must not call methods of the table.
func (t *Table) Read(fn func(View)) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	fn(View{t})
}

// Parts are the parts of a series.
type Parts struct {
	Name, Le Symbol // values of its labels __name__ and le; 0: none
	Stem     StemID
	Meta     MetaID
}

// Parts returns the parts of a series.
func (v View) Parts(id ID) Parts {
	e := v.t.entries.at(uint32(id))
	return Parts{e.name, e.le, e.stem, e.meta}
}

// GenAndMeta returns Gen of a series and the ID of its metadata, which changes when a page gives it other metadata.
func (v View) GenAndMeta(id ID) (gen uint32, meta MetaID) {
	gen, e := v.t.entries.both(uint32(id))
	return gen, e.meta
}

// Changes counts what may give an id another meaning: series that were removed, whose ids are free for reuse, and
// series that got other metadata. While it stays the same, ids of which someone holds references mean what they meant.
func (v View) Changes() uint64 { return v.t.changes }

// Labels appends the whole label set of a series of a target to dst, sorted by name.
func (v View) Labels(dst []Pair, id ID, target TargetID) []Pair {
	e := v.t.entries.at(uint32(id))
	dst, name, le := v.StemLabels(dst, e.stem, target)
	if e.le != 0 {
		dst = slices.Insert(dst, le, Pair{SymbolLe, e.le})
	}
	if e.name != 0 {
		dst = slices.Insert(dst, name, Pair{SymbolName, e.name})
	}
	return dst
}

// StemLabels appends the labels that the series of a stem have in a target, sorted by name: all labels except __name__
// and le. Those belong before out[name] and out[le].
func (v View) StemLabels(dst []Pair, id StemID, target TargetID) (out []Pair, name, le int) {
	s := v.t.stems.at(id)
	own, e := v.t.stems.own(s), &v.t.targets.entries[target]
	plan := &v.t.stems.plans.all.at(s.plan).mergePlan
	if plan.names != e.names {
		of := v.t.planMerge(own, e)
		if plan = &of; plan.names == 0 {
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
		if i < e.nameOrder.name {
			name++
		}
		if i < e.nameOrder.le {
			le++
		}
	}
	return append(dst, own[from:]...), name, le
}

// OwnLabels returns the labels of a stem that are not the target's, sorted by name, and a mask: bit i is set if the
// series also have the label i of their target (TargetPairs), unchanged. The slice is valid until Pause, or until fn of
// Read returns.
func (v View) OwnLabels(id StemID) (own []Pair, target uint64) {
	s := v.t.stems.at(id)
	return v.t.stems.own(s), s.mask
}

// TargetPairs returns the labels of a target, sorted by name. They stay the same while the target has a reference.
func (v View) TargetPairs(id TargetID) []Pair { return v.t.targets.entries[id].pairs }

// Symbols returns the length that an array by Symbol needs.
func (v View) Symbols() int { return v.t.strings.size() }

// Stems returns the length that an array by StemID needs.
func (v View) Stems() int { return v.t.stems.all.size() }

// mergeByName is StemLabels for more labels than a plan has room for.
func (v View) mergeByName(dst, own []Pair, mask uint64, pairs []Pair) (out []Pair, name, le int) {
	first := len(dst)
	text := v.t.text
	for i, p := range pairs {
		if i >= MaxMasked || mask&(1<<i) == 0 {
			continue
		}
		for len(own) > 0 && text(own[0].Name) < text(p.Name) {
			dst, own = append(dst, own[0]), own[1:]
		}
		dst = append(dst, p)
	}
	dst = append(dst, own...)
	position := func(label string) int {
		n := first
		for n < len(dst) && text(dst[n].Name) < label {
			n++
		}
		return n
	}
	return dst, position(model.MetricNameLabel), position(model.BucketLabel)
}

// String returns the text of a symbol. The caller may keep it.
func (v View) String(s Symbol) string { return v.t.text(s) }

// SymbolGen returns the generation of a symbol, which changes when the number is given to another string. Code
// that keeps data under a symbol for longer than one Read, without a reference, must compare it.
func (v View) SymbolGen(s Symbol) uint32 { return v.t.strings.gen(uint32(s)) }

// Valid reports whether the text of a symbol is valid UTF-8.
func (v View) Valid(s Symbol) bool { return v.t.strings.at(uint32(s)).hash&invalidBit == 0 }

// Metas returns the length that an array by MetaID needs.
func (v View) Metas() int { return v.t.metas.all.size() }

// MetaGen returns the generation of a MetaID.
func (v View) MetaGen(id MetaID) uint32 { return v.t.metas.all.gen(uint32(id)) }

// Gen returns the generation of an ID, which changes when the number is given to another series.
func (v View) Gen(id ID) uint32 { return v.t.entries.gen(uint32(id)) }

// Whole reports whether the series of a stem have every label of their target, unchanged. Then no series of another
// target can have the same labels.
func (v View) Whole(id StemID) bool { return v.t.stems.at(id).whole }

// Meta returns the metadata of a family.
func (v View) Meta(id MetaID) (typ model.MetricType, help, unit Symbol) {
	m := v.t.metas.at(id)
	return m.typ.Model(), m.help, m.unit
}

// TargetLabels returns the public labels of a target. The caller may keep them.
func (v View) TargetLabels(id TargetID) labels.Labels { return v.t.targets.entries[id].labels }

// TargetHash returns a hash of the target's labels, the same in every process.
func (v View) TargetHash(id TargetID) uint64 { return v.t.targets.entries[id].hash }

// Pause lets others write to the table and returns when the view can be read again. Afterwards only those series are
// sure to be the same of which the caller holds a reference.
func (v View) Pause() {
	v.t.mu.RUnlock()
	v.t.mu.RLock()
}

// EachFamily calls fn for every name of a series with its metadata, each pair once, in no order. Series without
// metadata are left out. fn is called without the lock, which is held for one part of the series at a time: a series
// that is added meanwhile may be missing.
func (t *Table) EachFamily(fn func(name string, typ model.MetricType, help, unit string)) {
	// A family is a name and a MetaID with their generations: numbers may be given away between two parts.
	type family struct{ name, nameGen, meta, metaGen uint32 }
	type texts struct {
		name, help, unit string
		typ              model.MetricType
	}
	seen := map[family]struct{}{}
	var fresh []texts
	for i, more := 0, true; more; i++ {
		t.Read(func(v View) {
			if more = i < len(t.entries.chunks); !more {
				return
			}
			t.entries.each(i, func(_ uint32, e *entry) {
				f := family{uint32(e.name), v.SymbolGen(e.name), uint32(e.meta), v.MetaGen(e.meta)}
				if _, known := seen[f]; known || e.meta == 0 {
					return
				}
				seen[f] = struct{}{}
				typ, help, unit := v.Meta(e.meta)
				fresh = append(fresh, texts{v.String(e.name), v.String(help), v.String(unit), typ})
			})
		})
		for _, f := range fresh {
			fn(f.name, f.typ, f.help, f.unit)
		}
		fresh = fresh[:0]
	}
}
