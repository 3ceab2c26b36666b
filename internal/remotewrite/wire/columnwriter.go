package wire

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
)

// columnWriter writes the rows of layouts with the samples of their columns, each row with a sample of each column. It
// writes them compressed (snappyWriter), so that the plain text is never in memory. What repeats is known without a
// search: rows say which labels are those of the row before, and samples are compared with those of the same columns.
//
//	series before  … 1a 02 … 12 10 09 00 00 00 00 00 00 10 40 10 80 e4 8f dc bc 31  12 10 09 …
//	this series    … 1a 03 … 12 10 09 00 00 00 00 00 00 14 40 10 80 e4 8f dc bc 31  12 10 09 …
//	                 copy; literal 03; copy          literal  copy of the time and of the next head
type columnWriter struct {
	columnSamples

	series        columnSeries // the series that was written last:
	refs          []byte       // the references of its labels,
	metadata      []byte       // its metadata,
	shortMetadata uint64       // and that as a word (shortWord)
	isNew         bool         // the next row has other labels and metadata, whatever the reader says

	byHead    [1 << 6]columnHead // by a hash; a newer one replaces an older one
	longTexts writtenTexts       // labels of series in which they differ from the one before

	short            shortOwn // what is new in refs, if that is short
	own, newMetadata []byte   // scratch of add
}

// columnSeries is a series that is written already, with positions in the plain text.
type columnSeries struct {
	columnHead
	labels int // position of the references
}

// shortOwn is a part of columnWriter.refs as a word. Size 0: none.
type shortOwn struct {
	from, size int
	bytes      uint64
}

// columnHead is what comes before the references of a series.
type columnHead struct {
	at       uint32 // its position
	size     uint32 // of what follows the length
	refsSize uint32
}

// beginBlock begins a message.
func (w *columnWriter) beginBlock() {
	w.beginSamples()
	w.series, w.refs, w.metadata, w.isNew = columnSeries{}, w.refs[:0], w.metadata[:0], true
	clear(w.byHead[:])
	w.longTexts.begin()
}

// beginRows: the next series are the rows of another layout.
func (w *columnWriter) beginRows() { w.isNew = true }

// longText is the number of bytes from which on labels are searched for what was written before.
const longText = 12

// add writes the series of the row of the layout that the reader has read last. References get the numbers of the
// message.
func (w *columnWriter) add(row int, r *rowReader, to *columnSymbols) {
	d := w.setRefs(r, to)
	changed := w.isNew || r.described
	if changed {
		m := rowMetadata{r.metadata.typ, to.number(r.metadata.help), to.number(r.metadata.unit)}
		w.newMetadata = m.appendField(w.newMetadata[:0])
		changed = !bytes.Equal(w.metadata, w.newMetadata)
		w.metadata, w.newMetadata = w.newMetadata, w.metadata
		w.shortMetadata = shortWord(w.metadata)
	}
	w.isNew = false
	s, metadata := w.read(row), w.metadata
	labels := w.head(len(w.refs), s.size+len(metadata))
	w.writeLabels(d, r)
	w.series.labels = labels
	at := w.at
	w.writeSamples(s)
	switch n := len(metadata); {
	case n == 0:
	case w.shortMetadata != 0 && w.shortMetadata == s.from.shortMetadata:
		w.repeat(int(s.from.end)-n, n)
	case n >= minCopy && !changed:
		w.repeat(int(w.before.end)-n, n)
	default:
		w.literal(metadata)
	}
	w.remember(s, at, w.shortMetadata)
}

// shortWord returns a text that is shorter than a word as a word, and 0 for any other.
func shortWord(s []byte) (w uint64) {
	if len(s) >= 8 || len(s) == 0 {
		return 0
	}
	if cap(s) >= 8 {
		return binary.LittleEndian.Uint64(s[:8]) & (1<<(8*len(s)) - 1)
	}
	for i, c := range s {
		w |= uint64(c) << (8 * i)
	}
	return w
}

// shortText is literal, faster for short texts.
func (w *columnWriter) shortText(s []byte) {
	if n := len(s); 0 < n && n <= 8 && cap(s) >= 8 {
		w.word(binary.LittleEndian.Uint64(s[:8]), n)
		return
	}
	w.literal(s)
}

