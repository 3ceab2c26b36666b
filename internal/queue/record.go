package queue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math"
)

const (
	headerSize    = 48
	headerVersion = 1
	flagFirst     = 1
)

// magic begins every header: what a search after damage looks for.
var magic = [4]byte{'E', 's', 'q', 'R'}

// castagnoli is the table of CRC32C, for which processors have an instruction.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// header is what stands before the data of a record. doc.go draws it.
type header struct {
	first          bool
	length         uint32
	crc            uint32 // of the data
	before         uint64 // samples of the segment before this record: a gap tells what it held
	oldest, newest int64
	samples        uint32
}

func (h *header) size() int64 { return headerSize + int64(h.length) }

func (h *header) put(b []byte) {
	copy(b, magic[:])
	b[4], b[5], b[6], b[7] = headerVersion, 0, 0, 0
	if h.first {
		b[5] = flagFirst
	}
	le := binary.LittleEndian
	le.PutUint32(b[8:], h.length)
	le.PutUint32(b[12:], h.crc)
	le.PutUint64(b[16:], h.before)
	le.PutUint64(b[24:], uint64(h.oldest))
	le.PutUint64(b[32:], uint64(h.newest))
	le.PutUint32(b[40:], h.samples)
	le.PutUint32(b[44:], checksum(b[:44]))
}

// parseHeader: false for all that put did not write.
func parseHeader(b []byte) (h header, ok bool) {
	le := binary.LittleEndian
	if len(b) < headerSize || !bytes.Equal(b[:4], magic[:]) || b[4] != headerVersion ||
		le.Uint32(b[44:]) != checksum(b[:44]) {
		return h, false
	}
	return header{
		first: b[5]&flagFirst != 0, length: le.Uint32(b[8:]), crc: le.Uint32(b[12:]), before: le.Uint64(b[16:]),
		oldest: int64(le.Uint64(b[24:])), newest: int64(le.Uint64(b[32:])), samples: le.Uint32(b[40:]),
	}, true
}

// span is a part of a segment.
type span struct{ from, to int64 }

func (s span) empty() bool { return s.from >= s.to }

// part is what a walk over a segment meets: a record, or damage from here to the next record that leans on
// nothing.
type part struct {
	span
	header
	damage bool
	torn   bool // the last record of the segment, cut off
	lost   int  // samples in the damage, as far as headers tell
}

const windowBytes = 4 << 10

// window reads headers: with small records several at once, with large ones not the data between.
type window struct {
	r    io.ReaderAt
	at   int64
	data []byte
	buf  [windowBytes]byte
}

// header returns the bytes at an offset, fewer than headerSize only at the end.
func (w *window) header(at, end int64) ([]byte, error) {
	n := min(headerSize, end-at)
	if at < w.at || at+n > w.at+int64(len(w.data)) {
		got, err := w.r.ReadAt(w.buf[:min(windowBytes, end-at)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		w.at, w.data = at, w.buf[:got]
	}
	b := w.data[at-w.at:]
	return b[:min(int64(len(b)), n)], nil
}

// walk visits the parts of a segment between two offsets, headers only. It ends early when visit says so, and
// with the first error of reading.
func walk(r io.ReaderAt, from, end int64, visit func(part) bool) error {
	w := &window{r: r}
	needFirst := true
	known, counted := false, uint64(0) // samples of the segment before the next record
	for at := from; at < end; {
		b, err := w.header(at, end)
		if err != nil {
			return err
		}
		h, ok := parseHeader(b)
		if ok && at+h.size() > end {
			visit(part{span: span{at, end}, header: h, torn: true, lost: int(h.samples)})
			return nil
		}
		if ok && (h.first || !needFirst) {
			if !visit(part{span: span{at, at + h.size()}, header: h}) {
				return nil
			}
			needFirst, known, counted = false, true, h.before+uint64(h.samples)
			at += h.size()
			continue
		}
		next, nh, err := findFirst(r, at+1, end)
		if err != nil {
			return err
		}
		p := part{span: span{at, next}, damage: true, torn: next == end && end-at < headerSize}
		if known = known || from == 0; known && next < end && nh.before >= counted && nh.before-counted < math.MaxInt32 {
			p.lost = int(nh.before - counted)
		}
		if !visit(p) {
			return nil
		}
		at, needFirst = next, true
	}
	return nil
}

// findFirst searches the next header that begins a request and whose data are there; end: there is none.
func findFirst(r io.ReaderAt, from, end int64) (int64, header, error) {
	buf := make([]byte, windowBytes)
	for at := from; end-at >= headerSize; {
		n, err := r.ReadAt(buf[:min(int64(len(buf)), end-at)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return end, header{}, err
		}
		if n == 0 {
			break // shorter than it was
		}
		for b := buf[:n]; ; {
			i := bytes.Index(b, magic[:])
			if i < 0 {
				break
			}
			b = b[i:]
			place := at + int64(n-len(b))
			if len(b) < headerSize {
				break // looked at again with the next stride
			}
			if h, ok := parseHeader(b); ok && h.first && place+h.size() <= end {
				return place, h, nil
			}
			b = b[1:]
		}
		if at+int64(n) >= end {
			break
		}
		at += max(1, int64(n)-headerSize+1)
		if len(buf) < 64<<10 { // the next one is mostly near
			buf = make([]byte, 4*len(buf))
		}
	}
	return end, header{}, nil
}

// readBack is what readRequest found.
type readBack struct {
	records []Record
	span           // of the request; to is where the next begins
	began   bool   // there was a request, whole or not
	samples int    // in records
	lost    int    // samples of records that are damaged, or lean on one that is
	damage  []span // to be kept aside
	broken  int    // records and headers that are damaged
}

// readRequest reads the request at an offset and checks all of it. skips are damages that are known and told
// already. What leans on a damaged record goes with it; what stands before it is good.
func readRequest(r io.ReaderAt, from, end int64, skips map[int64]int64, alloc func(int) []byte) (readBack, error) {
	got := readBack{span: span{from, from}}
	var b [headerSize]byte
	broken := false
	for got.to < end {
		at := got.to
		if to, known := skips[at]; known {
			if got.began {
				return got, nil // what follows leans on what is gone, or is another request
			}
			got.from, got.to = to, to
			continue
		}
		n, err := r.ReadAt(b[:min(headerSize, end-at)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return got, err
		}
		h, ok := parseHeader(b[:n])
		if !ok || at+h.size() > end || !h.first && !got.began {
			next, _, err := findFirst(r, at+1, end)
			if err != nil {
				return got, err
			}
			got.broken++
			got.damage = append(got.damage, span{at, next})
			got.to = next
			return got, nil
		}
		if h.first && got.began {
			return got, nil
		}
		got.began = true
		var data []byte
		if !broken {
			data = alloc(int(h.length))[:h.length]
			n, err := r.ReadAt(data, at+headerSize)
			if err != nil && !errors.Is(err, io.EOF) {
				return got, err
			}
			broken = n < len(data) || checksum(data) != h.crc
		}
		got.to = at + h.size()
		if broken {
			if len(got.damage) == 0 {
				got.damage = append(got.damage, span{at, got.to})
			}
			got.damage[0].to = got.to
			got.broken++
			got.lost += int(h.samples)
			continue
		}
		got.samples += int(h.samples)
		got.records = append(got.records, Record{
			Data: data, Samples: int(h.samples), Oldest: h.oldest, Newest: h.newest, First: h.first,
		})
	}
	return got, nil
}
