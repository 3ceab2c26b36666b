package wire

import (
	"math/bits"
	"sync"
)

// Buffers reuses the bytes of fragments: from the lane that writes one, through the queue, to the sender that has
// delivered it. Bytes that leave the queue another way are freed by the garbage collector. The zero value is ready.
//
// Cost: at most maxIdleBytes that are not in use. A buffer has room for up to a quarter more than it was made for,
// and is reused for no less than a quarter of its room.
type Buffers struct {
	mu   sync.Mutex // guards the following
	idle [][]byte   // the one that was put last is at the end
	size int        // room in all of idle
}

const (
	maxIdleBytes = 2 << 20
	bufferSteps  = 4 // sizes of buffers between two powers of two
)

// Get returns an empty slice with room for n bytes.
func (b *Buffers) Get(n int) []byte {
	if kept := b.take(n); kept != nil {
		return kept[:0]
	}
	return make([]byte, 0, bufferSize(n))
}

// bufferSize returns the room of a new buffer for n bytes: a little more, so that it fits the next ones too.
func bufferSize(n int) int {
	step := max(1, 1<<max(0, bits.Len(uint(n))-1)/bufferSteps)
	return (n + step) / step * step
}

// take returns the idle buffer that fits best, or nil.
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

// Put takes a buffer back. If there is too much, those that were idle for longest are freed.
func (b *Buffers) Put(data []byte) {
	if cap(data) == 0 || cap(data) > maxIdleBytes {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.idle = append(b.idle, data)
	b.size += cap(data)
	for b.size > maxIdleBytes {
		b.remove(0)
	}
}

func (b *Buffers) remove(i int) {
	b.size -= cap(b.idle[i])
	copy(b.idle[i:], b.idle[i+1:])
	b.idle[len(b.idle)-1] = nil
	b.idle = b.idle[:len(b.idle)-1]
}
