package queue

import (
	"errors"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"
)

// readCold reads the oldest request of a lane from disk into memory. It returns false if it cannot be read now. The
// caller holds mu and is the lane's reader. mu is unlocked while the disk is read.
func (q *FIFO) readCold(l *lane, s *segment) bool {
	now := time.Now()
	if !l.readRetry.due(now) {
		return false
	}
	from, to, f := s.cold.from, s.cold.to, s.file
	unknown, last := s.cold.unknown, l.readRetry.runs >= maxReadTries
	if s.failed {
		f = nil // the writer may replace the file
	}
	keep := !s.failed && s != l.active // the writer opens that one itself
	s.uses++
	q.mu.Unlock()
	var err error
	opened := f == nil
	if opened {
		f, err = q.disk.fs.Open(join(q.disk.dir, s.name), false)
	}
	var got readResult
	if err == nil && unknown {
		got.scanned, err = q.disk.corrupt.scan(q.log, f, s.name, span{from, to}, last)
	} else if err == nil {
		got, err = readRequest(f, from, to, s.skips, q.cfg.Alloc)
		if err == nil {
			for _, at := range got.damage {
				q.disk.corrupt.keep(q.log, s.name, f, at)
			}
		}
	}
	q.mu.Lock()
	if opened && f != nil {
		if keep && !q.closed && s.file == nil {
			s.file = f
		} else {
			_ = f.Close()
		}
	}
	defer q.endUse(l, s)
	if q.closed {
		return false
	}
	switch {
	case err == nil:
		l.readRetry = backoff{}
		q.disk.health.works(reading)
	case errors.Is(err, os.ErrNotExist):
		got = readResult{span: span{from, to}} // somebody removed the file
	case l.readRetry.runs < maxReadTries:
		l.readRetry.failed(now)
		q.stats.ReadErrors++
		q.disk.health.fails(reading, err, zap.String("segment", s.name))
		if q.cfg.Wake != nil {
			time.AfterFunc(l.readRetry.wait, func() {
				q.mu.Lock()
				reader := q.readerOf(l) // a Resize may have changed it
				q.mu.Unlock()
				q.cfg.Wake(reader)
			})
		}
		return false
	default:
		l.readRetry = backoff{}
		got = readResult{span: span{from, to}} // the rest of the segment is unreadable
		q.giveUp(s, got.span, err)
	}
	q.takeBack(l, s, got)
	return true
}

const maxReadTries = 10 // in a row, with backoff: 181 s

// takeBack puts what was read of a segment into the lane, and counts it.
func (q *FIFO) takeBack(l *lane, s *segment, got readResult) {
	if got.scanned != nil {
		q.takeScan(l, s, got.scanned)
		return
	}
	s.cold.from = got.to
	requests := 0
	if got.began {
		requests = 1
	}
	s.cold.requests -= requests
	s.cold.samples -= got.samples + got.lost
	q.stats.CorruptRecords += got.broken
	for _, d := range got.damage {
		q.stats.SkippedBytes += d.to - d.from
	}
	if got.lost > 0 {
		lost := 0
		if len(got.records) == 0 {
			lost = 1
		}
		q.lose(Damaged, lost, got.lost)
	}
	if s.cold.empty() { // samples still missing had damaged headers
		q.lose(Damaged, max(0, s.cold.requests), q.missing(l, s))
		s.cold.requests, s.cold.samples = 0, 0
	}
	if len(got.records) == 0 {
		l.acked = position{s.seq, got.to} // so that the next start does not count it again
		q.removeIfDelivered(l, s)
		return
	}
	r := &request{sealed: true, written: len(got.records), segment: s, start: got.from, end: got.to, readBack: true}
	r.Oldest, r.Newest = got.records[0].Oldest, got.records[0].Newest
	r.MayHaveArrived = position{s.seq, got.from} == l.firstFound
	for _, rec := range got.records {
		r.add(rec)
	}
	s.live++
	l.requests = append([]*request{r}, l.requests...)
	l.front = 1
	q.account(l, r.Bytes)
	q.stats.ReadRecords += len(r.Records)
	if s.replayed {
		q.stats.ReplayedRecords += len(r.Records)
		q.stats.ReplayedBytes += r.Bytes
	}
}

// A segment that cannot be read at the start stays in its lane, with cold.unknown. When the lane's reader gets to it,
// it scans the segment. If that fails, it tries again as after any other failed read. Until the scan succeeds, the
// number of samples in the segment is only known by the count that the last stop wrote into the position: a lane whose
// stopCount is 300 and whose other segments have 200 samples has 100 in the segments that could not be read.

// giveUp counts a part of a segment as unreadable. The lane goes on behind it. The caller holds mu.
func (q *FIFO) giveUp(s *segment, at span, err error) {
	s.unreadable = true
	q.stats.CorruptRecords++
	q.stats.SkippedBytes += at.to - at.from
	q.log.Error("segment cannot be read: what follows goes on without it, and the file is kept aside",
		zap.String("segment", s.name), zap.Int64("offset", at.from), zap.Int64("bytes", at.to-at.from), zap.Error(err))
}

// takeScan takes over the scan of a segment that could not be read at the start. The caller holds mu.
func (q *FIFO) takeScan(l *lane, s *segment, found *repaired) {
	expected := s.cold.samples
	q.disk.bytes -= s.take(found)
	found.count(&q.stats)
	q.lose(Damaged, found.loss.Requests, found.loss.Samples)
	lost := 0 // requests, at least
	if !found.rest.empty() {
		q.giveUp(s, found.rest, found.err)
		lost = 1
	}
	q.lose(Damaged, lost, l.moveStopCount(expected-found.samples-found.loss.Samples))
	if s.cold.empty() {
		l.acked = position{s.seq, s.size} // so that the next start does not count it again
	}
	q.removeIfDelivered(l, s)
}

// missing returns how many samples of a segment were not found when it was read to its end. The caller holds mu.
func (q *FIFO) missing(l *lane, s *segment) int {
	if !s.cold.unknown {
		return max(0, s.cold.samples)
	}
	s.cold.unknown = false
	return l.moveStopCount(s.cold.samples)
}

// moveStopCount assigns samples of the stopCount to the next segment that could not be read yet. If there is none, they
// are lost.
func (l *lane) moveStopCount(samples int) (lost int) {
	if samples <= 0 {
		return 0
	}
	if s := l.firstUnknown(); s != nil {
		s.cold.samples += samples
		return 0
	}
	return samples
}

// firstUnknown returns the first segment that could not be read yet, or nil.
func (l *lane) firstUnknown() *segment {
	if i := slices.IndexFunc(l.segments, func(s *segment) bool { return s.cold.unknown }); i >= 0 {
		return l.segments[i]
	}
	return nil
}
