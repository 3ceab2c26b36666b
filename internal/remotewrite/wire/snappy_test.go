package wire

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// transcript writes a block and beside it the plain text that the block must mean.
type transcript struct {
	p     snappyWriter
	plain []byte
}

func (s *transcript) literal(b []byte) {
	s.p.literal(b)
	s.plain = append(s.plain, b...)
}

func (s *transcript) word(w uint64, n int) {
	s.p.word(w, n)
	for i := range n {
		s.plain = append(s.plain, byte(w>>(8*i)))
	}
}

func (s *transcript) repeat(from, n int) {
	s.p.repeat(from, n)
	for i := range n { // one by one: a repetition may run into itself
		s.plain = append(s.plain, s.plain[from+i])
	}
}

func (s *transcript) check(t testing.TB) {
	t.Helper()
	if s.p.at != len(s.plain) {
		t.Fatalf("length = %d, want %d", s.p.at, len(s.plain))
	}
	if got := decompress(t, s.p.finish()); !bytes.Equal(got, s.plain) {
		t.Fatalf("differs at byte %d of %d", differAt(got, s.plain), len(s.plain))
	}
}

func noise(n int) []byte {
	r := rand.New(rand.NewPCG(1, uint64(n))) //nolint:gosec // the same noise at each run
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// TestElements tries every length of literals and copies around the limits of the format.
func TestElements(t *testing.T) {
	var s transcript
	for n := range 300 {
		s.p.begin()
		s.plain = s.plain[:0]
		s.literal(noise(n))
		s.word(0x0102030405060708, n%8+1)
		s.literal(noise(n))
		s.check(t)
	}
	for _, offset := range []int{1, 3, 63, 64, 65, nearOffset - 1, nearOffset, farOffset - 1, farOffset,
		farOffset + 1, 3 * farOffset} {
		for n := 1; n < 700; n++ {
			if n > 140 && n%64 > 5 && n%64 < 60 {
				continue
			}
			s.p.begin()
			s.plain = s.plain[:0]
			s.literal(noise(offset))
			s.repeat(0, n)
			s.word(7, 1)
			s.repeat(len(s.plain)-offset, n) // another distance, or the same
			s.repeat(len(s.plain)-offset, 1) // goes on
			s.check(t)
		}
	}
}

// FuzzPacker reads its input as a program for the packer.
func FuzzPacker(f *testing.F) {
	f.Add([]byte{0, 5, 'a', 'b', 'c', 'd', 'e', 1, 0, 0, 9, 2, 8, 1, 2, 3, 4, 5, 6, 7, 8, 3, 4, 'x', 'x', 'x', 'x'})
	f.Add([]byte{0, 1, 'a', 1, 0, 0, 255, 1, 0, 0, 64, 1, 0, 1, 68, 2, 1, 9})
	f.Add(append([]byte{3, 200}, bytes.Repeat([]byte("snappy!"), 100)...))
	f.Fuzz(func(t *testing.T, program []byte) {
		var s transcript
		s.p.begin()
		take := func(n int) []byte {
			n = min(n, len(program))
			b := program[:n]
			program = program[n:]
			return b
		}
		for len(program) >= 2 {
			op, n := program[0], int(program[1])
			program = program[2:]
			switch op % 3 {
			case 0:
				s.literal(take(n))
			case 1:
				at := take(2)
				if len(at) < 2 || len(s.plain) == 0 {
					continue
				}
				s.repeat((int(at[0])<<8|int(at[1]))%len(s.plain), n)
			case 2:
				var w uint64
				for i, c := range take(n % 9) {
					w |= uint64(c) << (8 * i)
				}
				if n%9 > 0 {
					s.word(w, n%9)
				}
			}
		}
		s.check(t)
	})
}
