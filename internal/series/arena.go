package series

const (
	chunkBits = 12
	chunkLen  = 1 << chunkBits // pairs in a chunk: 32 KiB
)

// arena stores the pairs of all stems in large chunks without pointers: the garbage collector need not look at them,
// and a stem needs no allocation of its own. Guarded by the table's lock.
//
// A run is a header and the pairs of one stem, all in one chunk. The header of stem 7 with two labels is {7, 2}; after
// its release it is {released, 2}. A new run goes behind the last one. When more than half of the arena is released,
// the runs in use in the emptiest chunk move behind the last one, and the chunk is given back. The arena is therefore
// never larger than twice the pairs in use plus two chunks, whatever the lengths of the runs.
type arena struct {
	chunks []arenaChunk
	free   []int // indexes of chunks that were given back
	last   int   // index of the chunk that runs are put into
	size   int   // pairs that chunks have room for
	used   int   // of them, pairs of runs in use, headers included
}

type arenaChunk struct {
	pairs []Pair // of capacity chunkLen, or one longer run; nil: given back
	used  int    // pairs of runs in use, headers included
}

// released is the stem in the header of a run that no stem uses.
const released = ^Symbol(0)

// get returns the n pairs of the run at off. They are valid until the next put or release.
func (a *arena) get(off uint32, n int) []Pair {
	pos := int(off%chunkLen) + 1
	return a.chunks[off>>chunkBits].pairs[pos : pos+n]
}

// put copies the pairs of a stem into the arena and returns their offset.
func (a *arena) put(id StemID, pairs []Pair) uint32 {
	n := len(pairs) + 1
	if len(a.chunks) == 0 || len(a.chunks[a.last].pairs)+n > cap(a.chunks[a.last].pairs) {
		a.open(max(n, chunkLen))
	}
	c := &a.chunks[a.last]
	pos := len(c.pairs)
	c.pairs = append(append(c.pairs, Pair{Symbol(id), Symbol(len(pairs))}), pairs...)
	c.used += n
	a.used += n
	return uint32(a.last<<chunkBits + pos)
}

// open begins a chunk.
func (a *arena) open(size int) {
	if n := len(a.free); n > 0 {
		a.last, a.free = a.free[n-1], a.free[:n-1]
	} else {
		a.last = len(a.chunks)
		a.chunks = append(a.chunks, arenaChunk{})
	}
	a.chunks[a.last].pairs = make([]Pair, 0, size)
	a.size += size
}

// release gives up the run of n pairs at off. Other runs may move: moved is called with the stem and the new offset of
// each.
func (a *arena) release(off uint32, n int, moved func(id StemID, off uint32)) {
	at := int(off >> chunkBits)
	c := &a.chunks[at]
	c.pairs[off%chunkLen].Name = released
	c.used -= n + 1
	a.used -= n + 1
	if c.used == 0 {
		a.giveBack(at)
	}
	for a.size > 2*(a.used+chunkLen) {
		least := a.emptiest()
		if least == a.last {
			return
		}
		a.evacuate(least, moved)
	}
}

// giveBack frees a chunk that has no run in use, unless runs are put into it.
func (a *arena) giveBack(at int) {
	c := &a.chunks[at]
	if at == a.last && cap(c.pairs) == chunkLen {
		c.pairs = c.pairs[:0]
		return
	}
	a.size -= cap(c.pairs)
	*c = arenaChunk{}
	a.free = append(a.free, at)
}

// emptiest returns the index of the chunk that has the smallest part in use, apart from the one that runs are put into.
func (a *arena) emptiest() int {
	least := a.last
	for at, c := range a.chunks {
		if at == a.last || c.pairs == nil {
			continue
		}
		if than := a.chunks[least]; least == a.last || c.used*cap(than.pairs) < than.used*cap(c.pairs) {
			least = at
		}
	}
	return least
}

// evacuate moves the runs of a chunk, not of the last one, and gives it back.
func (a *arena) evacuate(at int, moved func(id StemID, off uint32)) {
	for pairs := a.chunks[at].pairs; len(pairs) > 0; {
		id, n := pairs[0].Name, int(pairs[0].Value)
		run := pairs[1 : 1+n]
		pairs = pairs[1+n:]
		if id != released {
			a.used -= n + 1
			moved(StemID(id), a.put(StemID(id), run))
		}
	}
	a.chunks[at].used = 0
	a.giveBack(at)
}
