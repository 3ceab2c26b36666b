package queue

import (
	"slices"

	"go.uber.org/zap"
)

// What could not be read at the start stays in its lane as a segment of which nothing is known (cold.unknown). When its
// turn comes, the lane's reader scans it, with the same tries as for any other read. How many samples are in it is not
// known until then, except that an ordinary stop notes how many its lane has.

// giveUp notes that a part of a segment cannot be read: its lane goes on behind it. The caller holds mu.
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

// missing is what of a segment that is read to its end was not found. The caller holds mu.
func (q *FIFO) missing(l *lane, s *segment) int {
	if !s.cold.unknown {
		return max(0, s.cold.samples)
	}
	s.cold.unknown = false
	return l.passOn(s.cold.samples)
}

// passOn looks for samples that a stop noted in the next segment that nobody could read yet; what it returns is lost.
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

// firstUnknown is the first segment of which nothing is known; nil: there is none.
func (l *lane) firstUnknown() *segment {
	if i := slices.IndexFunc(l.segments, func(s *segment) bool { return s.cold.unknown }); i >= 0 {
		return l.segments[i]
	}
	return nil
}
