package wire

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
)

// columnWriter writes series that have only samples of one run of columns, as nearly all have: each series of a layout
// once, with a sample of each column. It writes them compressed (snappyWriter), so that the plain text is never in
// memory. What repeats is known without a search: a series is compared with the one before, its labels byte by byte,
// and its samples with those of the same columns.
//
//	series before  … 1a 02 … 12 10 09 00 00 00 00 00 00 10 40 10 80 e4 8f dc bc 31  12 10 09 …
//	this series    … 1a 03 … 12 10 09 00 00 00 00 00 00 14 40 10 80 e4 8f dc bc 31  12 10 09 …
//	                 copy; literal 03; copy          literal  copy of the time and of the next head
type columnWriter struct {
	snappyWriter
	run     uint32 // the present one; its number + 1; 0: none
	columns []writtenColumn
	timed   int      // bytes of the samples of a series, without the values
	values  []uint64 // bits of the values of the present series
	symbols uint64   // references from this one on are damage; 0: they are checked already

	before    columnSeries       // the series that was written last
	metadata  []byte             // of before
	valued    columnRow          // the last one without a value of 0
	byValues  [1 << 8]columnRow  // by a hash of their values; a newer one replaces an older one
	byHead    [1 << 6]columnHead // by a hash; likewise
	longTexts writtenTexts       // labels of series in which they differ from the one before
}

// writtenColumn is a column of the present run.
type writtenColumn struct {
	values []float64
	time   shortBytes // the field time of a Sample
}

// columnSeries is a series that is written already, with positions in the plain text.
type columnSeries struct {
	columnHead
	refs   []byte
	labels int // position of the references
	columnRow
}

// columnHead is what comes before the references of a series.
type columnHead struct {
	at       int // its position
	size     int // of what follows the length
	refsSize int
}

// columnRow is the samples of a series that is written already.
type columnRow struct {
	hash          uint64 // of the values
	shortMetadata uint64 // the metadata, if it is shorter than that
	samples       int    // their position
	end           int    // of the TimeSeries
	row           int    // of the layout, + 1; 0: there is none in this run
}

// beginBlock begins a message.
func (w *columnWriter) beginBlock() {
	w.snappyWriter.begin()
	w.before, w.metadata = columnSeries{}, w.metadata[:0]
	clear(w.byHead[:])
	w.longTexts.begin()
	w.forgetSamples()
}

// forgetSamples: the next series has other columns than those before.
func (w *columnWriter) forgetSamples() {
	w.before.row, w.valued = 0, columnRow{}
	clear(w.byValues[:])
}

// forget drops the references to the messages.
func (w *columnWriter) forget() {
	clear(w.columns)
	w.columns, w.run, w.before = w.columns[:0], 0, columnSeries{}
	w.forgetSamples()
}

// longText is the number of bytes from which on labels are searched for what was written before.
const longText = 12

// timeField returns the field time of a Sample. Not ok: it is longer than the time of a scrape ever is.
func timeField(tsMillis int64) (f shortBytes, ok bool) {
	n := uvarintSize(uint64(tsMillis))
	if tsMillis == 0 || n >= maxShort {
		return shortBytes{}, tsMillis == 0
	}
	var b [maxShort]byte
	binary.PutUvarint(b[1:], uint64(tsMillis))
	b[0] = tagSampleTime
	return shortBytes{binary.LittleEndian.Uint64(b[:]), 1 + n}, true
}

// beginRun makes a run the present one. Not ok: it has a time that only mergeWriter.add can write.
func (w *columnWriter) beginRun(m *merger, number uint32) (ok bool) {
	w.run, w.columns, w.timed = number+1, w.columns[:0], 0
	w.forgetSamples()
	run := &m.runs[number]
	l := &m.layouts[run.layout]
	for n, left := run.first, run.columns; left > 0; left-- {
		c := &m.columns[n]
		f, fits := timeField(c.time)
		if !fits {
			return false
		}
		w.timed += 2 + f.n
		w.columns = append(w.columns, writtenColumn{m.values[c.from : c.from+int(l.end-l.first)], f})
		n = c.next
	}
	w.values = append(w.values[:0], make([]uint64, len(w.columns))...)
	return true
}

// The begin of the field samples, with and without a value, except that the length is that without a time.
const (
	sampleHead     = tagSample | 9<<8 | tagSampleValue<<16
	sampleHeadZero = tagSample
	valuedSize     = 9 // of a value with its tag
)

