package wire

import (
	"bytes"
	"encoding/binary"
	"math"
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
	timed   int // bytes of a sample of each column, without the values
	before  columnSeries
}

// writtenColumn is a column of the present run.
type writtenColumn struct {
	values []float64
	time   shortBytes // the field time of a Sample
}

// columnSeries is the series that was written before, with positions in the plain text.
type columnSeries struct {
	refs, metadata []byte
	total          int // size of the TimeSeries
	at             int // its position
	labels         int // position of the references
	end            int // of the TimeSeries
	row            int // of the layout; -1: it is of another run
}

// beginBlock begins a message.
func (w *columnWriter) beginBlock() {
	w.snappyWriter.begin()
	w.before = columnSeries{row: -1}
}

// forget drops the references to the message.
func (w *columnWriter) forget() {
	clear(w.columns)
	w.columns, w.run, w.before = w.columns[:0], 0, columnSeries{row: -1}
}

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
	w.run, w.before.row, w.columns, w.timed = number+1, -1, w.columns[:0], 0
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
	return true
}

// The begin of the field samples, with and without a value, except that the length is that without a time.
const (
	sampleHead     = tagSample | 9<<8 | tagSampleValue<<16
	sampleHeadZero = tagSample
	valuedSize     = 9 // of a value with its tag
)

// add writes the series of a row of the layout.
func (w *columnWriter) add(row int, refs, metadata []byte) {
	total := 1 + uvarintSize(uint64(len(refs))) + len(refs) + w.timed + len(metadata)
	for i := range w.columns {
		if math.Float64bits(w.columns[i].values[row]) != 0 {
			total += valuedSize
		}
	}
	b := &w.before
	here := columnSeries{refs: refs, metadata: metadata, total: total, at: w.at, row: row}
	w.labels(&here)
	if b.row >= 0 {
		w.samples(row)
	} else {
		w.firstSamples(row)
	}
	if n := len(metadata); n >= minCopy && bytes.Equal(metadata, b.metadata) {
		w.repeat(b.end-n, n)
	} else {
		w.literal(metadata)
	}
	here.end = w.at
	*b = here
}

// labels writes the head of a series, and its labels.
func (w *columnWriter) labels(s *columnSeries) {
	b, refs := &w.before, s.refs
	begin := commonPrefix(refs, b.refs)
	end := commonSuffix(refs[begin:], b.refs[begin:])
	if s.total == b.total && len(refs) == len(b.refs) {
		w.repeat(b.at, b.labels-b.at)
	} else {
		var head [2 * maxHead]byte
		w.literal(appendHead(head[:0], len(refs), s.total-1-uvarintSize(uint64(len(refs)))-len(refs)))
		if begin < minCopy {
			begin = 0
		}
	}
	s.labels = w.at
	if end < minCopy {
		end = 0
	}
	w.repeat(b.labels, begin)
	w.literal(refs[begin : len(refs)-end])
	w.repeat(b.labels+len(b.refs)-end, end)
}

// firstSamples writes the samples of a series for which there is none to compare with.
func (w *columnWriter) firstSamples(row int) {
	for i := range w.columns {
		c := &w.columns[i]
		v := math.Float64bits(c.values[row])
		w.sampleHead(v, c.time.n)
		if v != 0 {
			w.word(v, 8)
		}
		if c.time.n > 0 {
			w.word(c.time.word, c.time.n)
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

// samples writes the samples of a series, which are compared with those of the series before.
func (w *columnWriter) samples(row int) {
	above := w.before.labels + len(w.before.refs) // position of the sample of the series before
	var last uint64                               // value of the sample before
	for i := range w.columns {
		c := &w.columns[i]
		v, other := math.Float64bits(c.values[row]), math.Float64bits(c.values[w.before.row])
		headSize, size := 2, 2+c.time.n
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
		case v == last && commonBytes(v, other) < nearlyEqual:
			w.repeat(above, headSize)
			w.repeat(w.at-headSize-w.columns[i-1].time.n-8, 8)
		default:
			same := commonBytes(v, other)
			w.repeat(above, headSize+same)
			w.word(v>>(8*same), 8-same)
		}
		above += size
		w.repeat(above-c.time.n, c.time.n)
		last = v
	}
}

// nearlyEqual is the number of common bytes from which on a literal takes no more than a copy.
const nearlyEqual = 6
