package remotewrite

import "sync"

// blocks lends the bytes of fragments: from the lane that writes one, through the queue, to the sender that has
// delivered it. One that leaves the queue another way is left to the garbage collector. The zero value is ready.
type blocks struct{ pool sync.Pool }

// get returns an empty slice with room for n bytes and little more.
func (b *blocks) get(n int) []byte {
	if kept, ok := b.pool.Get().(*[]byte); ok && cap(*kept) >= n && cap(*kept) <= 2*n {
		return (*kept)[:0]
	}
	return make([]byte, 0, n+n/16)
}

func (b *blocks) put(data []byte) { b.pool.Put(&data) }
