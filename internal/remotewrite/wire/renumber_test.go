package wire

import (
	"bytes"
	"testing"
)

// labelLists are all lists of up to three labels of a small choice, with references of one byte and of two.
func labelLists() (lists [][][2]uint64) {
	var labels [][2]uint64
	for _, name := range []uint64{1, 129} { // in two bytes, of which the second is the first alone
		for _, value := range []uint64{3, 130, 131, 258} { // 130, 131 and 258 have bytes in common
			labels = append(labels, [2]uint64{name, value})
		}
	}
	lists = [][][2]uint64{nil}
	for from := 0; len(lists[len(lists)-1]) < 3; {
		to := len(lists)
		for _, l := range lists[from:to] {
			for _, next := range labels {
				lists = append(lists, append(l[:len(l):len(l)], next))
			}
		}
		from = to
	}
	return lists
}

// TestRenumber renumbers every list of labels after every other, and the same without its last byte.
func TestRenumber(t *testing.T) {
	to := newRefs{known: []uint32{1: 200}, ask: func(old uint64) (uint64, error) {
		if old > 1000 {
			return 0, errDamaged
		}
		return old + 199, nil
	}}
	lists := labelLists()
	var r renumberer
	for _, base := range lists {
		for _, l := range lists {
			want := make([][2]uint64, len(l))
			for i, label := range l {
				want[i] = [2]uint64{label[0] + 199, label[1] + 199}
			}
			if err := r.rebase(packLabels(base), &to); err != nil {
				t.Fatal(err)
			}
			out, err := r.append(nil, packLabels(l), &to)
			if err != nil || !bytes.Equal(out, packLabels(want)) {
				t.Fatalf("%v after %v: %v, %v; want %v", l, base, out, err, packLabels(want))
			}
			if refs := packLabels(l); len(refs) > 0 {
				if out, err := r.append(nil, refs[:len(refs)-1], &to); err == nil {
					t.Fatalf("%v after %v without its last byte: %v", l, base, out)
				}
			}
		}
	}
}

// rebase makes a series the base, however few labels it has.
func (r *renumberer) rebase(refs []byte, to *newRefs) error {
	r.begin()
	out, err := r.append(nil, refs, to)
	r.learn(refs, out)
	return err
}