// head writes what comes before the references of a series. rest is the size of what follows them. It returns their
// position.
func (w *columnWriter) head(refs, rest int) (labels int) {
	headSize := 1 + shortSize(refs)
	h := columnHead{uint32(w.at), uint32(headSize + refs + rest), uint32(refs)}
	n := 1 + shortSize(int(h.size)) + headSize
	b := &w.series.columnHead
	known := &w.byHead[(h.size*7+h.refsSize)%uint32(len(w.byHead))]
	switch {
	case b.size == h.size && b.refsSize == h.refsSize:
		w.repeat(int(b.at), n)
	case known.size == h.size && known.refsSize == h.refsSize:
		w.repeat(int(known.at), n)
	default:
		var head [2 * maxHead]byte
		w.shortText(appendHead(head[:0], refs, rest))
	}
	*known, *b = h, h
	return w.at
}

// shortSize is uvarintSize, faster for small numbers.
func shortSize(n int) int {
	if n < 1<<7 {
		return 1
	}
	return uvarintSize(uint64(n))
}

// refsDiff is how the references of a series differ from those of the series before.
type refsDiff struct {
	begin, end int // bytes at the begin and at the end that are the same
	before     int // size of the references of the series before
}

// setRefs puts the references of the present row into w.refs.
func (w *columnWriter) setRefs(r *rowReader, to *columnSymbols) refsDiff {
	if r.own == 1 && !w.isNew { // most rows
		l := &r.labels[r.begin]
		name, n := refBytes(to.number(l.name))
		value, size := refBytes(to.number(l.value))
		if from := int(r.from); n+size == int(r.to)-from && n+size <= 8 && from+8 <= cap(w.refs) {
			l.end = r.to
			return w.setShort(from, name|value<<(8*n), n+size)
		}
	}
	w.short.size = 0
	first, last, from, until := r.begin, r.begin+r.own, int(r.from), int(r.to)
	if w.isNew {
		first, last, from, until = 0, len(r.labels), 0, len(w.refs)
	}
	own, labels := w.own[:0], r.labels[first:last]
	for i := range labels {
		l := &labels[i]
		own = appendUvarint(appendUvarint(own, uint64(to.number(l.name))), uint64(to.number(l.value)))
		l.end = uint32(from + len(own))
	}
	w.own = own
	d := refsDiff{begin: from, end: len(w.refs) - until, before: len(w.refs)}
	before := w.refs[from:until]
	same := commonPrefix(own, before)
	d.begin += same
	d.end += commonSuffix(own[same:], before[same:])
	if len(own) != len(before) {
		grown := uint32(len(own) - len(before))
		for i := range r.labels[last:] {
			r.labels[last+i].end += grown
		}
	}
	w.refs = slices.Replace(w.refs, from, until, own...)
	return d
}

// refBytes returns a reference as its bytes. They are more than 8 if that is not possible.
func refBytes(ref uint32) (bytes uint64, n int) {
	switch {
	case ref < 1<<7:
		return uint64(ref), 1
	case ref < 1<<14:
		return uint64(ref&0x7f|0x80) | uint64(ref>>7)<<8, 2
	}
	return 0, 9
}

// setShort replaces n bytes of w.refs, at most 8, by those of a word.
func (w *columnWriter) setShort(from int, own uint64, n int) refsDiff {
	at := w.refs[:cap(w.refs)][from:][:8]
	before := binary.LittleEndian.Uint64(at)
	other := (before ^ own) & (^uint64(0) >> (64 - 8*n))
	binary.LittleEndian.PutUint64(at, before^other)
	begin := min(bits.TrailingZeros64(other)/8, n)
	end := max(begin, (bits.Len64(other)+7)/8)
	w.short = shortOwn{from + begin, end - begin, own >> (8 * begin)}
	return refsDiff{from + begin, len(w.refs) - from - end, len(w.refs)}
}

// writeLabels writes the references of a series.
func (w *columnWriter) writeLabels(d refsDiff, r *rowReader) {
	b := &w.series
	if d.begin < minCopy && !w.repeatsUpTo(b.labels) {
		d.begin = 0
	}
	if d.end < minCopy {
		d.end = 0
	}
	at, until := w.at, len(w.refs)-d.end
	w.repeat(b.labels, d.begin)
	own := w.refs[d.begin:until]
	known := 0 // position of them in an earlier series
	if r.long > 0 {
		known = r.longPosition(at, d.begin, until)
	}
	switch {
	case known > 0 && len(own) >= minCopied:
		w.repeat(known, len(own))
	case w.short.size == len(own) && w.short.size > 0 && w.short.from == d.begin:
		w.word(w.short.bytes, w.short.size)
	case len(own) < longText:
		w.shortText(own)
	default:
		w.longTexts.write(&w.snappyWriter, own)
	}
	w.repeat(b.labels+d.before-d.end, d.end)
}
