package wire

// refTable finds the reference of a key (a symbol, a stem) in the present round: a request or a batch. It is a hash
// table that is not cleared for a new round: a slot is valid only if it has the number of the round.
//
// Cost: 16 bytes per slot, for what the rounds of a lane need, not for what the table of series has. It doubles when
// more than 3/4 of the slots are in use, and is halved after a round that needed an eighth or less.
type refTable struct {
	round uint32
	slots []refSlot // their number is a power of two
	n     int       // slots of this round
}

// refSlot is one reference. Symbol 7 of generation 2 has the key 2<<32 | 7.
type refSlot struct {
	key        uint64
	round, ref uint32
}

const (
	minRecent  = 64
	keptRecent = 4096 // slots that are kept even if rounds need fewer
)

// begin starts a round without references.
func (r *refTable) begin() {
	if len(r.slots) > keptRecent && 0 < r.n && 8*r.n <= len(r.slots) {
		r.slots = make([]refSlot, len(r.slots)/2)
	}
	if r.n = 0; r.slots == nil {
		r.slots = make([]refSlot, minRecent)
	}
	if r.round++; r.round == 0 { // after 2^32 rounds old slots would count again
		clear(r.slots)
		r.round = 1
	}
}

// find returns the reference of a key.
func (r *refTable) find(key uint64) (ref uint32, ok bool) {
	mask := uint32(len(r.slots) - 1)
	for at := refHome(key) & mask; ; at = (at + 1) & mask {
		switch s := &r.slots[at]; {
		case s.round != r.round:
			return 0, false
		case s.key == key:
			return s.ref, true
		}
	}
}

// at returns the slot of a key if no other key has it. There must be slots: a round has begun.
func (r *refTable) at(key uint64) *refSlot {
	return &r.slots[refHome(key)&uint32(len(r.slots)-1)]
}

// add adds a reference for a key that has none.
func (r *refTable) add(key uint64, ref uint32) {
	if 4*(r.n+1) > 3*len(r.slots) {
		old := r.slots
		r.slots = make([]refSlot, 2*len(old))
		for _, s := range old {
			if s.round == r.round {
				r.put(s)
			}
		}
	}
	r.put(refSlot{key, r.round, ref})
	r.n++
}

func (r *refTable) put(s refSlot) {
	mask := uint32(len(r.slots) - 1)
	at := refHome(s.key) & mask
	for r.slots[at].round == r.round {
		at = (at + 1) & mask
	}
	r.slots[at] = s
}

// refHome spreads keys, whose numbers are close together.
func refHome(key uint64) uint32 { return uint32(uint64(uint32(key)) * 0x9e3779b97f4a7c15 >> 32) }

// maxKept is the number of elements for which a lane always keeps memory. It keeps more while an eighth of it is
// needed.
const maxKept = 1 << 16

// emptied returns s without its elements.
func emptied[T any](s []T) []T {
	if cap(s) > maxKept && 0 < len(s) && len(s) <= cap(s)/8 {
		return nil
	}
	return s[:0]
}
