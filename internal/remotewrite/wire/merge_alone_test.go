package wire

import (
	"bytes"
	"testing"
)

// TestMergeOfAColumnAndALongSample: a plain message with the labels of a layout may have damaged samples of any length.
func TestMergeOfAColumnAndALongSample(t *testing.T) {
	symbols, refs := []byte{tagSymbol, 0, tagSymbol, 1, 'a'}, []byte{tagLabelRefs, 2, 1, 1}
	column := Message{Layout: appendPacked(nil, symbols, appendBytesField(nil, tagSeries, refs)), Samples: 1,
		Oldest: 2, Newest: 2, Fragments: [][]byte{AppendColumn(nil, 2, []float64{1})}}
	for size := range 400 {
		for _, length := range []byte{0x7f, 0x80, 0xfd, 0xfe, 0xff} {
			body := append(append(bytes.Clone(refs), tagSample, length), make([]byte, size)...)
			m := Message{Samples: 1, Oldest: 1, Newest: 1,
				Fragments: [][]byte{appendPacked(nil, symbols, appendBytesField(nil, tagSeries, body))}}
			_, _ = new(Pool).Merge([]Message{m, column}, Limits{})
			_, _ = new(Pool).Merge([]Message{column, m}, Limits{})
		}
	}
}

// TestMergeOfColumnsWithADamagedMessage damages each byte of a plain message that is merged with columns.
func TestMergeOfColumnsWithADamagedMessage(t *testing.T) {
	rows := []testRow{{labels: []string{"__name__", "up"}, value: 1, at: 1},
		{labels: []string{"__name__", "up", "x", "y"}, value: 1.5, at: 1}}
	later := []testRow{rows[0], rows[1]}
	later[0].at, later[1].at = 2, 2
	column := columnOfRows(later, messageOfRows(later, 0))
	plain := messageOfRows(rows, 0)
	fragments, err := new(unpacker).unpack(plain.Fragments)
	if err != nil || len(fragments) != 1 {
		t.Fatal(err, len(fragments))
	}
	n := len(fragments[0].symbols)
	text := append(bytes.Clone(fragments[0].symbols), fragments[0].series...)
	var p Pool
	for i := range text {
		for b := range 256 {
			damaged := bytes.Clone(text)
			damaged[i] = byte(b)
			m := plain
			m.Fragments = [][]byte{appendPacked(nil, damaged[:n], damaged[n:])}
			merged, err := p.Merge([]Message{m, column}, Limits{})
			if err != nil {
				continue
			}
			left := 4
			for _, m := range merged {
				left -= m.Samples
			}
			if left != 0 {
				t.Errorf("byte %d = %d: %d samples too few", i, b, left)
			}
		}
	}
}
