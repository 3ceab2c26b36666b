package queue

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestExtents compares extents with a set of bytes.
func TestExtents(t *testing.T) {
	const segments, bytes = 3, 40
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var e extents
		in := map[position]bool{}
		for range rnd.IntN(20) {
			switch seq, from := uint32(rnd.IntN(segments)), int64(rnd.IntN(bytes)); rnd.IntN(10) {
			case 0:
				e.forget(seq)
				for i := range int64(bytes) {
					delete(in, position{seq, i})
				}
			case 1:
				e.passed(position{seq, from})
				for p := range in { // whole extents only
					if p.compare(position{seq, from}) < 0 && !e.has(p) {
						delete(in, p)
					}
				}
			default:
				to := min(bytes, from+int64(rnd.IntN(10)))
				e.add(extent{seq, span{from, to}})
				for i := from; i < to; i++ {
					in[position{seq, i}] = true
				}
			}
		}
		for i, x := range e {
			if x.empty() || i > 0 && e[i-1].seq == x.seq && e[i-1].to >= x.from || i > 0 && e[i-1].seq > x.seq {
				t.Fatalf("not sorted, or not merged: %v", e)
			}
		}
		for seq := range uint32(segments) {
			for i := range int64(bytes) {
				if at := (position{seq, i}); e.has(at) != in[at] {
					t.Fatalf("%v has %v: %v", e, at, e.has(at))
				}
			}
			parts, done := e.pieces(seq, span{5, 30})
			next := int64(5)
			for i, p := range parts {
				for ; !p.empty() && p.from < p.to; p.from++ {
					if p.from != next || done[i] != in[position{seq, p.from}] {
						t.Fatalf("%v: pieces %v, done %v", e, parts, done)
					}
					next++
				}
			}
			if next != 30 {
				t.Fatalf("%v: pieces %v end at %d", e, parts, next)
			}
		}
	}
}

func TestSlotsComeBack(t *testing.T) {
	s := slot{
		position: position{3, 52}, left: 7, last: 9, counter: 1 << 40,
		delivered: extents{{3, span{104, 156}}, {4, span{0, 1 << 33}}, {5, span{0, 52}}},
		doubtful:  extents{{5, span{52, 104}}},
	}
	got, ok, err := parseSlot(s.append(nil))
	s.delivered = slices.Delete(s.delivered, 1, 2) // no request is so long
	if err != nil || !ok || got.position != s.position || got.left != s.left || got.last != s.last ||
		got.counter != s.counter || !slices.Equal(got.delivered, s.delivered) ||
		!slices.Equal(got.doubtful, s.doubtful) {
		t.Errorf("%+v, %v, %v, want %+v", got, ok, err, s)
	}
}

// TestLongListsAreCut: a slot has room for maxExtents extents. The newest delivered ones are left out. They are
// delivered again after a kill, so they may have arrived.
func TestLongListsAreCut(t *testing.T) {
	var s slot
	for i := range int64(3 * maxExtents) {
		s.delivered.add(extent{1 + uint32(i/1000), span{i * 100, i*100 + 50}})
	}
	s.doubtful.add(extent{1, span{60, 70}})
	b := s.append(nil)
	got, ok, err := parseSlot(b)
	if len(b) > slotStride || !ok || err != nil {
		t.Fatalf("%d bytes, %v, %v", len(b), ok, err)
	}
	if len(got.delivered) < maxExtents/2 || !slices.Equal(got.delivered, s.delivered[:len(got.delivered)]) {
		t.Errorf("%d extents are listed, not the oldest", len(got.delivered))
	}
	if !got.doubtful.has(position{1, 60}) {
		t.Error("what is in flight is left out")
	}
	for _, x := range s.delivered {
		if at := (position{x.seq, x.from}); got.delivered.has(at) == got.doubtful.has(at) {
			t.Fatalf("%v: delivered %v, may have arrived %v", at, got.delivered.has(at), got.doubtful.has(at))
		}
	}
}

// FuzzSlot: any bytes are a slot or none. A slot that is one is written the same way again.
func FuzzSlot(f *testing.F) {
	s := slot{position: position{3, 52}, last: 4, delivered: extents{{3, span{104, 156}}}}
	f.Add(s.append(nil))
	s.doubtful = extents{{4, span{0, 52}}}
	f.Add(s.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, ok, _ := parseSlot(b)
		if !ok || got.old {
			return
		}
		again, ok, err := parseSlot(got.append(nil))
		if !ok || err != nil || again.position != got.position || !slices.Equal(again.doubtful, got.doubtful) {
			t.Errorf("%+v became %+v, %v", got, again, err)
		}
	})
}
