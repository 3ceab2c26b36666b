package wire

import (
	"slices"

	"github.com/golang/snappy"
)

// columnJoiner makes messages of the columns of several streams, which have no series in common: row after row of each
// layout, with a sample of each of its columns. Only symbols and values are unpacked, and no series is looked up. It
// makes them as remote write 2.0, or as the body of a 1.0 request (Limits.BytesV1).
//
// Cost: the symbols of two layouts, 8 bytes per sample of a stream, and the result as it is sent.
type columnJoiner struct {
	byStream refTable // index in streams
	streams  []joinedStream
	columns  []joinedColumn // by message of the group

	group   []Message
	most    Limits
	pool    *Pool
	out     []Message
	part    joinedPart // the rows that are to be written
	at      rowPosition
	began   rowPosition // of the present message
	message Message     // the present one; it has no fragment yet
	symbols columnSymbols
	rows    rowReader
	values  []float64 // of the present stream
	write   columnWriter
	v1      *columnWriterV1 // nil: no message was made as 1.0
	as      Protocol
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

// join makes messages of the streams that have only columns, of the group that take has looked at.
func (j *columnJoiner) join(group []Message, part joinedPart, most Limits, p *Pool) ([]Message, error) {
	j.group, j.part, j.most, j.pool, j.out, j.need, j.as = group, part, most, p, nil, 0, V2
	if most.BytesV1 > 0 {
		j.as, j.most.Bytes = V1, most.BytesV1
		if j.v1 == nil {
			j.v1 = &columnWriterV1{}
		}
	}
	defer j.forget()
	j.at = part.from
	j.begin()
	for i := range j.streams {
		if s := &j.streams[i]; !s.other && part.has(i) {
			if err := j.add(s, i); err != nil {
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
	clear(j.samples().columns)
	j.rows.data, j.symbols.whole, j.group, j.pool, j.out = nil, snappyBlock{}, nil, nil, nil
	j.symbols.group.forget()
	if j.v1 != nil {
		clear(j.v1.texts.of)
	}
}

// samples returns the writer of samples of the present protocol.
func (j *columnJoiner) samples() *columnSamples {
	if j.as == V1 {
		return &j.v1.columnSamples
	}
	return &j.write.columnSamples
}

// begin begins a message.
func (j *columnJoiner) begin() {
	j.message, j.began = Message{}, j.at
	j.symbols.beginMessage()
	if j.as == V1 {
		j.v1.beginBlock()
	} else {
		j.write.beginBlock()
	}
	j.rows.forgetPositions()
}

// mostOfSample is about the largest size of a sample.
const mostOfSample = 32

// add writes the rows of a stream.
func (j *columnJoiner) add(s *joinedStream, stream int) error {
	p, err := s.layout.parse()
	if err != nil {
		return err
	}
	if err := j.rows.reset(p.rows); err != nil {
		return err
	}
	rows := j.rows.rows
	from, to := j.part.rows(stream, rows)
	if from == to {
		return nil
	}
	if err := j.readColumns(s, rows); err != nil {
		return err
	}
	samples, size, left := (to-from)*s.columns, 0, MaxPlainBytes
	if j.as != V1 { // the size of 1.0 is not known yet
		size = p.symbols.plain + p.series.plain + mostOfSample*samples
		left = 4*p.series.plain + 2*mostOfSample*samples
	}
	fits := j.most.allow(samples, size)
	if fits && !j.most.allow(j.message.Samples+samples, j.size()+size) {
		j.finish()
	}
	if err := j.symbols.read(p.symbols, j.rows.symbols); err != nil {
		return err
	}
	asPacked := fits && j.message.Samples == 0 && to-from == rows && j.as != V1
	if asPacked || j.as == V1 && j.message.Samples == 0 {
		j.symbols.beginPacked(p.symbols)
	} else {
		j.symbols.begin()
	}
	noted, text, mayBreak := false, j.samples(), !fits || j.as == V1
	for row := range to {
		if err := j.rows.next(); err != nil {
			return err
		}
		if row < from {
			continue
		}
		if mayBreak && j.message.Samples > 0 && !j.most.allow(j.message.Samples+s.columns, j.size()) {
			j.at = rowPosition{stream, row}
			j.finish()
			j.symbols.begin()
			noted = false
		}
		at := text.at
		if j.as != V1 {
			j.write.add(row, &j.rows, &j.symbols)
		} else if err := j.v1.add(row, &j.rows, &j.symbols); err != nil {
			return err
		}
		if left -= text.at - at; left < 0 || j.as != V1 && text.at > maxFragment {
			return errDamaged
		}
		if !noted {
			j.note(s)
			noted = true
		}
		j.message.Samples += s.columns
	}
	j.at = rowPosition{stream, to}
	if to == rows && !j.rows.complete() {
		return errDamaged
	}
	return nil
}

// allow reports whether a message may have this number of samples and bytes.
func (l Limits) allow(samples, bytes int) bool {
	return (l.Samples == 0 || samples <= l.Samples) && (l.Bytes == 0 || bytes < l.Bytes)
}

// readColumns reads the values of a stream.
func (j *columnJoiner) readColumns(s *joinedStream, rows int) error {
	samples := rows * s.columns
	if samples > maxFragment { // as long as its fields would be
		return errDamaged
	}
	j.values = slices.Grow(j.values[:0], samples)[:samples]
	write, values := j.samples(), j.values
	write.beginColumns()
	if j.as == V1 {
		j.v1.beginRows()
	} else {
		j.write.beginRows()
	}
	for i, left := s.first, s.columns; left > 0; left-- {
		c := &j.columns[i]
		if j.group[i].Samples != rows {
			return errDamaged
		}
		if err := c.read(values[:rows]); err != nil {
			return err
		}
		write.addColumn(c.time, values[:rows])
		values, i = values[rows:], c.next
	}
	return nil
}

// note is called for each stream that the present message has samples of.
func (j *columnJoiner) note(s *joinedStream) {
	for i, left := s.first, s.columns; left > 0; left-- {
		j.message.note(&j.group[i], j.message.Samples == 0 && i == s.first)
		i = j.columns[i].next
	}
}

// size returns the size of the plain text of the present message.
func (j *columnJoiner) size() int {
	if j.as == V1 {
		return j.v1.at
	}
	return j.symbols.size() + j.write.at
}

// finish packs the present message, if it has samples, and begins the next one.
func (j *columnJoiner) finish() {
	if j.message.Samples == 0 {
		return
	}
	if j.as == V1 {
		block := j.v1.finish()
		body := append(j.pool.emptyBody(len(block)), block...)
		j.message.joined = &joinedMessage{j.group, joinedPart{j.began, j.at}, body}
		j.need = max(j.need, len(body)+8*len(j.values)+j.symbols.used())
	} else {
		j.message.Fragments = [][]byte{j.pack()}
	}
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
	n := 8*cap(j.values) + j.rows.kept() + j.symbols.kept() + len(j.write.out) +
		cap(j.write.longTexts.written) + cap(j.block) + ofColumn*cap(j.columns) + ofStream*cap(j.streams)
	if j.v1 != nil {
		n += j.v1.kept()
	}
	return n
}
