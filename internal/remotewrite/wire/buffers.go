package wire

import (
	"math/bits"
	"sync"
)

// blocks lends the bytes of fragments: from the lane that writes one, through the queue, to the sender that has
// delivered it. One that leaves the queue another way is left to the garbage collector. The zero value is ready.
//
// Cost: at most maxIdleBlocks bytes that nobody uses now. A block has room for up to a quarter more than what it was
// made for, and is lent again for no less than a quarter of its room.
type Buffers struct {
	mu   sync.Mutex // guards the following
	idle [][]byte   // lent last comes last
	size int        // room in all of idle
}

const (
	maxIdleBlocks = 2 << 20
	blockSteps    = 4 // sizes of blocks between two powers of two
)

// get returns an empty slice with room for n bytes.
func (b *Buffers) Get(n int) []byte {
	if kept := b.take(n); kept != nil {
		return kept[:0]
	}
	return make([]byte, 0, blockSize(n))
}

// blockSize is the room of a new block for n bytes: more than they need, so that it does for the next ones too.
func blockSize(n int) int {
	step := max(1, 1<<max(0, bits.Len(uint(n))-1)/blockSteps)
	return (n + step) / step * step
}

// take returns the idle block that fits best; nil: none does.
func (b *Buffers) take(n int) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	best := -1
	for i, kept := range b.idle {
		if room := cap(kept); room >= n && room <= 4*n && (best < 0 || room < cap(b.idle[best])) {
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	kept := b.idle[best]
	b.remove(best)
	return kept
}

// put takes a block back. Where there is no room for it, those that were not wanted for longest go.
func (b *Buffers) Put(data []byte) {
	if cap(data) == 0 || cap(data) > maxIdleBlocks {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.idle = append(b.idle, data)
	b.size += cap(data)
	for b.size > maxIdleBlocks {
		b.remove(0)
	}
}

func (b *Buffers) remove(i int) {
	b.size -= cap(b.idle[i])
	copy(b.idle[i:], b.idle[i+1:])
	b.idle[len(b.idle)-1] = nil
	b.idle = b.idle[:len(b.idle)-1]
}
