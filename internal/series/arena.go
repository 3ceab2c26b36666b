package series

// Pair is one label of a series.
type Pair struct{ Name, Value Symbol }

const (
	chunkBits = 14
	chunkLen  = 1 << chunkBits // pairs a chunk: 128 KiB
)

// arena keeps the pairs of all series, without a pointer that the garbage collector would have to follow. A
// run never crosses a chunk; a released run is given to the next series of the same length. Guarded by the
// table's lock.
type arena struct {
	chunks [][]Pair         // each of chunkLen, except one made for a longer run
	free   map[int][]uint32 // run length -> offsets
}

// put copies pairs into the arena and returns their offset.
func (a *arena) put(pairs []Pair) uint32 {
	n := len(pairs)
	if offs := a.free[n]; len(offs) > 0 {
		off := offs[len(offs)-1]
		a.free[n] = offs[:len(offs)-1]
		copy(a.get(off, n), pairs)
		return off
	}
	last := len(a.chunks) - 1
	if last < 0 || len(a.chunks[last])+n > chunkLen {
		a.chunks = append(a.chunks, make([]Pair, 0, max(chunkLen, n)))
		last++
	}
	pos := len(a.chunks[last])
	a.chunks[last] = append(a.chunks[last], pairs...)
	return uint32(last)<<chunkBits | uint32(pos)
}

func (a *arena) get(off uint32, n int) []Pair {
	pos := off & (chunkLen - 1)
	return a.chunks[off>>chunkBits][pos : int(pos)+n]
}

func (a *arena) release(off uint32, n int) {
	if n == 0 {
		return
	}
	if a.free == nil {
		a.free = map[int][]uint32{}
	}
	a.free[n] = append(a.free[n], off)
}
