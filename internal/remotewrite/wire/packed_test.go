package wire

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/golang/snappy"
)

func TestPackedFragmentsUnpack(t *testing.T) {
	for _, n := range []int{0, 1, 100, 1 << 16, 1<<16 + 1, 300 << 10} {
		symbols, series := bytes.Repeat([]byte("symbol"), n)[:n], noise(2*n)
		data := appendPacked([]byte("before"), symbols, series)
		var u unpacker
		for range 2 { // its memory is used again
			got, err := u.unpack([][]byte{data[len("before"):], appendPacked(nil, series, symbols)})
			if err != nil || len(got) != 2 {
				t.Fatalf("%d bytes: %d fragments, error %v", n, len(got), err)
			}
			if !bytes.Equal(got[0].symbols, symbols) || !bytes.Equal(got[0].series, series) ||
				!bytes.Equal(got[1].symbols, series) || !bytes.Equal(got[1].series, symbols) {
				t.Fatalf("%d bytes: unpacked to something else", n)
			}
		}
	}
}

// TestDamagedPacks: whatever a length says, nothing is read beyond the fragment and nothing huge is made room for.
func TestDamagedPacks(t *testing.T) {
	good := appendPacked(nil, []byte("symbols"), []byte("series"))
	huge := binary.AppendUvarint(nil, maxFragment+1)
	half := binary.AppendUvarint(nil, maxFragment/2+1)
	for name, data := range map[string][]byte{
		"empty":                  {},
		"length without an end":  {0x80},
		"first block is longer":  {200, 0},
		"second block is missed": good[:1+int(good[0])],
		"cut":                    good[:len(good)-1],
		"huge first":             append(binary.AppendUvarint(nil, uint64(len(huge))), append(huge, 0)...),
		"huge second":            append([]byte{1, 0}, huge...),
		"huge together":          append(append(binary.AppendUvarint(nil, uint64(len(half))), half...), half...),
		"not snappy":             append([]byte{2, 1, 0}, snappy.Encode(nil, []byte("x"))...),
	} {
		var u unpacker
		if _, err := u.unpack([][]byte{data}); err == nil {
			t.Errorf("%s: unpacked", name)
		}
		if cap(u.text) > maxFragment {
			t.Errorf("%s: room for %d bytes", name, cap(u.text))
		}
		if _, err := Parse(Message{Fragments: [][]byte{data}}); err == nil {
			t.Errorf("%s: parsed", name)
		}
	}
}
