package series

import (
	"hash/maphash"
	"iter"
	"sync"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/hashindex"
)

// ID names a series in the table: a final label set, less those labels of the target that survived every
// rule unchanged. Replicas of a workload therefore share ids wherever their pages agree.
type ID uint32

// Table holds every series that any target has, and the label sets of the targets. Safe for concurrent use.
//
// Cost a series: 24 bytes of entry and some 7 of index, its labels being its stem's: 31 MB a million. The
// memory of released series is used again, but not given back.
type Table struct {
	mu sync.RWMutex // guards the following
	symbols
	stems   stems
	metas   metas
	entries entries
	freeIDs []ID
	index   hashindex.Index
	targets targets
	scratch []Pair

	seed maphash.Seed // immutable after NewTable
}

// entry is one series: the name and le of a stem. A released one keeps gen only.
type entry struct {
	name, le Symbol // values of the labels __name__ and le; 0: the series has none
	stem     StemID
	meta     MetaID
	refs     int32
	gen      uint32
}

// entries is an array by ID in chunks: growing copies nothing and wastes little.
type entries struct {
	chunks [][]entry
	n      int
}

const (
	entryBits = 10
	entryMask = 1<<entryBits - 1
)

func (e *entries) at(id ID) *entry { return &e.chunks[id>>entryBits][id&entryMask] }

func (e *entries) add() ID {
	if e.n == len(e.chunks)<<entryBits {
		e.chunks = append(e.chunks, make([]entry, 1<<entryBits))
	}
	e.n++
	return ID(e.n - 1)
}

// NewTable returns an empty table.
func NewTable() *Table {
	t := &Table{symbols: newSymbols(), metas: newMetas(), seed: maphash.MakeSeed()}
	t.entries.add() // id 0 is nothing
	return t
}

// maxMasked is how many labels of a target the mask can name; further ones are kept with each stem.
const maxMasked = 64

// Add returns the id of the series whose labels, after every rule, are final, with one more reference. The
// strings of final and m are copied: they may alias a page. m replaces what an earlier Add said.
func (t *Table) Add(target TargetID, final labels.Labels, m Meta) ID {
	t.mu.Lock()
	defer t.mu.Unlock()
	id := t.add(target, final)
	t.setMeta(t.entries.at(id), m)
	return id
}

// Intern is Add for labels that no page has, such as the result of a rule: what is known of the family stays as it is.
func (t *Table) Intern(target TargetID, final labels.Labels) ID {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.add(target, final)
}

func (t *Table) add(target TargetID, final labels.Labels) ID {
	shared, name, le := t.split(target, final)
	stem, known := t.stems.find(shared)
	if known {
		n, ok := t.index.Find(hashSeries(name, le, stem), func(n uint32) bool {
			e := t.entries.at(ID(n))
			return e.name == name && e.le == le && e.stem == stem
		})
		if ok {
			t.entries.at(ID(n)).refs++
			return ID(n)
		}
	} else {
		for _, p := range shared.own {
			t.retain(p.Name)
			t.retain(p.Value)
		}
		stem = t.stems.add(shared, t.plan(shared.own, &t.targets.entries[target]))
	}
	t.stems.all[stem].refs++
	t.retain(name)
	t.retain(le)
	return t.addEntry(entry{name: name, le: le, stem: stem, refs: 1})
}

func (t *Table) addEntry(e entry) ID {
	var id ID
	if n := len(t.freeIDs); n > 0 {
		id, t.freeIDs = t.freeIDs[n-1], t.freeIDs[:n-1]
	} else {
		id = t.entries.add()
	}
	at := t.entries.at(id)
	e.gen = at.gen
	*at = e
	t.index.Add(hashSeries(e.name, e.le, e.stem), uint32(id), t.hashOf)
	return id
}

func hashSeries(name, le Symbol, stem StemID) uint64 {
	return mix(mix(uint64(stem), uint64(name)), uint64(le))
}

func (t *Table) hashOf(n uint32) uint64 {
	e := t.entries.at(ID(n))
	return hashSeries(e.name, e.le, e.stem)
}

// Retain takes one more reference of each id, of which somebody must hold one already.
func (t *Table) Retain(ids iter.Seq[ID]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := range ids {
		t.entries.at(id).refs++
	}
}

// Release takes one reference from each id. At none an id, and what only it used, is free for reuse.
func (t *Table) Release(ids iter.Seq[ID]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := range ids {
		e := t.entries.at(id)
		if e.refs--; e.refs == 0 {
			t.remove(id, e)
		}
	}
}

func (t *Table) remove(id ID, e *entry) {
	t.index.Remove(t.hashOf(uint32(id)), uint32(id), t.hashOf)
	t.release(e.name)
	t.release(e.le)
	t.releaseMeta(e.meta)
	if s := &t.stems.all[e.stem]; s.refs == 1 {
		for _, p := range t.stems.own(e.stem) {
			t.release(p.Name)
			t.release(p.Value)
		}
		t.stems.remove(e.stem)
	} else {
		s.refs--
	}
	*e = entry{gen: e.gen + 1}
	t.freeIDs = append(t.freeIDs, id)
}

// split divides final into name, le, the labels of the target that survived (mask), and the rest. Its symbols
// have no new reference: the caller retains them before anything is released. own is valid until the next
// split.
func (t *Table) split(target TargetID, final labels.Labels) (l stemLabels, name, le Symbol) {
	l.own = t.scratch[:0]
	lean := t.targets.entries[target].pairs
	i, kept := 0, 0
	final.Range(func(label labels.Label) {
		for i < len(lean) && t.text[lean[i].Name] < label.Name {
			i++
		}
		survived := i < len(lean) && t.text[lean[i].Name] == label.Name && t.text[lean[i].Value] == label.Value
		if survived {
			kept++
		}
		switch {
		case label.Name == model.MetricNameLabel:
			name = t.symbol(label.Value)
		case label.Name == model.BucketLabel:
			le = t.symbol(label.Value)
		case survived && i < maxMasked:
			l.mask |= 1 << i
		default:
			l.own = append(l.own, Pair{t.symbol(label.Name), t.symbol(label.Value)})
		}
	})
	t.scratch = l.own
	l.whole = kept == len(lean)
	return l, name, le
}

// Len returns how many series live; for metrics.
func (t *Table) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.entries.n - 1 - len(t.freeIDs)
}

// SymbolCount returns how many distinct strings live, besides the few that always do; for metrics.
func (t *Table) SymbolCount() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.text) - len(t.free) - firstSymbol
}
