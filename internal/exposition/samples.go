package exposition

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/model/value"

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
	d := p.borrow()
	d.cold = d.cold[:0]
	if typeSalt(p.parseType) != 0 { // the type decides how le and quantile are printed
		d.cold = append(append(append(d.cold, "# TYPE t "...), p.parseType...), '\n')
	}
	lean := len(d.cold)
	d.cold = append(d.cold, line...)
	parser := textparse.NewPromParser(d.cold, nil, false)
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
	d := p.borrow()
	p.changed = p.changed || entry != textparse.EntryComment
	learn := func() place { return placeComment }
	switch entry {
	case textparse.EntryType:
		name, typ := parser.Type()
		p.parseType = typ
		p.family = family{hash: p.familyHash(name), typ: series.TypeOf(typ)}
		learn = func() place { return d.learnFamily(p.family) }
	case textparse.EntryHelp:
		name, help := parser.Help()
		p.family = p.family.moved(p.familyHash(name))
		p.remember(func(m *series.Meta) { m.Help = strings.Clone(string(help)) })
		learn = func() place { return d.learnFamily(family{hash: p.family.hash, help: true}) }
	}
	p.spare++
	text = bytes.TrimSuffix(text, []byte("\n"))
	if p.spent() || !simple || len(text) == 0 || text[0] != '#' || bytes.IndexByte(text, 0) >= 0 {
		return // hit could not tell it again
	}
	hash := maphash.Bytes(p.layouts.seed, text) ^ commentSalt
	n, known := d.find(hash)
	if !known {
		n = d.learn(hash, learn(), lengthOf(text))
	}
	p.again(n)
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
	if !p.opts.HonorTimestamps {
		own = nil
	}
	d := p.diverge()
	d.timed = d.timed || own != nil

	hash := maphash.Bytes(p.layouts.seed, text) ^ typeSalt(p.parseType)
	n, known := d.find(hash)
	isNew := !known || d.uncounted(n) && !d.met(n)
	if known && p.changed {
		var lset labels.Labels
		parser.Labels(&lset)
		p.renew(n, lset.Get(model.MetricNameLabel))
	}
	over := p.histogram.unlimited != nil
	if !known || isNew && (over || own != nil && p.outside(d.at(n), *own)) {
		var lset labels.Labels
		parser.Labels(&lset)
		if known || over || own != nil && *own > p.maxTime || p.unlearnable() {
			return -1, p.passOver(lset, own)
		}
		if n, err = p.learn(hash, lset, lengthOf(text), own); err != nil || n < 0 {
			p.counts.Scraped++
			return -1, err
		}
	}
	return p.addKnown(n, isNew, own, v), nil
}

// sampleNew takes a sample whose text was never seen and whose labels are known all the same.
func (p *Page) sampleNew(hash uint64, lset labels.Labels, length uint16, v float64) error {
	p.diverge()
	n, err := p.learn(hash, lset, length, nil)
	if err != nil || n < 0 {
		p.counts.Scraped++
		return err
	}
	p.addKnown(n, true, nil, v)
	return nil
}

// outside tells that a storage would refuse a sample for its own timestamp.
func (p *Page) outside(at place, own int64) bool {
	return own > p.maxTime || at.kind() == placeSeries && p.learner.Late(at.id(), own)
}

// passOver counts a sample, of a series that is new, that is not taken: for its own timestamp, because the page has
// too many, or its histogram too many buckets. It learns nothing: the text is as new as before when it comes again.
func (p *Page) passOver(lset labels.Labels, own *int64) error {
	p.counts.Scraped++
	id, keep, err := p.learner.Learn(lset, p.meta(lset.Get(model.MetricNameLabel)))
	switch {
	case err != nil:
		return p.unlessLimited(err, own)
	case !keep:
		return nil
	}
	p.layouts.table.Release(slices.Values([]series.ID{id}))
	p.refuse(own)
	return nil
}

