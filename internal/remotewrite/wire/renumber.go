package wire

// renumberer writes the references of series again, with other numbers. Nearly all series differ from one before, the
// base, in a few labels only: the name, le. The rest is copied from what was written for the base. For example, with
// reference n becoming n+100, and the base 1 20 3 30 4 40:
//
//	base       1 20    3 30 4 40    written as  101 120  103 130 104 140
//	series     1 21    3 30 4 40    looked up   101 121
//	                                copied               103 130 104 140
//
// It also finds damage: half a label, or half a reference.
type renumberer struct {
	base, out []byte   // references of the base, as read and as written
	ends      []refEnd // where labels of the base end; the first entry is before the first label
	ended     []int32  // by offset in base: number of labels that end there or before
	lookedUp  int      // labels of the present series that were not copied
}

// refEnd is an offset in base and the same place in out.
type refEnd struct{ base, out int32 }

// mostLookedUp is the number of labels to be looked up from which on a series becomes the base, the first label aside.
const mostLookedUp = 2

// begin forgets the base.
func (r *renumberer) begin() {
	r.base, r.out = nil, r.out[:0]
	r.ends = append(r.ends[:0], refEnd{})
	r.ended = append(r.ended[:0], 0)
}

// newRefs are the new numbers of references.
type newRefs struct {
	known []uint32 // by old number; 0: ask
	ask   func(old uint64) (uint64, error)
}

func (n *newRefs) of(old uint64) (uint64, error) {
	if old < uint64(len(n.known)) && n.known[old] != 0 {
		return uint64(n.known[old]), nil
	}
	return n.ask(old)
}

// append appends the references of a series with new numbers. refs must stay as they are until the next begin.
func (r *renumberer) append(dst, refs []byte, to *newRefs) (_ []byte, err error) {
	begin := len(dst)
	rest, skip := refs, 0
	r.lookedUp = 0
	first := int(r.ended[commonPrefix(refs, r.base)])
	if first == 0 && len(r.ends) > 1 && len(refs) > 0 { // usually another name
		if dst, rest, err = r.label(dst, refs, to); err != nil {
			return dst, err
		}
		r.lookedUp, skip = 0, 1
		second := int(r.ends[1].base)
		first = int(r.ended[second+commonPrefix(rest, r.base[second:])])
	}
	from, until := r.ends[skip], r.ends[first]
	dst = append(dst, r.out[from.out:until.out]...)
	rest = rest[until.base-from.base:]

	last := r.ends[r.common(rest, int(until.base))]
	end := len(rest) - (len(r.base) - int(last.base))
	for own := rest[:end]; len(own) > 0; {
		if dst, own, err = r.label(dst, own, to); err != nil {
			return dst, err
		}
	}
	dst = append(dst, r.out[last.out:]...)
	if r.lookedUp > mostLookedUp {
		r.learn(refs, dst[begin:])
	}
	return dst, nil
}

// common returns the number of the first label of the base, of those that begin at offset begin or later, from which
// on the base ends like rest.
func (r *renumberer) common(rest []byte, begin int) (label int) {
	n := commonSuffix(rest, r.base[begin:])
	from := len(r.base) - n
	label = int(r.ended[from])
	switch mine := len(rest) - n; {
	case int(r.ends[label].base) < from:
		return label + 1 // within a label
	case n > 0 && mine > 0 && rest[mine-1] >= 0x80:
		return label + 1 // within a reference of rest
	}
	return label
}

// label looks one label up.
func (r *renumberer) label(dst, refs []byte, to *newRefs) (_, rest []byte, err error) {
	name, value, rest, ok := cutRefs(refs)
	if !ok {
		return dst, nil, errDamaged
	}
	if name, err = to.of(name); err != nil {
		return dst, nil, err
	}
	if value, err = to.of(value); err != nil {
		return dst, nil, err
	}
	r.lookedUp++
	return appendUvarint(appendUvarint(dst, name), value), rest, nil
}

// learn makes a series the base.
func (r *renumberer) learn(refs, out []byte) {
	r.base, r.out = refs, append(r.out[:0], out...)
	r.ends, r.ended = append(r.ends[:0], refEnd{}), r.ended[:0]
	for in, out := refs, r.out; len(in) > 0; {
		_, _, in, _ = cutRefs(in)
		_, _, out, _ = cutRefs(out)
		end := refEnd{int32(len(refs) - len(in)), int32(len(r.out) - len(out))}
		for len(r.ended) < int(end.base) {
			r.ended = append(r.ended, int32(len(r.ends)-1))
		}
		r.ends = append(r.ends, end)
	}
	r.ended = append(r.ended, int32(len(r.ends)-1))
}

// size returns how much memory it keeps.
func (r *renumberer) size() int { return cap(r.out) + 8*cap(r.ends) + 4*cap(r.ended) }
