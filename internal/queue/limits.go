package queue

import (
	"slices"
	"time"
)

// slowDiskFactor is how far memory may exceed its limit while the disk has refused nothing: a burst, or a writer that
// waits for a slow disk, is no reason yet to lose anything.
const slowDiskFactor = 4

// limitMemory keeps memory within its limit: first what the disk has is forgotten, then the oldest of what it has
// not is lost.
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

// evict leaves one request to the disk, of the lane with the most in memory.
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

// drop loses the oldest sealed request that is in memory only, of whichever lane.
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

// limitDisk drops the oldest segments until the given number of bytes fits on disk. It reports whether they can be
// written now: they cannot while the files of dropped segments are still there.
func (q *FIFO) limitDisk(room int64) bool {
	d := q.disk
	for d.bytes+room > q.cfg.MaxBytes {
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
	return left == 0 || d.bytes+left+room <= q.cfg.MaxBytes
}

const ageInterval = time.Minute // between two looks at the age of segments

// dropOld drops segments that are older than MaxAge. It looks only once in a while.
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

// dropSegment loses what is undelivered in a segment that is whole.
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
