package queue

import (
	"slices"
	"time"

	"go.uber.org/zap"
)

// batchBytes is how much is written at once, unless one record is larger.
const batchBytes = 256 << 10

// batch is records of one request on their way into a segment.
type batch struct {
	lane    *lane
	segment *segment
	data    []byte // headers without checksums, and data: copied, for a reader may own the records meanwhile
	item    batchItem
	offset  int64
}

// batchItem is what a batch has of its request.
type batchItem struct {
	request        *request
	records        int
	start, end     int64 // in the segment
	samples        int
	oldest, newest int64
}

// writeLoop writes what was appended, until Close, and then once more.
func (q *FIFO) writeLoop() {
	d := q.disk
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-d.writer:
		case <-retry.C:
		case <-d.closing:
			q.writeAll(true)
			return
		}
		if wait := q.writeAll(false); wait > 0 {
			retry.Reset(wait)
		}
	}
}

// writeAll writes all that can be written now, and tells when to try what failed again; 0: nothing did.
func (q *FIFO) writeAll(final bool) time.Duration {
	var tried []*lane // once each when final
	for {
		q.sweep()
		q.mu.Lock()
		now := time.Now()
		q.dropOld(now)
		b, wait := q.nextBatch(now, func(l *lane) bool {
			if final {
				return !slices.Contains(tried, l)
			}
			return l.write.due(now)
		})
		q.unlock()
		q.sweep()
		if b == nil {
			return wait
		}
		err := q.write(b)
		if err != nil && final {
			tried = append(tried, b.lane)
		}
		if q.written(b, err) {
			q.writePosition(b.lane, false)
		}
	}
}

// nextBatch copies what one lane has to write, the lanes taking turns. Nil: nothing can be written; wait is
// for the first that may be tried again.
func (q *FIFO) nextBatch(now time.Time, may func(*lane) bool) (b *batch, wait time.Duration) {
	d := q.disk
	var pick *lane
	at, picked := -1, 0
	for l := range q.lanes {
		at++
		if l.pending <= 0 { // less: closed while the disk hung
			continue
		}
		if !may(l) {
			if left := l.write.next.Sub(now); left > 0 && (wait == 0 || left < wait) {
				wait = left
			}
			continue
		}
		if pick == nil || at >= d.turn { // the first from turn on, else the first of all
			pick, picked = l, at
			if at >= d.turn {
				break
			}
		}
	}
	if pick == nil {
		d.turn = 0
		return nil, wait
	}
	d.turn = picked + 1
	return q.gather(pick), wait
}

// gather fills a batch.
func (q *FIFO) gather(l *lane) *batch {
	d := q.disk
	q.dropOldest(l.pendingBytes(batchBytes))
	first := l.firstPending() // after that: older ones may have gone
	if s := l.active; s != nil && s.size >= d.segBytes && l.requests[first].written == 0 {
		l.active = nil
		q.settle(l, s)
		if s.pins == 0 && !s.dirty && s.file != nil {
			_ = s.file.Close()
			s.file = nil
		}
	}
	if l.active == nil {
		l.active = newSegment(l.name.segment(l.nextSeq), l.nextSeq)
		l.nextSeq++
		l.segments = append(l.segments, l.active)
	}
	s := l.active
	s.pins++
	b := &batch{lane: l, segment: s, data: d.buf[:0], offset: s.size}
	// Of one request only: each one that is delivered while it is being written comes twice if the process is killed
	// before its position is moved.
	r, before := l.requests[first], s.samples
	item := batchItem{request: r, start: s.size, oldest: r.Oldest, newest: r.Newest}
	for _, rec := range r.Records[r.written:] {
		if len(b.data) > 0 && len(b.data)+headerSize+len(rec.Data) > batchBytes {
			break
		}
		h := header{
			first: rec.First, length: uint32(len(rec.Data)), before: before,
			oldest: rec.Oldest, newest: rec.Newest, samples: uint32(rec.Samples),
		}
		var hb [headerSize]byte
		h.put(hb[:])
		b.data = append(append(b.data, hb[:]...), rec.Data...)
		before += uint64(rec.Samples)
		item.records++
		item.samples += rec.Samples
	}
	item.end = s.size + int64(len(b.data))
	r.writing = true
	b.item = item
	return b
}

