package series

import (
	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/internal/hashindex"
)

// Meta is the metadata of a metric family, as a page prints it.
type Meta struct {
	Type model.MetricType
	Help string
	Unit string
}

// MetaID is the number of a Meta, which series share. Envoy prints no HELP, so its pages have three: counter, gauge and
// histogram. 0 is always "unknown".
type MetaID uint32

// metas interns the metadata of families. Guarded by the table's lock.
type metas struct {
	all   slab[metaEntry] // by MetaID
	index hashindex.Sharded
}

type metaKey struct {
	typ        MetricType
	help, unit Symbol
}

type metaEntry struct {
	metaKey
	refs uint32
}

func newMetas() (ms metas) {
	ms.all.add(metaEntry{refs: 1}) // 0 is "unknown"
	return ms
}

func (ms *metas) at(id MetaID) *metaEntry { return ms.all.at(uint32(id)) }

func (ms *metas) hashOf(n uint32) uint64 { return ms.all.at(n).hash() }

func (k *metaKey) hash() uint64 {
	return mix(mix(uint64(k.typ), uint64(k.help)), uint64(k.unit))
}

// SetMeta replaces the metadata of a series, of which the caller holds a reference. The strings of m are copied.
func (t *Table) SetMeta(id ID, m Meta) {
	t.lock()
	defer t.unlock()
	t.setMeta(t.entries.at(uint32(id)), m)
}

func (t *Table) setMeta(e *entry, m Meta) {
	old := t.metas.at(e.meta)
	if old.typ == TypeOf(m.Type) && t.text(old.help) == m.Help && t.text(old.unit) == m.Unit {
		return
	}
	t.changes++
	t.releaseMeta(e.meta)
	e.meta = t.internMeta(metaKey{TypeOf(m.Type), t.intern(m.Help), t.intern(m.Unit)})
}

// internMeta returns the number of k, with one more reference. It takes over one reference of k.help and k.unit.
func (t *Table) internMeta(k metaKey) MetaID {
	if k == (metaKey{}) {
		return 0
	}
	ms := &t.metas
	n, ok := ms.index.Find(k.hash(), func(n uint32) bool { return ms.all.at(n).metaKey == k })
	if ok {
		t.release(k.help)
		t.release(k.unit)
		ms.all.at(n).refs++
		return MetaID(n)
	}
	n = ms.all.add(metaEntry{metaKey: k, refs: 1})
	ms.index.Add(k.hash(), n, ms.hashOf)
	return MetaID(n)
}

func (t *Table) releaseMeta(id MetaID) {
	if id == 0 {
		return
	}
	ms := &t.metas
	e := ms.at(id)
	if e.refs--; e.refs > 0 {
		return
	}
	ms.index.Remove(e.hash(), uint32(id), ms.hashOf)
	t.release(e.help)
	t.release(e.unit)
	ms.all.remove(uint32(id))
}