// unlessLimited returns the error of a new series that fails the page, unless a limit keeps its sample out.
func (p *Page) unlessLimited(err error, own *int64) error {
	if !errors.Is(err, ErrLabelTwice) {
		return err
	}
	limited := !p.withinLimits()
	if tooFar := own != nil && *own > p.maxTime; tooFar && !limited {
		p.counts.OutOfBounds++
		limited = true
	}
	if !limited {
		return err
	}
	p.counts.Kept++
	return nil
}

// refuse counts a sample that passed the rules and is not taken.
func (p *Page) refuse(own *int64) {
	p.counts.Kept++
	switch {
	case !p.withinLimits() || own == nil:
	case *own > p.maxTime:
		p.counts.OutOfBounds++
	case p.histogram.invalid != nil:
		p.histogram.refused = p.histogram.invalid
	default:
		p.counts.OutOfOrder++
	}
}

// addKnown counts one sample of a known line, learned just now if it is new, and adds it to the batch. It returns
// its place there; -1: it has none.
func (p *Page) addKnown(n int, isNew bool, own *int64, v float64) (index int) {
	d := p.draft
	if own == nil && p.spent() && p.repeats(n) {
		return -1
	}
	p.counts.Scraped++
	fresh := p.again(n)
	at := d.last()
	if at.kind() == placeDropped {
		p.spare++
		return -1
	}
	p.counts.Kept++
	if !fresh && own == nil {
		p.spare++
		p.counts.Duplicates++
		*at |= duplicateBit | repeatedBit
		return -1
	}
	if marker := !isNew && value.IsStaleNaN(v); !marker && !p.withinLimits() { // protobuf can hold one; it is spared
		return -1
	}
	id := at.id()
	if own != nil && !p.opts.TrackTimestamps {
		*at |= duplicateBit // staleness does not follow it
	}
	if own != nil && *own > p.maxTime {
		p.counts.OutOfBounds++
		*at |= duplicateBit
		return -1
	}
	if p.histogram.invalid != nil {
		p.histogram.refused = p.histogram.invalid
		return -1
	}
	if own != nil && p.learner.Late(id, *own) {
		p.counts.OutOfOrder++
		*at |= duplicateBit
		return -1
	}
	if isNew && fresh {
		if p.limitErr == nil {
			p.counts.Added++
		}
		if n < len(d.known.hashes) {
			d.counted.Add(uint32(n) + 1)
		} else {
			d.appended = len(d.learned.hashes)
		}
	}
	if own == nil && !d.seen.Add(uint32(id)) {
		p.counts.Duplicates++
		*at |= duplicateBit
		return -1
	}
	index = p.batch.Add(id, v)
	if own != nil {
		p.batch.Times = append(p.batch.Times, series.OwnTime{Index: index, Time: *own})
	}
	return index
}

var errTooMany = fmt.Errorf("more than %d series in this process", numberMask)

// learn asks what becomes of a series, and returns the number that its line has from now on; -1: the page has dropped
// so many that it is not learned, or its own timestamp is out of order.
func (p *Page) learn(hash uint64, lset labels.Labels, length uint16, own *int64) (n int, err error) {
	id, keep, err := p.learner.Learn(lset, p.meta(lset.Get(model.MetricNameLabel)))
	switch {
	case err != nil:
		return -1, p.unlessLimited(err, own)
	case !keep && p.spent():
		return -1, nil
	case !keep:
		return p.draft.learn(hash, placeDropped, length), nil
	case id > series.ID(numberMask):
		p.layouts.table.Release(slices.Values([]series.ID{id}))
		return 0, errTooMany
	case own != nil && p.learner.Late(id, *own):
		p.layouts.table.Release(slices.Values([]series.ID{id}))
		p.refuse(own)
		return -1, nil
	}
	return p.draft.learn(hash, placeSeries|place(id), length), nil
}
