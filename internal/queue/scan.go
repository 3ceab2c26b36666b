package queue

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"time"
)

// span is a part of a segment.
type span struct{ from, to int64 }

func (s span) empty() bool { return s.from >= s.to }

// part is a record of a segment, with the copy of its layout if that is directly before it, or the damage up to the
// next record that begins a request.
type part struct {
	span
	header // of the record; first and stream: of the request
	damage bool
	torn   bool // the damage is the end of the segment, and is cut off
	lost   int  // samples in the damage, if the headers around it say so
}

const windowBytes = 4 << 10

// cursor goes through the parts of a segment from one offset to another. It is the only code that knows which part may
// follow which. It reads headers only: several at once if records are small, and not the data between them if records
// are large.
type cursor struct {
	r       io.ReaderAt
	at, end int64

	inRequest bool   // the record at offset at may continue a request
	intact    bool   // a header of this version was found, so the segment is of this version
	counted   uint32 // samples of the segment before at
	counts    bool   // counted is known

	from int64  // offset of data
	data []byte // what was read into buf
	buf  []byte
}

// newCursor returns a cursor at the begin of a request. It reads window bytes at once.
func newCursor(r io.ReaderAt, from, end int64, window int) *cursor {
	return &cursor{r: r, at: from, end: end, counts: from == 0, buf: make([]byte, window)}
}

// peek returns the bytes at an offset, fewer than headerSize only at the end.
func (c *cursor) peek(at int64) ([]byte, error) {
	n := min(headerSize, c.end-at)
	if at < c.from || at+n > c.from+int64(len(c.data)) {
		got, err := c.r.ReadAt(c.buf[:min(int64(len(c.buf)), c.end-at)], at)
		if err != nil && !errors.Is(err, io.EOF) && got < int(n) { // a bad sector may be behind the header
			got, err = c.r.ReadAt(c.buf[:n], at)
		}
		if got < int(n) && err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		c.from, c.data = at, c.buf[:got]
	}
	b := c.data[at-c.from:]
	return b[:min(int64(len(b)), n)], nil
}

// next returns the part at the cursor and moves behind it. It returns false at the end, and a *FormatError without a
// file name for a header of another version.
func (c *cursor) next() (p part, ok bool, err error) {
	if c.at >= c.end {
		return part{}, false, nil
	}
	b, err := c.peek(c.at)
	if err != nil {
		return part{}, false, err
	}
	h, ok := parseHeader(b)
	to := c.at + h.size()
	if ok && h.isLayout() && to+headerSize <= c.end {
		stream := h.stream
		if b, err = c.peek(to); err != nil {
			return part{}, false, err
		}
		h, ok = parseHeader(b)
		to, ok = to+h.size(), ok && h.kind == kindWithLayout && !h.first
		h.first, h.stream = true, stream
	}
	switch {
	case ok && (to > c.end || h.isLayout()):
		p = part{span: span{c.at, c.end}, header: h, damage: true, torn: true, lost: int(h.samples)}
	case ok && (h.first || c.inRequest && h.kind == kindPlain):
		p = part{span: span{c.at, to}, header: h}
		c.inRequest = h.kind == kindPlain // a record with a layout is alone in its request
		c.intact, c.counts, c.counted = true, true, h.before+h.samples
	case !ok && intact(b) && unknown(b) != "":
		return part{}, false, &FormatError{Unknown: unknown(b)}
	default:
		if p, err = c.damaged(); err != nil {
			return part{}, false, err
		}
		c.inRequest = false
	}
	c.at = p.to
	return p, true, nil
}

// damaged returns the damage from the cursor to the next request.
func (c *cursor) damaged() (part, error) {
	next, h, err := c.search()
	if err != nil {
		return part{}, err
	}
	p := part{span: span{c.at, next}, damage: true, torn: next == c.end && c.end-c.at < headerSize}
	if c.counts && next < c.end && h.before-c.counted < math.MaxInt32 { // else it is less than counted
		p.lost = int(h.before - c.counted)
	}
	return p, nil
}

// jump moves the cursor to the begin of a request.
func (c *cursor) jump(to int64) {
	c.at = to
	c.inRequest, c.counts = false, false
}

