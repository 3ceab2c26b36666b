package wire

// recent finds the reference that a number (a symbol, a stem) has in the present round: a request or a batch. It is a
// hash table that a new round does not clear: a slot counts only if it carries the number of the round.
//
// Cost: 16 bytes a slot, for what a lane's rounds need and not for what the table of series has. It doubles when more
// than 3/4 of the slots are taken, and is halved after a round that needed an eighth of them or less.
type recent struct {
	round uint32
	slots []recentSlot // a power of two
	n     int          // of this round
}

// recentSlot is one reference: symbol 7 of generation 2 is key 2<<32 | 7.
type recentSlot struct {
	key        uint64
	round, ref uint32
}

const (
	minRecent  = 64
	keptRecent = 4096 // slots that are kept however few a round needs
)

// begin starts a round: nothing has a reference.
func (r *recent) begin() {
	if len(r.slots) > keptRecent && 0 < r.n && 8*r.n <= len(r.slots) {
		r.slots = make([]recentSlot, len(r.slots)/2)
	}
	if r.n = 0; r.slots == nil {
		r.slots = make([]recentSlot, minRecent)
	}
	if r.round++; r.round == 0 { // after 2^32 rounds old slots would count again
		clear(r.slots)
		r.round = 1
	}
}

// find returns the reference of a key.
func (r *recent) find(key uint64) (ref uint32, ok bool) {
	mask := uint32(len(r.slots) - 1)
	for at := recentHome(key) & mask; ; at = (at + 1) & mask {
		switch s := &r.slots[at]; {
		case s.round != r.round:
			return 0, false
		case s.key == key:
			return s.ref, true
		}
	}
}

// at returns where a key belongs if nothing else stands there. There must be slots.
func (r *recent) at(key uint64) *recentSlot {
	return &r.slots[recentHome(key)&uint32(len(r.slots)-1)]
}

// add gives a reference to a key that has none.
func (r *recent) add(key uint64, ref uint32) {
	if 4*(r.n+1) > 3*len(r.slots) {
		old := r.slots
		r.slots = make([]recentSlot, 2*len(old))
		for _, s := range old {
			if s.round == r.round {
				r.put(s)
			}
		}
	}
	r.put(recentSlot{key, r.round, ref})
	r.n++
}

func (r *recent) put(s recentSlot) {
	mask := uint32(len(r.slots) - 1)
	at := recentHome(s.key) & mask
	for r.slots[at].round == r.round {
		at = (at + 1) & mask
	}
	r.slots[at] = s
}

// recentHome spreads numbers, which lie close together.
func recentHome(key uint64) uint32 { return uint32(uint64(uint32(key)) * 0x9e3779b97f4a7c15 >> 32) }

// maxKept is how many elements of scratch a lane keeps memory for. It keeps more while an eighth is needed.
const maxKept = 1 << 16

// emptied returns s without its elements.
func emptied[T any](s []T) []T {
	if cap(s) > maxKept && 0 < len(s) && len(s) <= cap(s)/8 {
		return nil
	}
	return s[:0]
}
