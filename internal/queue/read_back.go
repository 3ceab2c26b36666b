package queue

import (
	"slices"

	"go.uber.org/zap"
)

// A segment that cannot be read at the start stays in its lane, with cold.unknown. When its turn comes, the lane's
// reader scans it. If that fails, it tries again as after any other failed read. Until the scan succeeds, the number of
// samples in the segment is unknown, except for the note of the last stop: a lane whose note says 300 and whose other
// segments hold 200 samples has 100 in the segments that could not be read.

// giveUp counts a part of a segment that cannot be read. The lane goes on behind it. The caller holds mu.
func (q *FIFO) giveUp(s *segment, at span, err error) {
	s.unreadable = true
	q.stats.CorruptRecords++
	q.stats.SkippedBytes += at.to - at.from
	q.log.Error("segment cannot be read: what follows goes on without it, and the file is kept aside",
		zap.String("segment", s.name), zap.Int64("offset", at.from), zap.Int64("bytes", at.to-at.from), zap.Error(err))
}

// takeScan accounts for a segment that could not be read at the start. The caller holds mu.
func (q *FIFO) takeScan(l *lane, s *segment, found *scanned) {
	noted := s.cold.samples
	q.disk.bytes -= s.take(found)
	found.count(&q.stats)
	q.lose(Damaged, found.loss.Requests, found.loss.Samples)
	lost := 0 // requests, at least
	if !found.rest.empty() {
		q.giveUp(s, found.rest, found.err)
		lost = 1
	}
	q.lose(Damaged, lost, l.passOn(noted-found.samples-found.loss.Samples))
	if s.cold.empty() {
		l.acked = place{s.seq, s.size} // else it would be counted again by the next start
	}
	q.settle(l, s)
}

// missing returns how many samples of a segment were not found when it was read to its end. The caller holds mu.
func (q *FIFO) missing(l *lane, s *segment) int {
	if !s.cold.unknown {
		return max(0, s.cold.samples)
	}
	s.cold.unknown = false
	return l.passOn(s.cold.samples)
}

// passOn attributes noted samples to the next segment that could not be read yet. If there is none, they are lost.
func (l *lane) passOn(samples int) (lost int) {
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
