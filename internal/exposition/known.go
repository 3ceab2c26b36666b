package exposition

import (
	"bytes"
	"hash/maphash"
)

// expectedLine takes the line expected next if text begins with it, and returns its length; 0: it does not.
//
// This is the fast path, which nearly all lines take: the length of the expected text is known, so there is no search
// for the end of the line. After
//
//	istio_requests_total{response_code="200"} 17
//
// the next page's line is hashed up to byte 41 and must go on with a blank and a number.
func (r *reading) expectedLine(text []byte) (n int) {
	c := &r.cursor
	if c.next >= c.fast {
		return 0
	}
	size := int(r.layout.lengths[c.next])
	if size == 0 || size >= len(text) {
		return 0
	}
	hash, ref := maphash.Bytes(r.seed, text[:size]), r.layout.refs[c.next]
	switch text[size] {
	case '\n':
		if hash^commentSalt != r.layout.hashes[c.next] {
			return c.miss(size)
		}
		r.comment(ref, r.layout.families)
		size++
	case ' ':
		v, n := valueOfLine(text[size+1:])
		if n == 0 || hash^typeSalt(r.family.parseType) != r.layout.hashes[c.next] {
			return c.miss(size)
		}
		r.sample(ref, v)
		size += 1 + n
	default:
		return c.miss(size)
	}
	c.next++
	return size
}

// miss notes that expectedLine has hashed size bytes without a match.
func (c *cursor) miss(size int) (n int) {
	if c.missed += size; c.missed > c.read {
		c.fast = 0
	}
	return 0
}

// isNext reports whether a line is the one expected next. expectedLine has not taken it because it is printed in
// another way, such as `a  1` with two blanks, or is the last one, without a newline.
func (r *reading) isNext(hash uint64) bool {
	c := &r.cursor
	return !c.diverged && c.next < r.layout.expected && r.layout.hashes[c.next] == hash
}

// expectedSample takes a sample line that isNext.
func (r *reading) expectedSample(v float64) {
	r.sample(r.layout.refs[r.cursor.next], v)
	r.cursor.next++
}

// find returns the number of a known line. A text has one number, that of its first line.
func (r *reading) find(hash uint64) (n int, ok bool) {
	next := r.cursor.next
	if next < r.layout.expected && r.layout.hashes[next] == hash && r.layout.refs[next].mark() != markRepeated {
		return next, true
	}
	return r.search(hash)
}

// knownSample takes a sample line that is known but not the one expected.
func (r *reading) knownSample(n int, text []byte, v float64) {
	if r.family.changed {
		r.updateMeta(n, printedName(text))
	}
	if r.draft != nil && r.draft.known.isUncounted(n) {
		r.diverge()
		r.addSample(n, true, nil, canonical(v))
		return
	}
	if r.tooManyExempt() && r.countRepeated(n) {
		return
	}
	fresh := r.show(n)
	ref := r.draft.last()
	if ref.isSeries() {
		if !fresh {
			*ref |= markRepeated
		} else if !r.draft.onSeries.Add(uint32(ref.id())) {
			*ref |= markDuplicate
		}
	}
	r.sample(*ref, v)
}

// show appends a known line to a page that has diverged, and expects next what followed the line on the page before. It
// reports whether the page shows the line for the first time.
func (r *reading) show(n int) (fresh bool) {
	d := r.diverge()
	if n < r.layout.expected {
		r.cursor.next = n + 1
	}
	d.show(n)
	return d.onPage.add(n)
}

// knownComment takes a comment line that is known, or new but neither HELP nor TYPE. Other ones are for slowLine.
func (r *reading) knownComment(line []byte) (taken bool) {
	hash := r.hashComment(line)
	if r.isNext(hash) {
		r.comment(r.layout.refs[r.cursor.next], r.layout.families)
		r.cursor.next++
		return true
	}
	plainly := isPlainComment(line)
	if plainly && r.tooManyExempt() {
		r.limits.exemptLines++
		return true
	}
	n, known := r.find(hash)
	switch {
	case known:
		r.comment(r.draft.known.at(n), r.draft.families)
	case plainly:
		r.limits.exemptLines++
		n = r.draft.known.learn(hash, refComment, lengthOf(line))
	default:
		return false
	}
	if !r.tooManyExempt() {
		r.show(n)
	}
	return true
}

// isPlainComment reports whether a line that begins with # is neither HELP nor TYPE for any parser.
func isPlainComment(line []byte) bool {
	words := bytes.TrimLeft(line[1:], " \t")
	return !bytes.HasPrefix(words, []byte("HELP")) && !bytes.HasPrefix(words, []byte("TYPE")) &&
		bytes.IndexByte(line, 0) < 0
}

// comment takes a known comment line: a TYPE or HELP puts its family in force.
func (r *reading) comment(ref lineRef, families []family) {
	r.limits.exemptLines++
	if ref.kind() != refFamily {
		return
	}
	if f := families[ref.number()]; f.help {
		r.family.moveTo(f.hash)
	} else {
		r.family.family, r.family.parseType = f, f.typ.Model()
	}
}

// sample takes a known sample line without a timestamp of its own.
func (r *reading) sample(ref lineRef, v float64) {
	r.counts.Scraped++
	if ref.kind() == refDropped {
		r.limits.exemptLines++
		return
	}
	r.counts.Kept++
	if ref.mark() == markRepeated {
		r.limits.exemptLines++
		r.counts.Duplicates++
		return
	}
	if !r.countSample() {
		return
	}
	if ref.duplicate() {
		r.counts.Duplicates++
		return
	}
	r.batch.Add(ref.id(), canonical(v))
}
