package exposition

import (
	"bytes"
	"errors"
	"hash/maphash"
	"io"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// logicalLine returns the length of the first line of text as textparse counts lines: a quoted string (a
// label value, or a family's name in a comment) may hold newlines. whole is false when more text could
// change the answer.
func logicalLine(text []byte) (n int, whole bool) {
	i := bytes.IndexAny(text, "{#\n")
	switch {
	case i < 0:
		return len(text), false
	case text[i] == '\n':
		return i + 1, true
	case text[i] == '#':
		if i = quotedFamily(text); i < 0 {
			return toNewline(text, 0)
		}
		if i = skipQuoted(text, i); i < 0 {
			return len(text), false
		}
		return toNewline(text, i)
	}
	for i < len(text) && text[i] != '\n' {
		if text[i] != '"' {
			i++
			continue
		}
		if i = skipQuoted(text, i); i < 0 {
			return len(text), false
		}
	}
	return toNewline(text, i)
}

func toNewline(text []byte, from int) (n int, whole bool) {
	if nl := bytes.IndexByte(text[from:], '\n'); nl >= 0 {
		return from + nl + 1, true
	}
	return len(text), false
}

// quotedFamily returns where the quoted name of a HELP or TYPE begins; -1: there is none.
func quotedFamily(text []byte) int {
	rest, ok := bytes.CutPrefix(bytes.TrimLeft(text, " \t"), []byte("#"))
	if rest, ok = cutBlanks(rest, ok); !ok {
		return -1
	}
	for _, word := range []string{"HELP", "TYPE"} {
		after, ok := bytes.CutPrefix(rest, []byte(word))
		if after, ok = cutBlanks(after, ok); ok && len(after) > 0 && after[0] == '"' {
			return len(text) - len(after)
		}
	}
	return -1
}

// cutBlanks cuts the blanks before s, of which there must be one.
func cutBlanks(s []byte, before bool) (rest []byte, ok bool) {
	rest = bytes.TrimLeft(s, " \t")
	return rest, before && len(rest) < len(s)
}

// skipQuoted returns the place after the string that begins at from; -1: it does not end in text.
func skipQuoted(text []byte, from int) int {
	for i := from + 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

// readCold takes one logical line by textparse, and learns its text where it may be met again. simple tells
// that the line is one physical line, which alone can be recognised later.
func (p *Page) readCold(line []byte, simple bool) (end bool, err error) {
	p.cold = p.cold[:0]
	if typeSalt(p.parseType) != 0 { // the type decides how le and quantile are printed
		p.cold = append(append(append(p.cold, "# TYPE t "...), p.parseType...), '\n')
	}
	lean := len(p.cold)
	p.cold = append(p.cold, line...)
	parser := textparse.NewPromParser(p.cold, nil, false)
	if lean > 0 {
		if _, err := parser.Next(); err != nil {
			return false, err
		}
	}

	entry, err := parser.Next()
	switch {
	case errors.Is(err, io.EOF):
		// Nothing but blanks, or the lexer met a NUL where it ends the text.
		return len(bytes.Trim(line, " \t\n")) > 0, nil
	case err != nil:
		return false, err
	}
	switch entry {
	case textparse.EntryType, textparse.EntryHelp, textparse.EntryComment:
		p.readComment(parser, entry, line, simple)
		return false, nil
	default:
		return false, p.readSeries(parser)
	}
}

func (p *Page) readComment(parser textparse.Parser, entry textparse.Entry, text []byte, simple bool) {
	l := line{kind: lineComment}
	switch entry {
	case textparse.EntryType:
		name, typ := parser.Type()
		p.parseType = typ
		p.family = family{hash: p.familyHash(name), typ: typ}
		l.kind, l.extra, l.typ = lineType, p.family.hash, typeNumber(typ)
	case textparse.EntryHelp:
		name, help := parser.Help()
		p.family = p.family.moved(p.familyHash(name))
		p.remember(func(m *series.Meta) { m.Help = strings.Clone(string(help)) })
		l.kind, l.extra = lineHelp, p.family.hash
	}
	text = bytes.TrimSuffix(text, []byte("\n"))
	if simple && len(text) > 0 && text[0] == '#' && bytes.IndexByte(text, 0) < 0 {
		l.hash = maphash.Bytes(p.seed, text) ^ commentSalt
		p.expect(p.learnLine(l))
	}
}

// learnLine adds a line unless its text is known.
func (p *Page) learnLine(l line) uint32 {
	if at, ok := p.known.index[l.hash]; ok {
		return at
	}
	return p.known.add(l)
}

// readSeries takes the sample that the parser stands at.
func (p *Page) readSeries(parser textparse.Parser) error {
	text, own, v := parser.Series()
	_, err := p.take(parser, text, own, v)
	return err
}

// take counts one sample of a parser, learns its text if it is new and adds it to the batch. It returns its
// place there; -1: it has none.
func (p *Page) take(parser textparse.Parser, text []byte, own *int64, v float64) (index int, err error) {
	p.counts.Scraped++
	if !p.opts.HonorTimestamps {
		own = nil
	}
	p.diverge()

	hash := maphash.Bytes(p.seed, text) ^ typeSalt(p.parseType)
	at, known := p.known.index[hash]
	if !known {
		var lset labels.Labels
		parser.Labels(&lset)
		id, keep, err := p.learner.Learn(lset, p.meta(lset.Get(model.MetricNameLabel)))
		if err != nil {
			return -1, err
		}
		l := line{hash: hash, id: id}
		if !keep {
			l.kind = lineDropped
		}
		at = p.known.add(l)
	}
	p.resume(at)
	fresh := p.known.mark(at)
	p.next = append(p.next, at)
	l := p.known.entries[at]
	if l.kind == lineDropped {
		return -1, nil
	}
	p.counts.Kept++
	if !fresh && own == nil {
		p.counts.Duplicates++
		p.next[len(p.next)-1] |= duplicateBit | repeatedBit
		return -1, nil
	}
	if !p.countSample() {
		return -1, nil
	}
	if own != nil && *own > p.maxTime {
		p.counts.OutOfBounds++
		return -1, nil
	}
	if !known && p.limitErr == nil {
		p.counts.Added++
	}
	if !p.first(l.id) && own == nil {
		p.counts.Duplicates++
		p.next[len(p.next)-1] |= duplicateBit
		return -1, nil
	}
	index = p.batch.Add(l.id, v)
	if own != nil {
		p.batch.Times = append(p.batch.Times, series.OwnTime{Index: index, Time: *own})
	}
	return index, nil
}

// family is the metric family that the last TYPE, HELP or UNIT spoke of.
type family struct {
	hash uint64 // 0: none yet
	typ  model.MetricType
}

func (f family) moved(hash uint64) family {
	if f.hash == hash {
		return f
	}
	return family{hash: hash, typ: model.MetricTypeUnknown}
}

func (p *Page) familyHash(name []byte) uint64 { return maphash.Bytes(p.seed, name) | 1 }

// remember keeps what a HELP or UNIT says of the family in force.
func (p *Page) remember(set func(*series.Meta)) {
	if p.help == nil {
		p.help = map[uint64]series.Meta{}
	}
	m := p.help[p.family.hash]
	set(&m)
	p.help[p.family.hash] = m
}

// meta returns the metadata of a series by its name: that of the family in force if it belongs to it, which
// is not certain on the pages of an old Envoy.
func (p *Page) meta(name string) series.Meta {
	unknown := series.Meta{Type: model.MetricTypeUnknown}
	if p.family.hash == 0 {
		return unknown
	}
	for _, suffix := range suffixes(p.family.typ) {
		base, ok := strings.CutSuffix(name, suffix)
		if !ok {
			continue
		}
		for _, family := range []string{base, base + suffix} {
			if maphash.String(p.seed, family)|1 == p.family.hash {
				m := p.help[p.family.hash]
				m.Type = p.family.typ
				return m
			}
		}
	}
	return unknown
}

// suffixes are what the series of a family may add to its name.
func suffixes(t model.MetricType) []string {
	switch t {
	case model.MetricTypeCounter:
		return []string{"", "_total"}
	case model.MetricTypeHistogram:
		return []string{"_bucket", "_sum", "_count", ""}
	case model.MetricTypeGaugeHistogram:
		return []string{"_bucket", "_gsum", "_gcount", ""}
	case model.MetricTypeSummary:
		return []string{"", "_sum", "_count"}
	case model.MetricTypeInfo:
		return []string{"", "_info"}
	default:
		return []string{""}
	}
}
