package series

import (
	"slices"

	"github.com/envoy-scraper/envoy-scraper/internal/hashindex"
)

// StemID names a stem: what the series of one set of labels share, all but the metric's name and le. Envoy
// prints the same labels under hundreds of names, and a histogram's under twenty bounds each.
type StemID uint32

// stems interns stems. Guarded by the table's lock. A stem goes when its last series goes.
//
// Cost: a stem 56 bytes, 8 a label that is not the target's, 6 of index. Some seventy on a page of 2,000 series.
type stems struct {
	all   []stem // by StemID
	free  []StemID
	index hashindex.Index
	pairs arena
}

type stem struct {
	mask  uint64 // bit i: the target's i-th label survived unchanged
	off   uint32 // of its own labels in pairs, sorted by name
	n     uint32
	refs  uint32
	gen   uint32
	whole bool // every label of the target survived
	plan  plan // for the target that it was made for
}

// stemLabels is a stem before it has an id.
type stemLabels struct {
	own   []Pair
	mask  uint64
	whole bool
}

func (s *stems) own(id StemID) []Pair {
	e := &s.all[id]
	if e.n == 0 {
		return nil
	}
	return s.pairs.get(e.off, int(e.n))
}

// find returns the stem with these labels, without a reference.
func (s *stems) find(l stemLabels) (id StemID, ok bool) {
	n, ok := s.index.Find(hashStem(l.own, l.mask), func(n uint32) bool {
		e := &s.all[n]
		return e.mask == l.mask && e.whole == l.whole && slices.Equal(s.own(StemID(n)), l.own)
	})
	return StemID(n), ok
}

// add makes a stem without a reference. Its symbols' references become the stem's.
func (s *stems) add(l stemLabels, p plan) StemID {
	var id StemID
	if n := len(s.free); n > 0 {
		id, s.free = s.free[n-1], s.free[:n-1]
	} else {
		id = StemID(len(s.all))
		s.all = append(s.all, stem{})
	}
	e := &s.all[id]
	*e = stem{mask: l.mask, n: uint32(len(l.own)), whole: l.whole, gen: e.gen, plan: p}
	if len(l.own) > 0 {
		e.off = s.pairs.put(l.own)
	}
	s.index.Add(hashStem(l.own, l.mask), uint32(id), s.hashOf)
	return id
}

func (s *stems) hashOf(n uint32) uint64 { return hashStem(s.own(StemID(n)), s.all[n].mask) }

// remove frees a stem whose references are gone. The caller has released its symbols.
func (s *stems) remove(id StemID) {
	e := &s.all[id]
	s.index.Remove(s.hashOf(uint32(id)), uint32(id), s.hashOf)
	s.pairs.release(e.off, int(e.n))
	*e = stem{gen: e.gen + 1}
	s.free = append(s.free, id)
}

func hashStem(own []Pair, mask uint64) uint64 {
	h := mask
	for _, p := range own {
		h = mix(h, uint64(p.Name)<<32|uint64(p.Value))
	}
	return h
}

// mix adds v to a hash of symbol numbers, which nobody outside can choose.
func mix(h, v uint64) uint64 {
	h = (h ^ v) * 0xff51afd7ed558ccd
	return h ^ h>>29
}
