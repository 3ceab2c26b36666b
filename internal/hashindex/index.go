// Package hashindex finds numbers by a hash, with four bytes per slot. The caller has a numbered entry for each number,
// such as a series in a slab. It passes the hash of an entry, and compares. For millions of entries that are numbered
// anyway, Go's map takes five times the memory.
//
// Index is one table (index.go), Sharded an index in 256 tables that grow one at a time (sharded.go). Set has numbers
// alone (set.go).
package hashindex

// Index is an open-addressing table of numbers. The zero value is empty. Not safe for concurrent use.
//
// Entries 0, 1 and 2, with hashes that belong in slots 5, 9 and 5 of 16, are stored as number+1:
//
//	slot   0 1 2 3 4 5 6 7 8 9 10 …
//	       0 0 0 0 0 1 3 0 0 2 0
//
// Entry 2 is in slot 6, since slot 5 is taken. Its hash is searched from slot 5 up to the first free slot.
//
// Cost: 4 bytes per slot. It doubles when more than 3/4 of the slots are taken and is halved, once or more, when fewer
// than 1/8 are: afterwards between 1/4 and 1/2 are taken.
type Index struct {
	slots []uint32 // number+1; 0: free. A power of two.
	n     int
}

// minSlots is the smallest table.
const minSlots = 16

// Find returns the number whose entry has this hash and which equal accepts.
func (x *Index) Find(hash uint64, equal func(n uint32) bool) (n uint32, ok bool) {
	if len(x.slots) == 0 {
		return 0, false
	}
	mask := uint64(len(x.slots) - 1)
	for at := home(hash) & mask; x.slots[at] != 0; at = (at + 1) & mask {
		if n = x.slots[at] - 1; equal(n) {
			return n, true
		}
	}
	return 0, false
}

// Add adds a number that is not in the index. hashOf returns the hash of every number that is.
func (x *Index) Add(hash uint64, n uint32, hashOf func(n uint32) uint64) { x.add(hash, n, hashOf) }

// add is Add and returns how many other numbers it had to move.
func (x *Index) add(hash uint64, n uint32, hashOf func(n uint32) uint64) (moved int) {
	if 4*(x.n+1) > 3*len(x.slots) {
		moved = x.resize(max(minSlots, 2*len(x.slots)), hashOf)
	}
	x.insert(hash, n)
	x.n++
	return moved
}

func (x *Index) insert(hash uint64, n uint32) {
	mask := uint64(len(x.slots) - 1)
	at := home(hash) & mask
	for x.slots[at] != 0 {
		at = (at + 1) & mask
	}
	x.slots[at] = n + 1
}

// resize moves every number to a table of the given size and returns how many numbers there are.
func (x *Index) resize(slots int, hashOf func(n uint32) uint64) int {
	old := x.slots
	x.slots = make([]uint32, slots)
	for _, s := range old {
		if s != 0 {
			x.insert(hashOf(s-1), s-1)
		}
	}
	return x.n
}

// Remove removes a number that is in the index.
func (x *Index) Remove(hash uint64, n uint32, hashOf func(n uint32) uint64) {
	x.remove(hash, n, hashOf)
}

// remove is Remove and returns how many other numbers it had to look at.
func (x *Index) remove(hash uint64, n uint32, hashOf func(n uint32) uint64) (moved int) {
	mask := uint64(len(x.slots) - 1)
	at := home(hash) & mask
	for x.slots[at] != n+1 {
		at = (at + 1) & mask
	}
	// Close the gap: each number behind it that belongs in it, or before it, moves up (Knuth, volume 3, 6.4, R).
	for next := (at + 1) & mask; x.slots[next] != 0; next = (next + 1) & mask {
		want := home(hashOf(x.slots[next]-1)) & mask
		if (next-want)&mask >= (next-at)&mask {
			x.slots[at], at = x.slots[next], next
		}
		moved++
	}
	x.slots[at] = 0
	x.n--
	if slots := len(x.slots); slots > minSlots && 8*x.n < slots {
		for slots > minSlots && 4*x.n < slots {
			slots /= 2
		}
		moved += x.resize(slots, hashOf)
	}
	return moved
}

// Reset empties the table and makes room for n numbers. It keeps the memory unless that is more than eight times
// enough.
func (x *Index) Reset(n int) {
	want := minSlots
	for 4*n > 3*want {
		want *= 2
	}
	x.n = 0
	if len(x.slots) < want || len(x.slots) > 8*want {
		x.slots = make([]uint32, want)
		return
	}
	clear(x.slots)
}

// Len returns how many numbers there are.
func (x *Index) Len() int { return x.n }

// Bytes returns how much memory the table takes.
func (x *Index) Bytes() int { return 4 * len(x.slots) }

// home returns the slot of a hash before the mask: hashes may differ in their high bits alone.
func home(hash uint64) uint64 { return spread(hash) >> 20 }

func spread(hash uint64) uint64 { return (hash ^ hash>>32) * 0x9e3779b97f4a7c15 }
