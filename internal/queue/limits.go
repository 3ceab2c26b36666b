package queue

import (
	"slices"
	"time"
)

// slowDiskFactor is how far memory may exceed its limit while no call of the disk fails: nothing is lost yet for a
// burst or a slow disk.
const slowDiskFactor = 4

// limitMemory keeps memory within its limit. First requests that are on disk leave memory, then the oldest of the
// others are dropped.
func (q *FIFO) limitMemory() {
	most := q.limit
	if q.disk != nil {
		for q.memory > q.limit && q.evict() {
		}
		if h := &q.disk.health; !h.failing(writing) && !h.failing(removing) {
			most *= slowDiskFactor
		}
	}
	for q.memory > most && q.drop() {
	}
}

// evict removes one request that is on disk from memory, of the lane with the most in memory.
func (q *FIFO) evict() bool {
	var from *lane
	at := -1
	for l := range q.lanes {
		if from == nil || l.memory > from.memory {
			if i := l.evictable(); i >= 0 {
				from, at = l, i
			}
		}
	}
	if from == nil {
		return false
	}
	if from.firstCold() == nil {
		from.front = at
	}
	r := q.remove(from, at)
	s := r.segment
	s.live--
	if s.cold.empty() {
		s.cold.span = span{r.start, r.end}
	}
	s.cold.from, s.cold.to = min(s.cold.from, r.start), max(s.cold.to, r.end)
	s.cold.requests++
	s.cold.samples += r.Samples
	q.free(r)
	return true
}

// drop drops the oldest sealed request of all lanes that is in memory only.
func (q *FIFO) drop() bool {
	var from *lane
	at := -1
	for l := range q.lanes {
		if i := l.droppable(); i >= 0 && (from == nil || l.requests[i].age < from.requests[at].age) {
			from, at = l, i
		}
	}
	if from == nil {
		return false
	}
	r := q.remove(from, at)
	reason := QueueFull
	if q.disk != nil {
		reason = DiskFull
	}
	q.lose(reason, 1, r.Samples)
	q.free(r)
	q.endGenerations()
	return true
}

func (q *FIFO) free(r *request) {
	if q.cfg.Free == nil {
		return
	}
	for i := range r.Records {
		q.cfg.Free(r.Records[i].Data)
	}
}

// limitDisk drops the oldest segments until MaxBytes has room for another `more` bytes, or until no segment may be
// dropped. It returns false while files of dropped segments still take the space.
func (q *FIFO) limitDisk(more int64) bool {
	d := q.disk
	for d.bytes+more > q.cfg.MaxBytes {
		var from *lane
		var oldest *segment
		for l := range q.lanes {
			s := l.oldestDroppable()
			if s != nil && (oldest == nil || s.oldest < oldest.oldest) {
				from, oldest = l, s
			}
		}
		if oldest == nil {
			break
		}
		q.dropSegment(from, oldest, QueueFull)
	}
	left := d.bytesToRemove()
	return left == 0 || d.bytes+left+more <= q.cfg.MaxBytes
}

const ageInterval = time.Minute // between two checks of the age of segments

// dropOld drops segments whose newest sample is older than MaxAge. It checks at most once per ageInterval.
func (q *FIFO) dropOld(now time.Time) {
	if q.cfg.MaxAge <= 0 || now.Before(q.disk.nextAge) {
		return
	}
	q.disk.nextAge = now.Add(min(ageInterval, q.cfg.MaxAge))
	oldest := q.disk.clock.now().Add(-q.cfg.MaxAge).UnixMilli()
	for l := range q.lanes {
		for _, s := range slices.Clone(l.segments) {
			if s.newest < oldest && l.mayDrop(s) {
				q.dropSegment(l, s, TooOld)
			}
		}
	}
}

// dropSegment drops what is undelivered in a segment for which mayDrop is true.
func (q *FIFO) dropSegment(l *lane, s *segment, reason Reason) {
	for i := len(l.requests) - 1; i >= 0; i-- {
		if r := l.requests[i]; r.segment == s {
			q.remove(l, i)
			s.live--
			q.lose(reason, 1, r.Samples)
			q.free(r)
		}
	}
	q.lose(reason, s.cold.requests, q.missing(l, s))
	s.cold = cold{}
	if l.active == s {
		l.active = nil
	}
	q.removeIfDelivered(l, s)
	q.endGenerations()
}
