package series

import "math/bits"

const (
	slabBits = 9
	slabLen  = 1 << slabBits // values of a chunk
)

// slab stores values under small numbers, in chunks of 512: number 1,030 is slot 6 of chunk 2. Growing copies no
// value. A new value gets the lowest free number, so values gather in the first chunks, and an empty chunk is given
// back to the garbage collector. One empty chunk is kept for the values that come next.
//
// Every number has a generation, which changes when its value is removed. The zero slab is empty. Guarded by the
// table's lock.
type slab[T any] struct {
	chunks []*slabChunk[T] // nil: given back
	room   []uint64        // bit i%64 of word i/64: chunk i has a free number
	first  int             // no word of room before this one has a bit
	spare  int             // one more than the index of the empty chunk that is kept; 0: there is none
	floor  uint32          // generation of numbers in new chunks: higher than any of a value in a chunk given back
	used   int             // values
}

type slabChunk[T any] struct {
	taken [slabLen / 64]uint64 // a bit for each slot that has a value
	used  int
	gens  [slabLen]uint32
	slots [slabLen]T
}

// at returns the value of a number that has one. The pointer is valid until the value is removed.
func (s *slab[T]) at(n uint32) *T { return &s.chunks[n>>slabBits].slots[n%slabLen] }

// both returns the generation and the value of a number that has one.
func (s *slab[T]) both(n uint32) (gen uint32, value *T) {
	c := s.chunks[n>>slabBits]
	return c.gens[n%slabLen], &c.slots[n%slabLen]
}

// gen returns the generation of a number, whether it has a value or not.
func (s *slab[T]) gen(n uint32) uint32 {
	if i := n >> slabBits; int(i) < len(s.chunks) {
		if c := s.chunks[i]; c != nil {
			return c.gens[n%slabLen]
		}
	}
	return s.floor
}

// size is one more than the highest number that can have a value now.
func (s *slab[T]) size() int { return len(s.chunks) << slabBits }

// add stores a value and returns its number.
func (s *slab[T]) add(v T) (n uint32) {
	i := s.chunkWithRoom()
	c := s.chunks[i]
	if c == nil {
		c = &slabChunk[T]{}
		for slot := range c.gens {
			c.gens[slot] = s.floor
		}
		s.chunks[i] = c
	}
	word := 0
	for c.taken[word] == ^uint64(0) {
		word++
	}
	slot := word*64 + bits.TrailingZeros64(^c.taken[word])
	c.taken[word] |= 1 << (slot % 64)
	c.slots[slot] = v
	s.used++
	if c.used++; c.used == slabLen {
		s.room[i/64] &^= 1 << (i % 64)
	}
	return uint32(i<<slabBits + slot)
}

// chunkWithRoom returns the index of the first chunk that has a free number; the chunk may be nil.
func (s *slab[T]) chunkWithRoom() int {
	for ; s.first < len(s.room); s.first++ {
		if word := s.room[s.first]; word != 0 {
			return s.first*64 + bits.TrailingZeros64(word)
		}
	}
	i := len(s.chunks)
	s.chunks = append(s.chunks, nil)
	if i/64 == len(s.room) {
		s.room = append(s.room, 0)
	}
	s.room[i/64] |= 1 << (i % 64)
	s.first = i / 64
	return i
}

// remove frees the number of a value.
func (s *slab[T]) remove(n uint32) {
	i, slot := int(n>>slabBits), n%slabLen
	c := s.chunks[i]
	var none T
	c.slots[slot] = none
	c.gens[slot]++
	c.taken[slot/64] &^= 1 << (slot % 64)
	s.used--
	s.room[i/64] |= 1 << (i % 64)
	s.first = min(s.first, i/64)
	if c.used--; c.used == 0 {
		s.emptied(i)
	}
}

// emptied keeps one empty chunk, i or the spare one, and gives back the other: that of the higher numbers.
func (s *slab[T]) emptied(i int) {
	other := s.spare - 1
	if s.spare = i + 1; other < 0 || other == i || s.chunks[other] == nil || s.chunks[other].used > 0 {
		return
	}
	s.spare = min(i, other) + 1
	i = max(i, other)
	for _, gen := range s.chunks[i].gens {
		s.floor = max(s.floor, gen)
	}
	s.chunks[i] = nil
	for last := len(s.chunks) - 1; last >= 0 && s.chunks[last] == nil; last-- {
		s.chunks = s.chunks[:last]
		s.room[last/64] &^= 1 << (last % 64)
	}
}

// each calls fn for the numbers in chunk i that have values.
func (s *slab[T]) each(i int, fn func(n uint32, v *T)) {
	c := s.chunks[i]
	if c == nil {
		return
	}
	for word, taken := range c.taken {
		for ; taken != 0; taken &= taken - 1 {
			slot := word*64 + bits.TrailingZeros64(taken)
			fn(uint32(i<<slabBits+slot), &c.slots[slot])
		}
	}
}
