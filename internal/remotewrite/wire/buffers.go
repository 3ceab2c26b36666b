package wire

import (
	"math/bits"
	"slices"
	"sync"
	"time"
)

// Buffers reuses the bytes of fragments: from the lane that writes one, through the queue, to the sender that has
// delivered it. Bytes that leave the queue another way are freed by the garbage collector. The zero value is ready.
//
// Cost: at most maxIdleBytes that are not in use. A buffer that was idle for maxIdleTime is freed at the next Put: the
// first scrapes of all targets need many large ones, and the later ones few. A buffer has room for up to a quarter more
// than it was made for, and is reused for no less than a quarter of its room.
type Buffers struct {
	mu   sync.Mutex   // guards the following
	idle []idleBuffer // the one that was put last is at the end
	size int          // room in all of idle
}

type idleBuffer struct {
	data  []byte
	since time.Time
}

const (
	maxIdleBytes = 2 << 20
	maxIdleTime  = 30 * time.Second
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

// take returns the idle buffer that fits best, or nil. Of two that fit equally well it returns the one that was put
// last, so that the other one is freed if one is enough.
func (b *Buffers) take(n int) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	best := -1
	for i, kept := range b.idle {
		if room := cap(kept.data); room >= n && room <= 4*n && (best < 0 || room <= cap(b.idle[best].data)) {
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	kept := b.idle[best].data
	b.remove(best)
	return kept
}

// Put takes a buffer back. It frees buffers that were idle for too long and, if there is too much, those that were idle
// for longest.
func (b *Buffers) Put(data []byte) {
	if cap(data) == 0 || cap(data) > maxIdleBytes {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.idle = append(b.idle, idleBuffer{data, now})
	b.size += cap(data)
	for b.size > maxIdleBytes || now.Sub(b.idle[0].since) > maxIdleTime {
		b.remove(0)
	}
}

func (b *Buffers) remove(i int) {
	b.size -= cap(b.idle[i].data)
	b.idle = slices.Delete(b.idle, i, i+1)
}