// add writes the series of a row of the layout.
func (w *columnWriter) add(row int, refs, metadata []byte) error {
	b := &w.before
	valued, hash, asBefore := 0, uint64(0), b.row > 0
	for i := range w.columns {
		values := w.columns[i].values
		v := math.Float64bits(values[row])
		if v != 0 {
			valued++
		}
		asBefore = asBefore && v == math.Float64bits(values[b.row-1])
		hash = (hash ^ v) * 0x9e3779b97f4a7c15
		w.values[i] = v
	}
	samples := w.timed + valued*valuedSize
	size := 1 + uvarintSize(uint64(len(refs))) + len(refs) + samples + len(metadata)
	labels := w.head(columnHead{w.at, size, len(refs)})
	if err := w.labels(refs); err != nil {
		return err
	}
	here := columnRow{hash: hash, shortMetadata: shortWord(metadata), samples: w.at, row: row + 1}

	from := &b.columnRow // where the samples are, or similar ones
	equal := &w.byValues[hash>>56]
	switch {
	case asBefore:
		w.repeat(b.samples, samples)
	case equal.hash == hash && w.hasValues(equal):
		from = equal
		w.repeat(from.samples, samples)
	default:
		if valued == len(w.columns) && w.valued.row > 0 {
			from = &w.valued
		}
		if from.row > 0 {
			w.samples(from)
		} else {
			w.firstSamples()
		}
	}
	switch n := len(metadata); {
	case n == 0:
	case here.shortMetadata != 0 && here.shortMetadata == from.shortMetadata:
		w.repeat(from.end-n, n)
	case n >= minCopy && bytes.Equal(metadata, w.metadata):
		w.repeat(b.end-n, n)
	default:
		w.literal(metadata)
	}
	w.metadata = append(w.metadata[:0], metadata...)
	here.end = w.at
	*equal = here
	if valued == len(w.columns) {
		w.valued = here
	}
	b.refs, b.labels, b.columnRow = refs, labels, here
	return nil
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

// short is literal, faster for short texts.
func (w *columnWriter) short(s []byte) {
	if n := len(s); 0 < n && n <= 8 && cap(s) >= 8 {
		w.word(binary.LittleEndian.Uint64(s[:8]), n)
		return
	}
	w.literal(s)
}

// hasValues reports whether a series has the values of the present one.
func (w *columnWriter) hasValues(s *columnRow) bool {
	if s.row == 0 {
		return false
	}
	for i := range w.columns {
		if math.Float64bits(w.columns[i].values[s.row-1]) != w.values[i] {
			return false
		}
	}
	return true
}

// head writes what comes before the references of a series. It returns their position.
func (w *columnWriter) head(h columnHead) (labels int) {
	b := &w.before.columnHead
	known := &w.byHead[uint(h.size*7+h.refsSize)%uint(len(w.byHead))]
	n := 1 + uvarintSize(uint64(h.size)) + 1 + uvarintSize(uint64(h.refsSize))
	switch {
	case b.size == h.size && b.refsSize == h.refsSize:
		w.repeat(b.at, n)
	case known.size == h.size && known.refsSize == h.refsSize:
		w.repeat(known.at, n)
	default:
		var head [2 * maxHead]byte
		w.short(appendHead(head[:0], h.refsSize, h.size-1-uvarintSize(uint64(h.refsSize))-h.refsSize))
	}
	*known, *b = h, h
	return w.at
}

// labels writes the references of a series.
func (w *columnWriter) labels(refs []byte) error {
	b := &w.before
	begin := commonPrefix(refs, b.refs)
	end := commonSuffix(refs[begin:], b.refs[begin:])
	if w.symbols > 0 && !validRefs(refs, b.refs, begin, end, w.symbols) {
		return errDamaged
	}
	if begin < minCopy && !w.repeatsUpTo(b.labels) {
		begin = 0
	}
	if end < minCopy {
		end = 0
	}
	w.repeat(b.labels, begin)
	if own := refs[begin : len(refs)-end]; len(own) < longText {
		w.short(own)
	} else {
		w.longTexts.write(&w.snappyWriter, own)
	}
	w.repeat(b.labels+len(b.refs)-end, end)
	return nil
}

// firstSamples writes the samples of a series for which there is none to compare with.
func (w *columnWriter) firstSamples() {
	for i, v := range w.values {
		time := w.columns[i].time
		w.sampleHead(v, time.n)
		if v != 0 {
			w.word(v, 8)
		}
		if time.n > 0 {
			w.word(time.word, time.n)
		}
	}
}

func (w *columnWriter) sampleHead(value uint64, timeSize int) {
	if value != 0 {
		w.word(sampleHead+uint64(timeSize)<<8, 3)
	} else {
		w.word(sampleHeadZero+uint64(timeSize)<<8, 2)
	}
}

// samples writes the samples of a series, which are compared with those of another one.
func (w *columnWriter) samples(from *columnRow) {
	above := from.samples // position of the sample to compare with
	var last uint64       // value of the sample before
	for i, v := range w.values {
		c := &w.columns[i]
		other := math.Float64bits(c.values[from.row-1])
		headSize, size, tail := 2, 2+c.time.n, c.time.n
		if other != 0 {
			headSize, size = 3, size+valuedSize
		}
		switch {
		case v == other:
			w.repeat(above, size)
			above += size
			last = v
			continue
		case v == 0 || other == 0:
			w.sampleHead(v, c.time.n)
			if v != 0 {
				w.word(v, 8)
			}
		case v == last:
			w.repeat(above, headSize)
			w.repeat(w.at-headSize-w.columns[i-1].time.n-8, 8)
		default:
			low, high := commonBytes(v, other), bits.LeadingZeros64(v^other)/8
			w.repeat(above, headSize+low)
			w.word(v>>(8*low), 8-low-high)
			tail += high
		}
		above += size
		w.repeat(above-tail, tail)
		last = v
	}
}
