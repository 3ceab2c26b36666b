package wire

import (
	"bytes"
	"testing"
)

// TestCompare compares every list of up to three labels, of a small choice with references of one byte and of two,
// with every other, and puts each together again from what the difference says.
func TestCompare(t *testing.T) {
	lists := labelLists()
	var tx textTable
	for range 300 {
		tx.add([]byte("text"))
	}
	var b baseSeries
	var d difference
	for _, base := range lists {
		b.learn(&tx, packLabels(base), 1000)
		for _, l := range lists {
			refs := packLabels(l)
			if err := d.compare(&tx, refs, &b); err != nil {
				t.Fatalf("%v after %v: %v", l, base, err)
			}
			skip, first, last := compareLabels(l, base)
			if d.skip != skip || d.first != first || d.last != last {
				t.Fatalf("%v after %v: skip %d, first %d, last %d; want %d, %d, %d", l, base, d.skip, d.first, d.last,
					skip, first, last)
			}
			if got := d.labels(base); !bytes.Equal(packLabels(got), refs) {
				t.Fatalf("%v after %v is put together as %v", l, base, got)
			}
			if len(refs) > 0 { // a byte less: half a label, or half a reference
				if err := d.compare(&tx, refs[:len(refs)-1], &b); err == nil {
					t.Fatalf("%v after %v without its last byte: no error", l, base)
				}
			}
		}
	}
}

func packLabels(labels [][2]uint64) (refs []byte) {
	for _, l := range labels {
		refs = appendUvarint(appendUvarint(refs, l[0]), l[1])
	}
	return refs
}

// compareLabels is what difference.compare finds, said label by label.
func compareLabels(l, base [][2]uint64) (skip, first, last int) {
	if len(l) > 0 && len(base) > 0 && l[0] != base[0] {
		skip, first = 1, 1
	}
	for first < len(l) && first < len(base) && l[first] == base[first] {
		first++
	}
	last = len(base)
	for n := len(l); last > first && n > first && l[n-1] == base[last-1]; n-- {
		last--
	}
	return skip, first, last
}

// labels puts the labels together that a difference describes.
func (d *difference) labels(base [][2]uint64) (out [][2]uint64) {
	own := func(from, to int) {
		for _, o := range d.newLabels[from:to] {
			out = append(out, [2]uint64{uint64(o.name), uint64(o.value)})
		}
	}
	own(0, d.skip)
	out = append(out, base[d.skip:d.first]...)
	own(d.skip, len(d.newLabels))
	return append(out, base[d.last:]...)
}

// TestRequestTooLarge: positions in a plain request have 31 bits.
func TestRequestTooLarge(t *testing.T) {
	symbols := appendBytesField(nil, tagSymbol, "")
	symbols = appendBytesField(symbols, tagSymbol, make([]byte, 1<<20))
	for labels, fits := range map[int]bool{10: true, 2048: false, 5000: false} {
		refs := appendBytesField(nil, tagLabelRefs, bytes.Repeat([]byte{0, 1}, labels))
		m := Message{Fragments: [][]byte{appendPacked(nil, symbols, appendBytesField(nil, tagSeries, refs))}}
		if _, _, err := (&v1Writer{}).encode(m, true); (err == nil) != fits {
			t.Errorf("%d MiB of labels: error %v, want none: %v", labels, err, fits)
		}
	}
}
