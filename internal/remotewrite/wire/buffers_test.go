package wire

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestBlocksLendWhatFitsBest(t *testing.T) {
	var b Buffers
	large, small := b.Get(4000), b.Get(1000)
	b.Put(large)
	b.Put(small)
	if got := b.Get(900); cap(got) != cap(small) {
		t.Errorf("room of %d for 900 bytes, want the smaller buffer of %d", cap(got), cap(small))
	}
	if got := b.Get(900); cap(got) == cap(large) {
		t.Errorf("a buffer of %d bytes was reused for 900", cap(large))
	}
	if got := b.Get(cap(large)); cap(got) != cap(large) || len(got) != 0 {
		t.Errorf("length %d, room %d: want the idle buffer of %d", len(got), cap(got), cap(large))
	}
}

func TestBlocksHaveRoomForALittleMore(t *testing.T) {
	var b Buffers
	for n := range 1 << 12 {
		if room := cap(b.Get(n)); room <= n || room > n+max(1, n/4) {
			t.Fatalf("room of %d for %d bytes", room, n)
		}
	}
}

func TestBlocksKeepABoundedRest(t *testing.T) {
	var b Buffers
	for range 10 {
		b.Put(make([]byte, 0, 1000)) // wanted longest ago, so first to go
	}
	const n = 100 << 10
	out := make([][]byte, 0, 50)
	for range cap(out) {
		out = append(out, b.Get(n))
	}
	for _, data := range out {
		b.Put(data)
	}
	if room := 0; true {
		for _, kept := range b.idle {
			room += cap(kept.data)
			if cap(kept.data) < n {
				t.Errorf("kept %d bytes, which nobody wanted for longest", cap(kept.data))
			}
		}
		if room != b.size || room > maxIdleBytes || room < maxIdleBytes-2*n {
			t.Errorf("keeps %d bytes and says %d, want up to %d", room, b.size, maxIdleBytes)
		}
	}
	b.Put(nil)
	b.Put(make([]byte, 0, maxIdleBytes+1))
	if b.size > maxIdleBytes {
		t.Errorf("kept %d bytes", b.size)
	}
}

func TestBuffersFreeWhatWasIdleForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Buffers
		first := [][]byte{b.Get(1000), b.Get(1000), b.Get(1000)}
		for _, data := range first {
			b.Put(data)
		}
		for range 3 { // one is enough from now on
			time.Sleep(maxIdleTime / 2)
			b.Put(b.Get(1000))
		}
		if len(b.idle) != 1 || b.size != cap(first[0]) {
			t.Errorf("%d idle buffers of %d bytes, want the one that was used lately", len(b.idle), b.size)
		}
	})
}
