package hashindex

// Set is a set of numbers above 0. The zero value is empty. Not safe for concurrent use.
//
// Cost: 4 bytes per slot, of which at most 3/4 are taken.
type Set struct {
	slots []uint32 // 0: free. A power of two.
	n     int
}

// Add adds a number and reports whether it was not in the set.
func (s *Set) Add(n uint32) bool {
	if 4*(s.n+1) > 3*len(s.slots) {
		s.grow()
	}
	at, found := s.find(n)
	if !found {
		s.slots[at] = n
		s.n++
	}
	return !found
}

// Has reports whether a number is in the set.
func (s *Set) Has(n uint32) bool {
	if len(s.slots) == 0 {
		return false
	}
	_, found := s.find(n)
	return found
}

// find returns the slot of a number, or the free slot where it belongs.
func (s *Set) find(n uint32) (at uint64, found bool) {
	mask := uint64(len(s.slots) - 1)
	for at = home(uint64(n)) & mask; s.slots[at] != 0; at = (at + 1) & mask {
		if s.slots[at] == n {
			return at, true
		}
	}
	return at, false
}

func (s *Set) grow() {
	old := s.slots
	s.slots = make([]uint32, max(minSlots, 2*len(old)))
	for _, n := range old {
		if n != 0 {
			at, _ := s.find(n)
			s.slots[at] = n
		}
	}
}

// Reset empties the set and makes room for n numbers. It keeps the memory unless that is more than eight times enough.
func (s *Set) Reset(n int) {
	x := Index{slots: s.slots}
	x.Reset(n)
	s.slots, s.n = x.slots, 0
}

// Bytes returns how much memory the set takes.
func (s *Set) Bytes() int { return 4 * len(s.slots) }
