package series

import (
	"slices"

	"github.com/envoy-scraper/envoy-scraper/internal/hashindex"
)

// StemID is the number of a stem: of a set of labels without the metric's name and le. Envoy prints the same labels
// under hundreds of names, and those of a histogram with twenty bounds each.
type StemID uint32

// stems interns stems. Guarded by the table's lock. A stem goes with its last series.
//
// Cost: per stem 44 bytes, 8 per label that is not the target's, and 7 of index. A page of 2,000 series has about
// seventy.
type stems struct {
	all   slab[stem] // by StemID
	index hashindex.Sharded
	pairs arena
	plans mergePlans
	moved int // runs of pairs that moved so far
}

// stem is a set of labels. For a target with the labels {instance, job}, the stem of
// istio_requests_total{instance="10.0.0.1:15090",response_code="200"}, of which a rule took job, has the mask 0b01 and
// the own label response_code="200". It is not whole.
type stem struct {
	mask  uint64 // bit i: the stem has the target's label i, unchanged
	off   uint32 // offset in pairs of its own labels, sorted by name
	n     uint32 // number of its own labels
	refs  uint32
	hash  uint32 // of mask and its own labels
	plan  uint32 // number of the mergePlan for the target that it was made for
	whole bool   // it has every label of the target
}

// stemLabels is a stem before it has an id.
type stemLabels struct {
	own   []Pair
	mask  uint64
	whole bool
}

func (s *stems) at(id StemID) *stem { return s.all.at(uint32(id)) }

// own returns the labels of a stem that are not the target's. They are valid until a stem is added or removed.
func (s *stems) own(e *stem) []Pair {
	if e.n == 0 {
		return nil
	}
	return s.pairs.get(e.off, int(e.n))
}

// find returns the stem with these labels, without a reference.
func (s *stems) find(l stemLabels) (id StemID, ok bool) {
	n, ok := s.index.Find(uint64(l.hash()), func(n uint32) bool {
		e := s.all.at(n)
		return e.mask == l.mask && e.whole == l.whole && slices.Equal(s.own(e), l.own)
	})
	return StemID(n), ok
}

// add makes a stem without a reference. Its symbols' references become the stem's.
func (s *stems) add(l stemLabels, p mergePlan) StemID {
	hash := l.hash()
	n := s.all.add(stem{mask: l.mask, n: uint32(len(l.own)), whole: l.whole, hash: hash, plan: s.plans.intern(p)})
	if len(l.own) > 0 {
		s.all.at(n).off = s.pairs.put(StemID(n), l.own)
	}
	s.index.Add(uint64(hash), n, s.hashOf)
	return StemID(n)
}

func (s *stems) hashOf(n uint32) uint64 { return uint64(s.all.at(n).hash) }

// remove frees a stem that has no references any more. The caller has released its symbols.
func (s *stems) remove(id StemID) {
	s.index.Remove(s.hashOf(uint32(id)), uint32(id), s.hashOf)
	e := s.at(id)
	if e.n > 0 {
		s.pairs.release(e.off, int(e.n), s.move)
	}
	s.plans.release(e.plan)
	s.all.remove(uint32(id))
}

// move notes where the labels of a stem are now.
func (s *stems) move(id StemID, off uint32) {
	s.at(id).off = off
	s.moved++
}

func (l *stemLabels) hash() uint32 {
	h := l.mask
	for _, p := range l.own {
		h = mix(h, uint64(p.Name)<<32|uint64(p.Value))
	}
	return uint32(h ^ h>>32)
}

// mix adds v to a hash of symbol numbers, which no page can choose.
func mix(h, v uint64) uint64 {
	h = (h ^ v) * 0xff51afd7ed558ccd
	return h ^ h>>29
}
