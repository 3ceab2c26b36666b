package wire

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// rowRun is rows each of which differs from the row before only in one label, always the same one, whose references
// are as long as those of the row before. Most rows belong to a run: the buckets of a histogram, or the series of a
// family that differ in a label.
type rowRun struct {
	label int    // index; -1: there is no run
	size  int    // of its references
	first uint32 // row, + 1
	likes [2]likeRow
}

// likeRow is the last row of a run with a value, or with the value 0. The next such row is as long, so it is a copy of
// it, with other bytes at two places:
//
//	the row     2a 25 0a 12 … 03 2b … 12 10 09 00 00 00 00 00 00 10 40 10 80 e4 8f dc bc 31 2a 02 08 01
//	the next    2a 25 0a 12 … 03 2c … 12 10 09 00 00 00 00 00 00 14 40 10 80 e4 8f dc bc 31 2a 02 08 01
//	            copy             literal, copy                   literal, copy
type likeRow struct {
	columnHead
	row    uint32 // of the layout, + 1
	labels uint32 // offset of the references
	total  uint32 // size of the TimeSeries with its tag
	own    uint64 // references of the label
	value  uint64
}

// end: the next row belongs to no run.
func (r *rowRun) end() { r.label, r.likes[0].row, r.likes[1].row = -1, 0, 0 }

// like notes a row, and returns the one that it is like. That is none of the run if it comes before its first row.
func (r *rowRun) like(row uint32, label, size int, valued bool) *likeRow {
	if r.label != label || r.size != size {
		r.label, r.size, r.first = label, size, row
	}
	if valued {
		return &r.likes[1]
	}
	return &r.likes[0]
}

// addLike writes the series of a row of a run with one column, whose own label has these references.
func (w *columnWriter) addLike(like *likeRow, row int, r *rowReader, own, value uint64) {
	from, n := int(r.from), w.run.size
	refs := w.refs[:cap(w.refs)][from:][:8]
	before := binary.LittleEndian.Uint64(refs)
	other := (before ^ own) & (^uint64(0) >> (64 - 8*n))
	binary.LittleEndian.PutUint64(refs, before^other)
	r.labels[r.begin].end = r.to

	same, size := n, 0 // bytes of the references, and those that follow and differ
	if other = own ^ like.own; other != 0 {
		same = bits.TrailingZeros64(other) / 8
		size = (bits.Len64(other)+7)/8 - same
	}
	at, end, metadata := w.at, int(like.at+like.total), len(w.metadata)
	begin := int(like.labels) + from + same
	w.repeat(int(like.at), begin)
	if size > 0 {
		w.between(own>>(8*same), size)
	}
	rest, samples := int(like.total)-begin-size, w.timed
	if value != 0 {
		samples += valuedSize
	}
	equal := &w.byValues[value*valueHash>>56]
	known := equal.row > 0 && value == math.Float64bits(w.columns[0].values[equal.row-1])
	switch {
	case value == like.value:
		w.repeat(end-rest, rest)
	case known && equal.row >= w.run.first:
		w.repeat(int(equal.end)-rest, rest)
	case known:
		w.repeat(end-rest, rest-samples-metadata)
		w.repeat(int(equal.samples), samples)
		if w.shortMetadata != 0 && w.shortMetadata == equal.shortMetadata {
			end = int(equal.end)
		}
		w.repeat(end-metadata, metadata)
	default:
		low, high := commonBytes(value, like.value), bits.LeadingZeros64(value^like.value)/8
		tail := high + samples - 3 - 8 + metadata
		w.repeat(end-rest, rest-tail-(8-low-high))
		w.between(value>>(8*low), 8-low-high)
		w.repeat(end-tail, tail)
	}
	here := columnRow{uint32(row) + 1, uint32(w.at - metadata - samples), uint32(w.at), w.shortMetadata}
	*equal, w.before = here, here
	if value != 0 {
		w.valued = here
	}
	like.row, like.at, like.own, like.value = here.row, uint32(at), own, value
	w.series = columnSeries{like.columnHead, at + int(like.labels)}
}
