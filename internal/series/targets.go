package series

import (
	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/labels"
)

// TargetID is the number of the label set of a target. Two targets with equal labels have the same TargetID.
type TargetID uint32

// targets interns the public label sets of targets. Guarded by the table's lock.
type targets struct {
	entries []targetEntry // by TargetID
	byHash  map[uint64][]TargetID
	free    []TargetID
}

type targetEntry struct {
	labels labels.Labels
	pairs  []Pair
	hash   uint64
	grown  int // see Table.Grown
	refs   int32
	nameOrder
}

// AddTarget returns the id of the public labels of a target, with one more reference.
func (t *Table) AddTarget(l labels.Labels) TargetID {
	t.lock()
	defer t.unlock()
	ts := &t.targets
	if ts.byHash == nil {
		ts.byHash = map[uint64][]TargetID{}
	}
	hash := stableHash(l)
	for _, id := range ts.byHash[hash] {
		if labels.Equal(ts.entries[id].labels, l) {
			ts.entries[id].refs++
			return id
		}
	}
	var id TargetID
	if n := len(ts.free); n > 0 {
		id, ts.free = ts.free[n-1], ts.free[:n-1]
	} else {
		id = TargetID(len(ts.entries))
		ts.entries = append(ts.entries, targetEntry{})
	}
	e := targetEntry{labels: l.Copy(), hash: hash, refs: 1}
	l.Range(func(l labels.Label) {
		e.pairs = append(e.pairs, Pair{t.intern(l.Name), t.intern(l.Value)})
	})
	e.nameOrder = t.orderOf(e.pairs)
	ts.entries[id] = e
	ts.byHash[hash] = append(ts.byHash[hash], id)
	return id
}

// ReleaseTarget takes one reference from a target's label set. Every series that was added for it must have been
// released before.
func (t *Table) ReleaseTarget(id TargetID) {
	t.lock()
	defer t.unlock()
	ts := &t.targets
	e := &ts.entries[id]
	if e.refs--; e.refs > 0 {
		return
	}
	for _, p := range e.pairs {
		t.release(p.Name)
		t.release(p.Value)
	}
	same := ts.byHash[e.hash]
	for i := range same {
		if same[i] == id {
			same = append(same[:i], same[i+1:]...)
			break
		}
	}
	if ts.byHash[e.hash] = same; len(same) == 0 {
		delete(ts.byHash, e.hash)
	}
	*e = targetEntry{}
	ts.free = append(ts.free, id)
}

// stableHash returns a hash that is the same in every process: lanes and scrape offsets must outlive a restart.
func stableHash(l labels.Labels) uint64 {
	h := xxhash.New()
	l.Range(func(l labels.Label) {
		_, _ = h.WriteString(l.Name)
		_, _ = h.Write([]byte{0xff})
		_, _ = h.WriteString(l.Value)
		_, _ = h.Write([]byte{0xff})
	})
	return h.Sum64()
}
