package queue

import (
	"errors"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"
)

// batchBytes is how much is written at once, unless one record is larger.
const batchBytes = 256 << 10

// batch is records of one request that are being written to a segment.
type batch struct {
	lane           *lane
	segment        *segment
	request        *request
	data           []byte      // headers without checksums, and copies of data, since a reader may own it meanwhile
	start, end     int64       // in the segment
	layoutCopy     *layoutCopy // in the segment; nil: the record has no layout
	records        int
	samples        int
	oldest, newest int64 // of the request
}

// begin returns where the request of a batch begins.
func (b *batch) begin() position {
	if b.request.segment != nil {
		return position{b.segment.seq, b.request.start}
	}
	return position{b.segment.seq, b.start}
}

// extent returns the part of the segment that has the request, up to the end of the batch.
func (b *batch) extent() extent { return extent{b.segment.seq, span{b.begin().offset, b.end}} }

// writeLoop writes what was appended, until Close and then once more.
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

// writeAll removes, renews and writes all that it can now. It returns how long to wait before failed calls are tried
// again; 0: none failed.
func (q *FIFO) writeAll(final bool) time.Duration {
	var tried []*lane // each once if final
	for {
		q.removeSegments(false)
		q.renewSegments(false)
		q.mu.Lock()
		now := time.Now()
		q.dropOld(now)
		b := q.nextBatch(func(l *lane) bool {
			if final {
				return !slices.Contains(tried, l)
			}
			return l.writeRetry.due(now)
		})
		canRemove := q.disk.removable()
		wait := q.retryIn(now)
		q.unlock()
		if b == nil && !canRemove {
			return wait
		}
		if b == nil {
			continue
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

// removable reports whether there is a segment to remove whose removal was not tried yet.
func (d *disk) removable() bool {
	return slices.ContainsFunc(d.toRemove, func(s *segment) bool { return s.uses == 0 && !s.removalFailed })
}

// retryIn returns how long to wait before the first failed call is tried again; 0: none failed.
func (q *FIFO) retryIn(now time.Time) (wait time.Duration) {
	d := q.disk
	first := func(b backoff) {
		if left := max(b.next.Sub(now), time.Millisecond); b.runs > 0 && (wait == 0 || left < wait) {
			wait = left
		}
	}
	first(d.removalRetry)
	unused := func(f laneSegment) bool { return f.segment.uses == 0 }
	if d.renewalRetry.runs > 0 && slices.ContainsFunc(q.failedSegments(), unused) {
		first(d.renewalRetry) // while a segment is in use, endUse wakes the writer instead
	}
	for l := range q.lanes {
		if l.pending > 0 && !l.writeRetry.due(now) {
			first(l.writeRetry)
		}
	}
	return wait
}

// nextBatch returns the next batch of one lane, of each lane in turn, or nil if nothing can be written now.
func (q *FIFO) nextBatch(may func(*lane) bool) *batch {
	if q.gaveUp {
		return nil
	}
	d := q.disk
	var pick *lane
	at, picked := -1, 0
	for l := range q.lanes {
		at++
		if l.pending <= 0 || !may(l) { // less than 0: closed while the disk hung
			continue
		}
		if pick == nil || at >= d.turn { // the first lane from turn on, or else the first of all
			pick, picked = l, at
			if at >= d.turn {
				break
			}
		}
	}
	if pick == nil {
		d.turn = 0
		return nil
	}
	if !q.limitDisk(pick.pendingBytes(batchBytes)) {
		return nil
	}
	d.turn = picked + 1
	return q.fillBatch(pick)
}

// fillBatch copies records of a lane's first pending request, and begins a new segment if that is due.
func (q *FIFO) fillBatch(l *lane) *batch {
	d, r := q.disk, l.unwritten
	if s := l.active; s != nil && (d.isFull(s) || s.failed) && r.written == 0 {
		l.active = nil
		q.removeIfDelivered(l, s)
		s.retire()
	}
	if l.active == nil {
		l.active = newSegment(l.name.segment(l.nextSeq), l.nextSeq)
		l.nextSeq++
		l.segments = append(l.segments, l.active)
	}
	s := l.active
	s.uses++
	// A batch has records of one request only: a request that is delivered while it is written is delivered again if
	// the process is killed before the position moves.
	before := s.samples
	b := &batch{
		lane: l, segment: s, request: r, data: d.buf[:0], start: s.size, oldest: r.Oldest, newest: r.Newest,
	}
	for _, rec := range r.Records[r.written:] {
		if len(b.data) > 0 && len(b.data)+headerSize+len(rec.Data) > batchBytes {
			break
		}
		b.records++
		b.samples += rec.Samples
		at := b.start + int64(len(b.data))
		if rec.Layout != nil {
			b.layoutCopy = s.layouts.copyFor(rec, at, before)
		}
		b.data = appendRecord(b.data, rec, at, before, b.layoutCopy)
		before += uint64(rec.Samples)
	}
	b.end = b.start + int64(len(b.data))
	r.writing = true
	d.batch = b
	return b
}

// write writes a batch to its segment. Only the writer changes the end of a file.
func (q *FIFO) write(b *batch) error {
	s := b.segment
	addChecksums(b.data)
	if s.file == nil {
		create := s.size == 0
		var f File
		var err error
		if create {
			f, err = q.create(b.lane, s)
		} else { // it was renewed
			f, err = q.disk.fs.Open(join(q.disk.dir, s.name), false)
		}
		if err != nil {
			return err
		}
		q.mu.Lock()
		s.file = f
		q.disk.newName = q.disk.newName || create
		q.mu.Unlock()
	}
	if s.torn {
		if err := s.file.Truncate(b.start); err != nil {
			return err
		}
		s.torn = false
	}
	q.mu.Lock()
	given := b.request.taken // a kill must not find it on disk and not in flight
	if given {
		b.lane.changes++
	}
	q.mu.Unlock()
	if given {
		q.putPosition(b.lane, false)
	}
	if _, err := s.file.WriteAt(b.data, b.start); err != nil {
		s.torn = true
		if s.file.Truncate(b.start) == nil { // frees its blocks, and a crash finds no half record
			s.torn = false
		}
		return err
	}
	return nil
}

// create makes the file of a segment to which nothing is written yet. If something has its name, the segment gets the
// next number.
func (q *FIFO) create(l *lane, s *segment) (f File, err error) {
	for range 16 {
		if f, err = q.disk.fs.Open(join(q.disk.dir, s.name), true); !errors.Is(err, os.ErrExist) {
			break
		}
		q.log.Warn("something has the name of a new segment, which gets another",
			zap.String("file", join(q.disk.dir, s.name)))
		q.mu.Lock()
		s.seq, s.name = l.nextSeq, l.name.segment(l.nextSeq)
		l.nextSeq++
		q.mu.Unlock()
	}
	return f, err
}

// written records the result of a write. It reports whether the position has to move, since the request was delivered
// meanwhile.
func (q *FIFO) written(b *batch, err error) (moved bool) {
	d := q.disk
	if cap(b.data) <= 2*batchBytes {
		d.buf = b.data
	}
	q.mu.Lock()
	defer q.unlock()
	l, s, r := b.lane, b.segment, b.request
	defer q.endUse(l, s)
	r.writing = false
	d.batch = nil
	if err != nil {
		if s.torn {
			r.torn.add(b.extent())
		}
		if r.gone { // what is written of it is delivered
			q.passed(l, r)
			q.advance(l)
		}
		if r.taken {
			l.changes++ // it is not where the position says
		}
		q.writeFailed(l, s, err)
		return r.taken
	}
	l.writeRetry = backoff{}
	q.wrote()
	s.size = b.end
	s.dirty = true
	d.syncer.wakeUp()
	if !l.drained { // else its segment is removed: all of it was delivered before it was written
		d.bytes += int64(len(b.data))
	}
	moved = q.count(b)
	q.stats.WrittenBytes += int64(len(b.data))
	q.limitMemory()
	q.limitRequests(l)
	return moved
}

// count adds a written batch to its segment and to its request. It reports whether the request was acknowledged
// meanwhile.
func (q *FIFO) count(b *batch) (delivered bool) {
	l, s, r := b.lane, b.segment, b.request
	q.stats.WrittenRecords += b.records
	s.samples += uint64(b.samples)
	s.include(b.oldest, b.newest, q.disk.clock.now())
	l.end = position{s.seq, b.end}
	if r.layoutCopy = b.layoutCopy; r.layoutCopy != nil {
		s.layouts.add(r.layoutCopy)
	}
	if r.written == 0 {
		r.segment, r.start, r.before = s, b.start, s.samples-uint64(b.samples)
		s.live++
		if r.taken && !r.gone {
			s.taken++
		}
	}
	r.end = b.end
	if r.gone {
		q.passed(l, r)
		q.advance(l)
		return true
	}
	if r.written += b.records; r.written == r.records {
		l.unwritten = r.next
	}
	l.pending -= b.records
	q.nowOnDisk(l, r)
	return false
}

// writeFailed schedules another try. The records stay in memory, and are written later in order.
func (q *FIFO) writeFailed(l *lane, s *segment, err error) {
	q.stats.WriteErrors++
	q.disk.health.fails(writing, err, zap.String("segment", s.name))
	l.writeRetry.failed(time.Now())
	if s.torn && !l.drained {
		q.abandon(l, s)
	}
	q.limitMemory()
}

// abandon seals a segment whose torn end could not be cut off. A request that began in it is written to the next
// segment as a whole. After a crash before Close cuts the end off, the beginning of that request is delivered twice.
// After a Close that gave up nothing is written any more, so the beginning stays in the torn segment: Close has counted
// only the rest as lost.
func (q *FIFO) abandon(l *lane, s *segment) {
	if r := l.unwritten; r != nil && r.segment == s && !q.gaveUp {
		s.live--
		if r.taken {
			s.taken--
		}
		l.pending += r.written
		q.disk.bytes -= s.size - r.start
		s.size = r.start
		r.written, r.segment = 0, nil
		l.end = position{s.seq, r.start}
		l.changes++
	}
	l.active = nil
	q.removeIfDelivered(l, s)
}

// wrote clears the failure of writes, unless a lane whose write failed still has records to write.
func (q *FIFO) wrote() {
	if !q.disk.health.failing(writing) {
		return
	}
	for l := range q.lanes {
		if l.writeRetry.runs > 0 && l.pending > 0 {
			return
		}
	}
	for l := range q.lanes {
		l.writeRetry = backoff{}
	}
	q.disk.health.works(writing)
}
