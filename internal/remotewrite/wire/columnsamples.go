package wire

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// columnSamples writes the samples of rows: of each row a sample of each column. The bytes of a sample are the same in
// remote write 1.0 and 2.0. Values are compared with those of the row before, of a row that has equal ones, and of the
// last row without a value of 0, so that only the bytes that differ are written:
//
//	series before  … 12 10 09 00 00 00 00 00 00 10 40 10 80 e4 8f dc bc 31  12 10 09 …
//	this series    … 12 10 09 00 00 00 00 00 00 14 40 10 80 e4 8f dc bc 31  12 10 09 …
//	                 copy                       literal  copy of the time and of the next head
type columnSamples struct {
	snappyWriter
	columns []writtenColumn
	timed   int      // bytes of the samples of a series, without the values
	values  []uint64 // bits of the values of the present row

	before   columnRow         // the row that was written last
	valued   columnRow         // the last one without a value of 0
	byValues [1 << 8]columnRow // by a hash of their values; a newer one replaces an older one
	present  rowSamples
}

// writtenColumn is a column of the present run.
type writtenColumn struct {
	values []float64
	time   shortBytes // the field time of a Sample
}

// columnRow is the samples of a series that is written already, with positions in the plain text.
type columnRow struct {
	row           uint32 // of the layout, + 1; 0: there is none with these columns
	samples       uint32 // their position
	end           uint32 // of the TimeSeries
	shortMetadata uint64 // the metadata, if it is shorter than that; none in 1.0
}

// rowSamples is what is known of the samples of the present row.
type rowSamples struct {
	row    int
	size   int
	equal  *columnRow // where a row with these values would be in byValues
	from   *columnRow // the row that they are compared with
	same   bool       // from has the same values
	valued bool       // no value is 0
}

// beginSamples begins a message.
func (w *columnSamples) beginSamples() {
	w.snappyWriter.begin()
	w.before = columnRow{}
	w.forgetSamples()
}

// forgetSamples: the next series has other columns than those before.
func (w *columnSamples) forgetSamples() {
	w.before.row, w.valued = 0, columnRow{}
	clear(w.byValues[:])
}

// beginColumns: the next series are the rows of another layout.
func (w *columnSamples) beginColumns() {
	w.columns, w.values, w.timed = w.columns[:0], w.values[:0], 0
	w.forgetSamples()
}

// addColumn adds a column of the next series. Its time is one that timeField takes.
func (w *columnSamples) addColumn(tsMillis int64, values []float64) {
	f, _ := timeField(tsMillis)
	w.timed += 2 + f.n
	w.columns, w.values = append(w.columns, writtenColumn{values, f}), append(w.values, 0)
}

// read reads the values of a row.
func (w *columnSamples) read(row int) *rowSamples {
	valued, hash, asBefore := 0, uint64(0), w.before.row > 0
	for i := range w.columns {
		values := w.columns[i].values
		v := math.Float64bits(values[row])
		if v != 0 {
			valued++
		}
		asBefore = asBefore && v == math.Float64bits(values[w.before.row-1])
		hash = (hash ^ v) * valueHash
		w.values[i] = v
	}
	s := &w.present
	s.row, s.size, s.same, s.valued = row, w.timed+valued*valuedSize, asBefore, valued == len(w.columns)
	s.equal, s.from = &w.byValues[hash>>56], &w.before
	switch {
	case asBefore:
	case w.hasValues(s.equal):
		s.from, s.same = s.equal, true
	case s.valued && w.valued.row > 0:
		s.from = &w.valued
	}
	return s
}

// writeSamples writes the samples of a row.
func (w *columnSamples) writeSamples(s *rowSamples) {
	switch {
	case s.same:
		w.repeat(int(s.from.samples), s.size)
	case s.from.row > 0:
		w.samples(s.from)
	default:
		w.firstSamples()
	}
}

// remember keeps a row that was written, whose samples are at a position.
func (w *columnSamples) remember(s *rowSamples, at int, shortMetadata uint64) {
	here := columnRow{uint32(s.row) + 1, uint32(at), uint32(w.at), shortMetadata}
	*s.equal = here
	if s.valued {
		w.valued = here
	}
	w.before = here
}

// hasValues reports whether a series has the values of the present one.
func (w *columnSamples) hasValues(s *columnRow) bool {
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

// firstSamples writes the samples of a series for which there is none to compare with.
func (w *columnSamples) firstSamples() {
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

func (w *columnSamples) sampleHead(value uint64, timeSize int) {
	if value != 0 {
		w.word(sampleHead+uint64(timeSize)<<8, 3)
	} else {
		w.word(sampleHeadZero+uint64(timeSize)<<8, 2)
	}
}

// samples writes the samples of a series, which are compared with those of another one.
func (w *columnSamples) samples(from *columnRow) {
	above := int(from.samples) // position of the sample to compare with
	var last uint64            // value of the sample before
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

// The begin of the field samples, with and without a value, except that the length is that without a time.
const (
	sampleHead     = tagSample | 9<<8 | tagSampleValue<<16
	sampleHeadZero = tagSample
	valuedSize     = 9 // of a value with its tag

	valueHash = 0x9e3779b97f4a7c15
)
