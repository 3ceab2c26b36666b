package wire

import (
	"slices"

	"github.com/golang/snappy"
)

// columnJoiner makes messages of the columns of several streams, which have no series in common: row after row of each
// layout, with a sample of each of its columns. Only symbols and values are unpacked, and no series is looked up.
//
// Cost: the symbols of two layouts, 8 bytes per sample of a stream, and the result as it is sent.
type columnJoiner struct {
	byStream refTable // index in streams
	streams  []joinedStream
	columns  []joinedColumn // by message of the group

	most    Limits
	pool    *Pool
	out     []Message
	message Message // the present one; it has no fragment yet
	symbols columnSymbols
	rows    rowReader
	values  []float64 // of the present stream
	write   columnWriter
	block   []byte // scratch of pack
	need    int    // about the memory that the largest message of the last group needed
}

// joinedStream is the messages of a stream.
type joinedStream struct {
	layout      *Layout
	first, last int // messages of the group
	columns     int
	other       bool // they are not only columns of the layout
}

// joinedColumn is a message of a stream.
type joinedColumn struct {
	parsedColumn
	next int // message of the stream
}

// take finds the streams of a group that have only columns of one layout each. It returns the messages of the others.
func (j *columnJoiner) take(group []Message) (others []Message) {
	j.byStream.begin()
	j.streams, j.columns = j.streams[:0], slices.Grow(j.columns[:0], len(group))[:len(group)]
	for i := range group {
		g := &group[i]
		n, known := j.byStream.find(g.Stream)
		if !known {
			n = uint32(len(j.streams))
			j.byStream.add(g.Stream, n)
			j.streams = append(j.streams, joinedStream{layout: g.Layout, first: i, other: g.Stream == 0})
		}
		s := &j.streams[n]
		if !s.other {
			s.other = !j.isColumn(g, s.layout, i)
		}
		if known {
			j.columns[s.last].next = i
		}
		s.last = i
		s.columns++
	}
	for i := range group {
		if n, _ := j.byStream.find(group[i].Stream); j.streams[n].other {
			others = append(others, group[i])
		}
	}
	return others
}

// isColumn reports whether a message is a column of a layout, and reads the begin of it.
func (j *columnJoiner) isColumn(g *Message, layout *Layout, message int) (ok bool) {
	if g.Layout == nil || g.Layout.Packed || !g.Layout.equal(layout) || len(g.Fragments) != 1 {
		return false
	}
	c, err := parseColumn(g.Fragments[0])
	if err != nil {
		return false
	}
	_, ok = timeField(c.time)
	j.columns[message].parsedColumn = c
	return ok
}

// join makes messages of the streams of a group that have only columns.
func (j *columnJoiner) join(group []Message, most Limits, p *Pool) ([]Message, error) {
	j.most, j.pool, j.out, j.need = most, p, nil, 0
	defer j.forget()
	j.begin()
	for i := range j.streams {
		if s := &j.streams[i]; !s.other {
			if err := j.add(group, s); err != nil {
				p.ReleaseMerged(j.out)
				return nil, err
			}
		}
	}
	j.finish()
	return j.out, nil
}

// forget drops the references to the messages and to the result.
func (j *columnJoiner) forget() {
	clear(j.streams)
	clear(j.columns)
	clear(j.write.columns)
	j.rows.data, j.symbols.whole, j.pool, j.out = nil, snappyBlock{}, nil, nil
	j.symbols.group.forget()
}

// begin begins a message.
func (j *columnJoiner) begin() {
	j.message = Message{}
	j.symbols.beginMessage()
	j.write.beginBlock()
	j.rows.forgetPositions()
}

// mostOfSample is about the largest size of a sample.
const mostOfSample = 32

