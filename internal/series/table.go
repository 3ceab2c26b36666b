package series

import (
	"sync"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/hashindex"
)

// ID is the number of a series in the table: of its labels without those labels of the target that no rule has changed.
// Replicas of a workload therefore have the same IDs where their pages agree.
type ID uint32

// Table holds the series of all targets, and the label sets of the targets. Safe for concurrent use.
//
// The lock is held for a bounded piece of work at a time: the 500,000 series of a page are retained and released in
// slices. A reference protects its id between slices too.
//
// Cost per series: 24 bytes of entry and some 7 of index, 31 MB per million. The labels are the stem's. The memory of
// released series is used again, and a part of the table that is empty is given back (see slab).
type Table struct {
	mu sync.RWMutex // guards the following
	symbols
	stems   stems
	metas   metas
	entries slab[entry] // by ID
	index   hashindex.Sharded
	targets targets
	scratch []Pair
	work    work
	changes uint64 // see View.Changes

	slices    sync.Pool // of *[]ID, empty: the slices of Retain and Release
	sliceWork int       // immutable after NewTable: work after which Retain and Release let others have the lock
}

// entry is one series: a stem with a name and le. The series
//
//	istio_request_duration_milliseconds_bucket{instance="10.0.0.1:15090",le="5",response_code="200"}
//
// of a target with the label instance is {name: 41, le: 57, stem: 12, meta: 2, refs: 1}, where symbol 41 is the name
// and symbol 57 is "5". Stem 12 has the label response_code="200", and a bit that says: and the target's first label.
type entry struct {
	name, le Symbol // values of the labels __name__ and le; 0: the series has none
	stem     StemID
	meta     MetaID
	refs     int32
}

// NewTable returns an empty table.
func NewTable() *Table {
	return newTable(sliceIDs, sliceWork)
}

func newTable(sliceIDs, sliceWork int) *Table {
	t := &Table{symbols: newSymbols(), metas: newMetas(), sliceWork: sliceWork}
	t.slices.New = func() any {
		slice := make([]ID, 0, sliceIDs)
		return &slice
	}
	t.entries.add(entry{refs: 1}) // id 0 is no series
	return t
}

// The most that new parts of the table cost, with the spare room of indexes and the arena.
const (
	seriesBytes = 40
	stemBytes   = 100
	pairBytes   = 16
)

// Grown returns by how many bytes Add has made the table grow for a target so far, estimated rather too high. Series
// and strings that several targets share count for the first of them. Grown never falls: the difference of two calls is
// the growth between them.
func (t *Table) Grown(target TargetID) int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if int(target) >= len(t.targets.entries) {
		return 0
	}
	return t.targets.entries[target].grown
}

// MaxMasked is for how many labels of a target a mask has bits. Further labels are kept with each stem, so the ids of
// their series are not those of other targets.
const MaxMasked = 64

// Add returns the id of the series whose labels after all rules are final, with one more reference. The strings of
// final and m are copied, so they may alias a page. m replaces the metadata of an earlier Add.
func (t *Table) Add(target TargetID, final labels.Labels, m Meta) ID {
	t.lock()
	defer t.unlock()
	before, changes := t.grown, t.changes
	id := t.add(target, final)
	e := t.entries.at(uint32(id))
	if t.setMeta(e, m); e.refs == 1 {
		t.changes = changes // nobody knows a series that is new
	}
	t.targets.entries[target].grown += t.grown - before
	return id
}

// Ref is an ID with its generation. It says which series was meant without a reference that keeps it.
type Ref struct {
	ID  ID
	gen uint32
}

// Ref returns the Ref of a series of which the caller holds a reference.
func (t *Table) Ref(id ID) Ref {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return Ref{id, t.entries.gen(uint32(id))}
}

// AddAgain is Add for a series that is known by its Ref. It returns false, and does nothing, if the series is gone.
func (t *Table) AddAgain(r Ref, m Meta) bool {
	t.lock()
	defer t.unlock()
	if t.entries.gen(uint32(r.ID)) != r.gen {
		return false
	}
	e := t.entries.at(uint32(r.ID))
	e.refs++
	t.setMeta(e, m)
	return true
}

// Intern is Add for labels that no page has, such as the result of a rule. The metadata of the series stays as it is,
// and Grown does not count it.
func (t *Table) Intern(target TargetID, final labels.Labels) ID {
	t.lock()
	defer t.unlock()
	return t.add(target, final)
}

func (t *Table) add(target TargetID, final labels.Labels) ID {
	shared, name, le := t.split(target, final)
	stem, known := t.stems.find(shared)
	if known {
		n, ok := t.index.Find(hashSeries(name, le, stem), func(n uint32) bool {
			e := t.entries.at(n)
			return e.name == name && e.le == le && e.stem == stem
		})
		if ok {
			t.entries.at(n).refs++
			return ID(n)
		}
	} else {
		for _, p := range shared.own {
			t.retain(p.Name)
			t.retain(p.Value)
		}
		stem = t.stems.add(shared, t.planMerge(shared.own, &t.targets.entries[target]))
		t.grown += stemBytes + pairBytes*len(shared.own)
	}
	t.stems.at(stem).refs++
	t.retain(name)
	t.retain(le)
	return t.addEntry(entry{name: name, le: le, stem: stem, refs: 1})
}

func (t *Table) addEntry(e entry) ID {
	n := t.entries.add(e)
	t.grown += seriesBytes
	t.index.Add(hashSeries(e.name, e.le, e.stem), n, t.hashOf)
	return ID(n)
}

func hashSeries(name, le Symbol, stem StemID) uint64 {
	return mix(mix(uint64(stem), uint64(name)), uint64(le))
}

func (t *Table) hashOf(n uint32) uint64 {
	e := t.entries.at(n)
	return hashSeries(e.name, e.le, e.stem)
}

// split divides final into name, le, the target's labels that no rule has changed (mask), and the rest (own). Its
// symbols have no new reference: the caller retains them before anything is released. own is valid until the next
// split.
func (t *Table) split(target TargetID, final labels.Labels) (l stemLabels, name, le Symbol) {
	l.own = t.scratch[:0]
	pairs := t.targets.entries[target].pairs
	i, kept := 0, 0
	final.Range(func(label labels.Label) {
		for i < len(pairs) && t.text(pairs[i].Name) < label.Name {
			i++
		}
		unchanged := i < len(pairs) && t.text(pairs[i].Name) == label.Name && t.text(pairs[i].Value) == label.Value
		if unchanged {
			kept++
		}
		switch {
		case label.Name == model.MetricNameLabel:
			name = t.symbol(label.Value)
		case label.Name == model.BucketLabel:
			le = t.symbol(label.Value)
		case unchanged && i < MaxMasked:
			l.mask |= 1 << i
		default:
			l.own = append(l.own, Pair{t.symbol(label.Name), t.symbol(label.Value)})
		}
	})
	t.scratch = l.own
	l.whole = kept == len(pairs)
	return l, name, le
}

// Len returns how many series there are; for metrics.
func (t *Table) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.entries.used - 1
}

// SymbolCount returns how many distinct strings there are, without the few that are always there; for metrics.
func (t *Table) SymbolCount() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.strings.used - firstSymbol
}