// write does what needs the disk. Nobody else touches the file's end.
func (q *FIFO) write(b *batch) error {
	s := b.segment
	for at := 0; at < len(b.data); {
		h, _ := parseHeader(b.data[at:])
		h.crc = checksum(b.data[at+headerSize:][:h.length])
		h.put(b.data[at:])
		at += int(h.size())
	}
	if s.file == nil {
		f, err := q.create(b.lane, s)
		if err != nil {
			return err
		}
		q.mu.Lock()
		s.file = f
		q.disk.newName = true
		q.mu.Unlock()
	}
	if s.torn {
		if err := s.file.Truncate(b.offset); err != nil {
			return err
		}
		s.torn = false
	}
	if _, err := s.file.WriteAt(b.data, b.offset); err != nil {
		s.torn = true
		if s.file.Truncate(b.offset) == nil { // gives its blocks back, and leaves no half record to a crash
			s.torn = false
		}
		return err
	}
	return nil
}

// written accounts for a batch. True: the position has to move, for a request was delivered meanwhile.
func (q *FIFO) written(b *batch, err error) (moved bool) {
	d := q.disk
	if cap(b.data) <= 2*batchBytes {
		d.buf = b.data
	}
	q.mu.Lock()
	defer q.unlock()
	l, s := b.lane, b.segment
	defer q.unpin(l, s)
	b.item.request.writing = false
	if err != nil {
		q.writeFailed(l, s, err)
		return false
	}
	if l.write.runs > 0 {
		l.write = backoff{}
		q.recovered()
	}
	s.size += int64(len(b.data))
	s.dirty = true
	d.syncer.kick()
	if !l.drained { // else it is doomed already: all of it was delivered before it was written
		d.bytes += int64(len(b.data))
	}
	moved = q.writtenItem(l, s, b.item)
	q.stats.WrittenBytes += int64(len(b.data))
	q.makeRoom()
	return moved
}

func (q *FIFO) writtenItem(l *lane, s *segment, it batchItem) (moved bool) {
	r := it.request
	q.stats.WrittenRecords += it.records
	s.samples += uint64(it.samples)
	s.note(it.oldest, it.newest)
	if r.gone {
		l.acked = place{s.seq, it.end}
		return true
	}
	if r.written == 0 {
		r.segment, r.start = s, it.start
		s.live++
	}
	r.written += it.records
	r.end = it.end
	l.pending -= it.records
	return false
}

// writeFailed keeps everything in memory, to be written later in order.
func (q *FIFO) writeFailed(l *lane, s *segment, err error) {
	q.stats.WriteErrors++
	q.stats.DiskError = err.Error()
	q.disk.errorKept.log(q.log, "write segment", err, zap.String("segment", s.name))
	l.write.failed(time.Now())
	if s.torn && !l.drained {
		q.abandon(l, s)
	}
	q.makeRoom()
}

// abandon ends a segment whose end cannot be cut clean: a request begun there is written whole to the next.
// A crash before Close can cut it repeats the beginning of that request.
func (q *FIFO) abandon(l *lane, s *segment) {
	if i := l.firstPending(); i < len(l.requests) {
		if r := l.requests[i]; r.segment == s {
			s.live--
			l.pending += r.written
			q.disk.bytes -= s.size - r.start
			s.size = r.start
			r.written, r.segment = 0, nil
		}
	}
	l.active = nil
	q.settle(l, s)
}

// recovered clears the error once no lane has one.
func (q *FIFO) recovered() {
	for l := range q.lanes {
		if l.write.runs > 0 {
			return
		}
	}
	q.stats.DiskError = ""
	q.log.Info("the disk takes writes again")
}
