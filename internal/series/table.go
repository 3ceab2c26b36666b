package series

import (
	"hash/maphash"
	"slices"
	"sync"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// ID names a series in the table: a final label set, less those labels of the target that survived every
// rule unchanged. Replicas of a workload therefore share ids wherever their pages agree.
type ID uint32

// Meta is what a page says of a metric family.
type Meta struct {
	Type model.MetricType
	Help string
	Unit string
}

// Table holds every series that any target has, and the label sets of the targets. Safe for concurrent use.
//
// Cost a series: 40 bytes of entry, 8 a label that is not the target's, some 24 of map.
type Table struct {
	mu sync.RWMutex // guards the following
	symbols
	pairs   arena
	entries []entry // by ID
	freeIDs []ID
	byHash  map[uint64]ID // to the first of a chain through entry.next
	targets targets
	scratch []Pair

	seed maphash.Seed // immutable after NewTable
}

type entry struct {
	mask       uint64 // bit i: the target's i-th label survived unchanged
	off        uint32
	n          uint32
	typ        metricType
	whole      bool
	refs       int32
	gen        uint32
	help, unit Symbol
	next       ID // 0 ends the chain
}

// NewTable returns an empty table.
func NewTable() *Table {
	return &Table{
		symbols: newSymbols(),
		entries: make([]entry, 1), // id 0 is nothing
		byHash:  map[uint64]ID{},
		seed:    maphash.MakeSeed(),
	}
}

// maxMasked is how many labels of a target the mask can name; further ones are kept with each series.
const maxMasked = 64

// Add returns the id of the series whose labels, after every rule, are final, with one more reference. The
// strings of final and m are copied: they may alias a page. m replaces what an earlier Add said.
func (t *Table) Add(target TargetID, final labels.Labels, m Meta) ID {
	t.mu.Lock()
	defer t.mu.Unlock()

	own, mask, whole := t.split(target, final)
	hash := t.hash(own, mask)
	for id := t.byHash[hash]; id != 0; id = t.entries[id].next {
		e := &t.entries[id]
		if e.mask == mask && e.whole == whole && slices.Equal(t.pairs.of(e), own) {
			e.refs++
			for _, p := range own { // split took references of its own
				t.release(p.Name)
				t.release(p.Value)
			}
			t.setMeta(e, m)
			return id
		}
	}

	var id ID
	if n := len(t.freeIDs); n > 0 {
		id, t.freeIDs = t.freeIDs[n-1], t.freeIDs[:n-1]
	} else {
		id = ID(len(t.entries))
		t.entries = append(t.entries, entry{})
	}
	e := &t.entries[id]
	*e = entry{mask: mask, n: uint32(len(own)), whole: whole, refs: 1, gen: e.gen, next: t.byHash[hash]}
	if len(own) > 0 {
		e.off = t.pairs.put(own)
	}
	t.setMeta(e, m)
	t.byHash[hash] = id
	return id
}

// Release takes one reference from each id. At none an id, and what only it used, is free for reuse.
func (t *Table) Release(ids ...ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range ids {
		e := &t.entries[id]
		if e.refs--; e.refs == 0 {
			t.remove(id, e)
		}
	}
}

func (t *Table) remove(id ID, e *entry) {
	own := t.pairs.of(e)
	t.unchain(id, t.hash(own, e.mask))
	for _, p := range own {
		t.release(p.Name)
		t.release(p.Value)
	}
	t.release(e.help)
	t.release(e.unit)
	t.pairs.release(e.off, int(e.n))
	*e = entry{gen: e.gen + 1}
	t.freeIDs = append(t.freeIDs, id)
}

// of returns the pairs of a series.
func (a *arena) of(e *entry) []Pair {
	if e.n == 0 {
		return nil
	}
	return a.get(e.off, int(e.n))
}

func (t *Table) unchain(id ID, hash uint64) {
	if t.byHash[hash] == id {
		if next := t.entries[id].next; next != 0 {
			t.byHash[hash] = next
		} else {
			delete(t.byHash, hash)
		}
		return
	}
	for at := t.byHash[hash]; at != 0; at = t.entries[at].next {
		if t.entries[at].next == id {
			t.entries[at].next = t.entries[id].next
			return
		}
	}
}

// split divides final into the labels of the target that survived (mask) and the rest, interned with a
// reference each. whole tells that every label of the target survived. own is valid until the next split.
func (t *Table) split(target TargetID, final labels.Labels) (own []Pair, mask uint64, whole bool) {
	own = t.scratch[:0]
	lean := t.targets.entries[target].pairs
	i, kept := 0, 0
	final.Range(func(l labels.Label) {
		for i < len(lean) && t.text[lean[i].Name] < l.Name {
			i++
		}
		if i < len(lean) && i < maxMasked && t.text[lean[i].Name] == l.Name && t.text[lean[i].Value] == l.Value {
			mask |= 1 << i
			kept++
			return
		}
		own = append(own, Pair{t.intern(l.Name), t.intern(l.Value)})
	})
	t.scratch = own
	return own, mask, kept == len(lean)
}

func (t *Table) hash(own []Pair, mask uint64) uint64 {
	var h maphash.Hash
	h.SetSeed(t.seed)
	var buf [8]byte
	put := func(v uint64) {
		for i := range buf {
			buf[i] = byte(v >> (8 * i))
		}
		_, _ = h.Write(buf[:])
	}
	put(mask)
	for _, p := range own {
		put(uint64(p.Name)<<32 | uint64(p.Value))
	}
	return h.Sum64()
}

func (t *Table) setMeta(e *entry, m Meta) {
	e.typ = typeOf(m.Type)
	if t.text[e.help] != m.Help {
		t.release(e.help)
		e.help = t.intern(m.Help)
	}
	if t.text[e.unit] != m.Unit {
		t.release(e.unit)
		e.unit = t.intern(m.Unit)
	}
}

// Len returns how many series live; for metrics.
func (t *Table) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.entries) - 1 - len(t.freeIDs)
}

// SymbolCount returns how many distinct strings live; for metrics.
func (t *Table) SymbolCount() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.text) - len(t.free)
}
