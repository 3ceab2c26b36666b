package series

import (
	"encoding/binary"
	"hash/maphash"

	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/internal/hashindex"
)

// mergePlan says where the labels of a target belong among a stem's own labels, so that merging the two compares no
// text. It holds for all targets whose labels have the same names, such as the targets of a job.
//
// For the own labels {code, method, zone} and a target's labels {instance, job}, at is [1 1]: both belong before the
// label with index 1, method. name is 0 and le is 1.
type mergePlan struct {
	names    uint64 // hash of the target's names; 0: no plan, since there are too many labels
	at       [maxPlanned]uint8
	name, le uint8 // where __name__ and le belong in the stem's own labels
}

// maxPlanned is how many labels of a target a plan has room for.
const maxPlanned = 14

// hash returns a hash of a plan. Plans that hold for the same names of a target differ in the other fields.
func (p *mergePlan) hash() uint64 {
	h := mix(p.names, binary.LittleEndian.Uint64(p.at[:8]))
	return mix(mix(h, binary.LittleEndian.Uint64(p.at[maxPlanned-8:])), uint64(p.name)<<8|uint64(p.le))
}

// mergePlans interns plans, since nearly all stems of a job have one of a few. Guarded by the table's lock.
type mergePlans struct {
	all   slab[sharedPlan]
	index hashindex.Sharded
}

type sharedPlan struct {
	mergePlan
	refs uint32
}

func (ps *mergePlans) hashOf(n uint32) uint64 { return ps.all.at(n).hash() }

// intern returns the number of a plan, with one more reference.
func (ps *mergePlans) intern(p mergePlan) uint32 {
	n, ok := ps.index.Find(p.hash(), func(n uint32) bool { return ps.all.at(n).mergePlan == p })
	if !ok {
		n = ps.all.add(sharedPlan{mergePlan: p})
		ps.index.Add(p.hash(), n, ps.hashOf)
	}
	ps.all.at(n).refs++
	return n
}

func (ps *mergePlans) release(n uint32) {
	p := ps.all.at(n)
	if p.refs--; p.refs == 0 {
		ps.index.Remove(p.hash(), n, ps.hashOf)
		ps.all.remove(n)
	}
}

// nameOrder is what a mergePlan needs to know about a target's labels.
type nameOrder struct {
	names    uint64 // hash of their names, never 0
	name, le int    // how many of them sort before __name__ and le
}

func (t *Table) orderOf(pairs []Pair) (o nameOrder) {
	var h maphash.Hash
	h.SetSeed(t.seed)
	for _, p := range pairs {
		text := t.text(p.Name)
		_, _ = h.WriteString(text)
		_ = h.WriteByte(0xff)
		if text < model.MetricNameLabel {
			o.name++
		}
		if text < model.BucketLabel {
			o.le++
		}
	}
	o.names = h.Sum64() | 1
	return o
}

// planMerge makes the plan of a stem for one of its targets.
func (t *Table) planMerge(own []Pair, e *targetEntry) (p mergePlan) {
	if len(own) > 255 || len(e.pairs) > maxPlanned {
		return mergePlan{}
	}
	p.names = e.nameOrder.names
	p.name, p.le = t.before(own, model.MetricNameLabel), t.before(own, model.BucketLabel)
	for i, pair := range e.pairs {
		p.at[i] = t.before(own, t.text(pair.Name))
	}
	return p
}

// before counts the labels whose names sort before text.
func (t *Table) before(own []Pair, text string) (n uint8) {
	for _, p := range own {
		if t.text(p.Name) < text {
			n++
		}
	}
	return n
}
