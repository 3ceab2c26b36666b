package remotewrite

import (
	"math/bits"
	"sync"
)

// blocks lends the bytes of fragments: from the lane that writes one, through the queue, to the sender that has
// delivered it. One that leaves the queue another way is left to the garbage collector. The zero value is ready.
//
// Cost: a block has room for up to twice its fragment; idle ones go with the second collection.
type blocks struct {
	bySize [maxBlockBits + 1]sync.Pool // of *[]byte, each with room for 1<<i bytes
}

const maxBlockBits = 24 // a larger fragment is not lent

// get returns an empty slice with room for n bytes.
func (b *blocks) get(n int) []byte {
	class := bits.Len(uint(n))
	if class > maxBlockBits {
		return make([]byte, 0, n)
	}
	if kept, ok := b.bySize[class].Get().(*[]byte); ok {
		return (*kept)[:0]
	}
	return make([]byte, 0, 1<<class)
}

func (b *blocks) put(data []byte) {
	if class := bits.Len(uint(cap(data))) - 1; class >= 0 && class <= maxBlockBits && cap(data) == 1<<class {
		b.bySize[class].Put(&data)
	}
}