// add writes the rows of a stream.
func (j *columnJoiner) add(group []Message, s *joinedStream) error {
	p, err := s.layout.parse()
	if err != nil {
		return err
	}
	if err := j.rows.reset(p.rows); err != nil {
		return err
	}
	rows := j.rows.rows
	if err := j.readColumns(group, s, rows); err != nil {
		return err
	}
	samples := rows * s.columns
	size := p.symbols.plain + p.series.plain + mostOfSample*samples
	fits := j.most.allow(samples, size)
	if fits && !j.most.allow(j.message.Samples+samples, j.size()+size) {
		j.finish()
	}
	if err := j.symbols.read(p.symbols, j.rows.symbols); err != nil {
		return err
	}
	asPacked := fits && j.message.Samples == 0
	if asPacked {
		j.symbols.beginPacked(p.symbols)
	} else {
		j.symbols.begin()
	}
	noted, left := false, 4*p.series.plain+2*mostOfSample*samples
	for row := range rows {
		if !asPacked && j.message.Samples > 0 && !j.most.allow(j.message.Samples+s.columns, j.size()) {
			j.finish()
			j.symbols.begin()
			noted = false
		}
		if err := j.rows.next(); err != nil {
			return err
		}
		at := j.write.at
		j.write.add(row, &j.rows, &j.symbols)
		if left -= j.write.at - at; left < 0 || j.write.at > maxFragment {
			return errDamaged
		}
		if !noted {
			j.note(group, s)
			noted = true
		}
		j.message.Samples += s.columns
	}
	if !j.rows.complete() {
		return errDamaged
	}
	return nil
}

// allow reports whether a message may have this number of samples and bytes.
func (l Limits) allow(samples, bytes int) bool {
	return (l.Samples == 0 || samples <= l.Samples) && (l.Bytes == 0 || bytes < l.Bytes)
}

// readColumns reads the values of a stream.
func (j *columnJoiner) readColumns(group []Message, s *joinedStream, rows int) error {
	samples := rows * s.columns
	if samples > maxFragment { // as long as its fields would be
		return errDamaged
	}
	j.values = slices.Grow(j.values[:0], samples)[:samples]
	j.write.beginColumns()
	values := j.values
	for i, left := s.first, s.columns; left > 0; left-- {
		c := &j.columns[i]
		if group[i].Samples != rows {
			return errDamaged
		}
		if err := c.read(values[:rows]); err != nil {
			return err
		}
		j.write.addColumn(c.time, values[:rows])
		values, i = values[rows:], c.next
	}
	return nil
}

// note is called for each stream that the present message has samples of.
func (j *columnJoiner) note(group []Message, s *joinedStream) {
	for i, left := s.first, s.columns; left > 0; left-- {
		j.message.note(&group[i], j.message.Samples == 0 && i == s.first)
		i = j.columns[i].next
	}
}

// size returns the size of the plain text of the present message.
func (j *columnJoiner) size() int { return j.symbols.size() + j.write.at }

// finish packs the present message, if it has samples, and begins the next one.
func (j *columnJoiner) finish() {
	if j.message.Samples == 0 {
		return
	}
	j.message.Fragments = [][]byte{j.pack()}
	j.out = append(j.out, j.message)
	j.begin()
}

// pack packs the present message.
func (j *columnJoiner) pack() []byte {
	var fresh []byte // elements
	if n := snappy.MaxEncodedLen(len(j.symbols.fresh)); len(j.symbols.fresh) > 0 {
		if cap(j.block) < n {
			j.block = make([]byte, n+n/4)
		}
		b, _ := parseBlock(snappy.Encode(j.block[:cap(j.block)], j.symbols.fresh))
		fresh = b.elements
	}
	packed, plain, series := j.symbols.whole.elements, uint64(j.symbols.size()), j.write.elements()
	size := uvarintSize(plain) + len(packed) + len(fresh)
	out := j.pool.emptyBody(2*maxPackedHead + size + len(series))
	out = appendUvarint(appendUvarint(out, uint64(size)), plain)
	out = append(append(out, packed...), fresh...)
	out = append(appendUvarint(out, uint64(j.write.at)), series...)
	j.need = max(j.need, j.used())
	return out
}

// used returns about how much memory the present message needs.
func (j *columnJoiner) used() int {
	return 8*len(j.values) + j.symbols.used() + j.write.n + len(j.write.longTexts.written) +
		snappy.MaxEncodedLen(len(j.symbols.fresh))
}

// kept returns how much memory the joiner keeps.
func (j *columnJoiner) kept() int {
	const ofColumn, ofStream = 56, 48
	return 8*cap(j.values) + j.rows.kept() + j.symbols.kept() + len(j.write.out) +
		cap(j.write.longTexts.written) + cap(j.block) + ofColumn*cap(j.columns) + ofStream*cap(j.streams)
}
