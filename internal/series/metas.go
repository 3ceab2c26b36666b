package series

import "github.com/prometheus/common/model"

// Meta is what a page says of a metric family.
type Meta struct {
	Type model.MetricType
	Help string
	Unit string
}

// MetaID names a Meta that series share: Envoy prints no HELP, so it needs three. 0 is "unknown", always.
type MetaID uint32

// metas interns what pages say of families. Guarded by the table's lock.
type metas struct {
	all  []metaEntry // by MetaID
	byIs map[metaKey]MetaID
	free []MetaID
}

type metaKey struct {
	typ        MetricType
	help, unit Symbol
}

type metaEntry struct {
	metaKey
	refs uint32
	gen  uint32
}

func newMetas() metas {
	return metas{all: []metaEntry{{refs: 1}}, byIs: map[metaKey]MetaID{{}: 0}}
}

// SetMeta makes m what is known of a series, of which the caller holds a reference. The strings of m are copied.
func (t *Table) SetMeta(id ID, m Meta) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.setMeta(t.entries.at(id), m)
}

// setMeta makes m what is known of a series.
func (t *Table) setMeta(e *entry, m Meta) {
	old := &t.metas.all[e.meta]
	if old.typ == TypeOf(m.Type) && t.text[old.help] == m.Help && t.text[old.unit] == m.Unit {
		return
	}
	t.releaseMeta(e.meta)
	e.meta = t.internMeta(metaKey{TypeOf(m.Type), t.intern(m.Help), t.intern(m.Unit)})
}

// internMeta takes over one reference of help and unit.
func (t *Table) internMeta(k metaKey) MetaID {
	ms := &t.metas
	id, ok := ms.byIs[k]
	if ok {
		t.release(k.help)
		t.release(k.unit)
		ms.all[id].refs++
		return id
	}
	if n := len(ms.free); n > 0 {
		id, ms.free = ms.free[n-1], ms.free[:n-1]
	} else {
		id = MetaID(len(ms.all))
		ms.all = append(ms.all, metaEntry{})
	}
	ms.all[id] = metaEntry{metaKey: k, refs: 1, gen: ms.all[id].gen}
	ms.byIs[k] = id
	return id
}

func (t *Table) releaseMeta(id MetaID) {
	if id == 0 {
		return
	}
	ms := &t.metas
	e := &ms.all[id]
	if e.refs--; e.refs > 0 {
		return
	}
	t.release(e.help)
	t.release(e.unit)
	delete(ms.byIs, e.metaKey)
	*e = metaEntry{gen: e.gen + 1}
	ms.free = append(ms.free, id)
}