// undelivered goes through the parts of a segment that are not delivered, without those in skips.
type undelivered struct {
	*cursor
	done      extents         // of the segment: delivered
	skips     map[int64]int64 // damage that is known: from, to
	delivered bool            // the part before the cursor is delivered
}

// next is cursor.next for the parts that are not delivered.
func (u *undelivered) next() (p part, ok bool, err error) {
	for {
		if to, known := u.skips[u.at]; known {
			u.jump(to)
			continue
		}
		for len(u.done) > 0 && u.done[0].to <= u.at {
			u.done = u.done[1:]
		}
		begun := len(u.done) > 0 && u.done[0].from <= u.at
		if p, ok, err = u.cursor.next(); err != nil && begun {
			u.jump(u.done[0].to) // nothing in it is needed
			continue
		}
		if !ok || err != nil {
			return p, ok, err
		}
		u.delivered = begun && p.to <= u.done[0].to || u.delivered && !p.first && !p.damage
		if !u.delivered {
			return p, true, nil
		}
	}
}

// search finds the next header that begins a request and whose data are there. If there is none, it returns the end.
// The data of a damaged record may contain bytes that look like a header. So a header of another version counts only if
// no header of this version came before.
func (c *cursor) search() (int64, header, error) {
	buf := make([]byte, windowBytes)
	for at := nextData(c.r, c.at+1); c.end-at >= headerSize; at = nextData(c.r, at) {
		n, err := c.r.ReadAt(buf[:min(int64(len(buf)), c.end-at)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return c.end, header{}, err
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
			offset := at + int64(n-len(b))
			if len(b) < headerSize {
				break // read again with the next bytes
			}
			if h, ok := parseHeader(b); ok && h.first && offset+h.size() <= c.end {
				return offset, h, nil
			}
			if intact(b) && unknown(b) != "" && !c.intact {
				return c.end, header{}, &FormatError{Unknown: unknown(b)}
			}
			b = b[1:]
		}
		if at+int64(n) >= c.end {
			break
		}
		at += max(1, int64(n)-headerSize+1)
		if len(buf) < 64<<10 { // the next header is mostly near
			buf = make([]byte, 4*len(buf))
		}
	}
	return c.end, header{}, nil
}

// nextData returns the first offset, not before at, that is in no hole of a sparse file.
func nextData(r io.ReaderAt, at int64) int64 {
	if f, ok := r.(interface{ Data(at int64) int64 }); ok {
		return f.Data(at)
	}
	return at
}

// scanResult is what a scan found in a part of a segment.
type scanResult struct {
	span
	period
	requests, samples int
	damage            []part
	old               bool // the first request has no stream
}

// scan reads the headers of what is not delivered in a segment, from an offset on. After an error it returns what is
// before the bytes that could not be read.
func scan(r io.ReaderAt, from, end int64, done extents) (scanResult, error) {
	found := scanResult{span: span{from, from}, period: noPeriod()}
	u, now := undelivered{cursor: newCursor(r, from, end, windowBytes), done: done}, time.Now()
	for begun := false; ; begun = true {
		p, ok, err := u.next()
		if err == nil && p.damage && !p.torn && p.to == end {
			p.torn, err = onlyZeros(r, p.span)
		}
		if !ok || err != nil {
			return found, err
		}
		if found.to = p.to; !begun {
			found.from, found.old = p.from, !p.damage && p.old
		}
		if p.damage {
			found.damage = append(found.damage, p)
			continue
		}
		if p.first {
			found.requests++
		}
		found.samples += int(p.samples)
		found.include(p.oldest, p.newest, now)
	}
}

// readResult is the result of readRequest.
type readResult struct {
	records []Record
	span           // of the request; to is where the next begins
	began   bool   // there was a request, if only a part of it
	samples int    // in records
	lost    int    // samples of damaged records and of the records after them in the request
	damage  []span // to be copied aside
	broken  int    // records and headers that are damaged
}

// readRequest reads the request at an offset and verifies its checksums. skips are damaged parts that are counted
// already. A damaged record is left out with the records of the request after it; those before it are returned. A
// record whose layout is damaged is damaged.
func readRequest(
	r io.ReaderAt, from, end int64, skips map[int64]int64, layouts foundLayouts, alloc func(int) []byte,
) (readResult, error) {
	got := readResult{span: span{from, from}}
	c := newCursor(r, from, end, headerSize)
	broken := false
	for {
		if to, known := skips[c.at]; known {
			if got.began {
				return got, nil // what follows depends on the damaged part, or is another request
			}
			c.at, got.from, got.to = to, to, to
			continue
		}
		p, ok, err := c.next()
		if !ok || err != nil || p.first && got.began && !p.damage {
			return got, err
		}
		got.to = p.to
		if p.damage {
			got.broken++
			got.damage = append(got.damage, p.span)
			return got, nil
		}
		got.began = true
		var data []byte
		var layout *Layout
		if !broken {
			if data, err = readData(r, p.to-int64(p.length), p.header, alloc); err != nil {
				return got, err
			}
			broken = data == nil
		}
		if !broken && p.kind == kindWithLayout {
			var ref layoutRef
			data, ref = cutLayoutRef(data)
			if layout, err = layouts.read(r, ref); err != nil {
				return got, err
			}
			broken = layout == nil
		}
		if broken {
			if len(got.damage) == 0 {
				got.damage = append(got.damage, p.span)
			}
			got.damage[0].to = got.to
			got.broken++
			got.lost += int(p.samples)
			continue
		}
		got.samples += int(p.samples)
		got.records = append(got.records, Record{
			Data: data, Samples: int(p.samples), Oldest: p.oldest, Newest: p.newest, First: p.first, Stream: p.stream,
			Layout: layout,
		})
	}
}

// entry is a request in a segment, without its data.
type entry struct {
	span
	records, samples int
	bytes            int64 // as in Request
	oldest, newest   int64
	stream           uint64
}

// headersResult is the result of readHeaders.
type headersResult struct {
	entries []entry
	to      int64 // where the next request begins
	damage  []span
}

// readHeaders reads the headers of undelivered requests in a part of a segment, at most `most` of them. An error behind
// a request is not returned: the next call meets it.
func readHeaders(u undelivered, most int) (got headersResult, err error) {
	open := false // the last entry may go on
	for got.to = u.at; ; {
		p, ok, err := u.next()
		switch last := len(got.entries) - 1; {
		case err != nil && len(got.entries) == 0 && len(got.damage) == 0:
			return got, err
		case err != nil && open && last >= 0 && u.inRequest: // its end is not known
			got.to, got.entries = got.entries[last].from, got.entries[:last]
			if last == 0 && len(got.damage) == 0 {
				return got, err
			}
			return got, nil
		case err != nil:
			return got, nil
		case !ok:
			got.to = u.end
			return got, nil
		case p.damage:
			got.damage = append(got.damage, p.span)
			open = false
		case p.first && len(got.entries) == most:
			got.to = p.from
			return got, nil
		case p.first:
			got.entries = append(got.entries, entry{
				span: p.span, oldest: p.oldest, newest: p.newest, stream: p.stream,
			})
			open = true
			got.entries[last+1].add(p)
		default:
			got.entries[last].add(p)
		}
		got.to = p.to
	}
}

// add adds a record to an entry.
func (e *entry) add(p part) {
	e.to = p.to
	e.records++
	e.samples += int(p.samples)
	e.bytes += p.dataBytes() + recordOverhead
	e.oldest, e.newest = min(e.oldest, p.oldest), max(e.newest, p.newest)
}

// checkFirst is the length above which the checksum is verified before memory is taken for the data.
const checkFirst = 1 << 20

// readData reads the data of a record. It returns nil if they are damaged.
func readData(r io.ReaderAt, at int64, h header, alloc func(int) []byte) ([]byte, error) {
	if h.length > checkFirst {
		sum := crc32.New(castagnoli)
		n, err := io.Copy(sum, io.NewSectionReader(r, at, int64(h.length)))
		if err != nil || n < int64(h.length) || sum.Sum32() != h.crc {
			return nil, err
		}
	}
	data := alloc(int(h.length))[:h.length]
	n, err := r.ReadAt(data, at)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if n < len(data) || checksum(data) != h.crc {
		return nil, nil
	}
	return data, nil
}
