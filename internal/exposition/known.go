package exposition

import (
	"bytes"
	"hash/maphash"
)

// blankLines returns the length of the lines that text begins with and that say nothing.
func blankLines(text []byte) (n int) {
	for i, c := range text {
		switch c {
		case '\n':
			n = i + 1
		case ' ', '\t':
		default:
			return n
		}
	}
	return n
}

// repeat takes the line expected next if text begins with it, and returns its length; 0: it must be looked at. It
// finds what hit would, without searching for the line's ends: the length of its text is known. What it looks at in
// vain is at most as much as the page has: a long line may be expected where there is one blank line after another.
func (p *Page) repeat(text []byte) (n int) {
	if p.cursor >= p.repeatable {
		return 0
	}
	size := int(p.layout.lengths[p.cursor])
	if size == 0 || size >= len(text) {
		return 0
	}
	hash, at := maphash.Bytes(p.layouts.seed, text[:size]), p.layout.places[p.cursor]
	switch text[size] {
	case '\n':
		if hash^commentSalt != p.layout.hashes[p.cursor] {
			return p.missed(size)
		}
		p.comment(at, p.layout.families)
		size++
	case ' ':
		v, n := valueOfLine(text[size+1:])
		if n == 0 || hash^typeSalt(p.parseType) != p.layout.hashes[p.cursor] {
			return p.missed(size)
		}
		p.sample(at, v)
		size += 1 + n
	default:
		return p.missed(size)
	}
	p.cursor++
	return size
}

// missed notes that repeat has compared so many bytes in vain.
func (p *Page) missed(size int) (n int) {
	if p.wasted += size; p.wasted > p.scanned {
		p.repeatable = 0
	}
	return 0
}

// hit takes a line whose text is known (the repeat path), or new but as plain as Envoy's are. Not ok: the line
// is for textparse.
func (p *Page) hit(line []byte) (ok bool, err error) {
	if line[0] == '#' {
		return p.hitComment(line), nil
	}
	text, number := cutValue(line)
	v, ok := parseValue(number)
	if !ok {
		return false, nil
	}
	hash := maphash.Bytes(p.layouts.seed, text) ^ typeSalt(p.parseType)
	if p.next(hash) {
		p.sample(p.layout.places[p.cursor], v)
		p.cursor++
		return true, nil
	}
	if n, ok := p.find(hash); ok {
		if p.changed {
			p.renew(n, printedName(text))
		}
		if p.draft != nil && p.draft.uncounted(n) {
			p.diverge()
			p.addKnown(n, true, nil, canonical(v))
		} else {
			p.sampleAgain(n, v)
		}
		return true, nil
	}
	lset, ok := p.borrow().quick.parse(text, p.parseType)
	if !ok {
		return false, nil
	}
	if p.unlearnable() {
		return true, p.passOver(lset, nil)
	}
	return true, p.sampleNew(hash, lset, lengthOf(text), canonical(v))
}

func (p *Page) hitComment(line []byte) bool {
	hash := maphash.Bytes(p.layouts.seed, line) ^ commentSalt
	if p.next(hash) {
		p.comment(p.layout.places[p.cursor], p.layout.families)
		p.cursor++
		return true
	}
	plainly := isPlainComment(line)
	if plainly && p.spent() {
		p.spare++
		return true
	}
	n, ok := p.find(hash)
	switch {
	case ok:
		p.comment(p.draft.at(n), p.draft.families)
	case plainly:
		p.spare++
		n = p.draft.learn(hash, placeComment, lengthOf(line))
	default:
		return false
	}
	if !p.spent() {
		p.again(n)
	}
	return true
}

// isPlainComment tells that a line which begins with # is neither HELP nor TYPE and that no parser can think otherwise.
func isPlainComment(line []byte) bool {
	words := bytes.TrimLeft(line[1:], " \t")
	return !bytes.HasPrefix(words, []byte("HELP")) && !bytes.HasPrefix(words, []byte("TYPE")) && bytes.IndexByte(line, 0) < 0
}

// next tells that a line is the one expected, on a page that is.
func (p *Page) next(hash uint64) bool {
	return !p.diverged && p.cursor < p.layout.expected && p.layout.hashes[p.cursor] == hash
}

// find looks for a known line elsewhere. A text has one number, that of its first line.
func (p *Page) find(hash uint64) (n int, ok bool) {
	if at := p.cursor; at < p.layout.expected && p.layout.hashes[at] == hash && p.layout.places[at]&repeatedBit == 0 {
		return at, true
	}
	return p.borrow().find(hash)
}

// cutValue splits `series value` from the right.
func cutValue(line []byte) (text, number []byte) {
	i := len(line) - 1
	for i >= 0 && line[i] != ' ' && line[i] != '\t' {
		i--
	}
	number = line[i+1:]
	for i >= 0 && (line[i] == ' ' || line[i] == '\t') {
		i--
	}
	return line[:i+1], number
}
