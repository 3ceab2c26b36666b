package queue

import (
	"slices"
	"time"
)

// slowDiskFactor is how far memory may exceed its limit while no call of the disk fails: nothing is lost yet for a
// burst or a slow disk.
const slowDiskFactor = 4

// maxRequests is the number of requests of a lane in memory, if only by their headers, from which on some become cold.
const maxRequests = 8192

// window returns how many requests of a lane are read ahead, so that several of a stream are found.
func (q *FIFO) window() int { return q.maxRequests() / 2 }

func (q *FIFO) maxRequests() int {
	if q.cfg.requests > 0 {
		return q.cfg.requests
	}
	return maxRequests
}

// limitMemory keeps memory within its limit. First the data of requests that are on disk leaves memory. When it is
// nearly full nevertheless, requests no longer wait for later ones of their streams. Then the oldest are dropped.
func (q *FIFO) limitMemory() {
	most := q.limit
	if q.disk != nil {
		for q.memory > q.limit && q.evict() {
		}
		if h := &q.disk.health; !h.failing(writing) && !h.failing(removing) {
			most *= slowDiskFactor
		}
	}
	if q.memory > most/4*3 {
		q.flush()
	}
	for q.memory > most && q.drop() {
	}
}

// evict removes the data of one request that is on disk from memory, of the lane with the most in memory. The newest
// comes first, since older requests are given out before it.
func (q *FIFO) evict() bool {
	var from *lane
	for l := range q.lanes {
		if l.held.last != nil && (from == nil || l.memory > from.memory) {
			from = l
		}
	}
	if from == nil {
		return false
	}
	q.free(from, from.held.last)
	return true
}

// limitRequests makes requests of a lane cold while it has too many. Then nothing in the lane waits for later requests
// of its stream any more: a stream that is due may be hidden behind the cold ones.
func (q *FIFO) limitRequests(l *lane) {
	for l.requests.n > q.maxRequests() {
		r := l.coldest(q.window())
		if r == nil {
			return
		}
		q.makeCold(l, r)
		q.flushLane(l)
	}
}

// makeCold takes a request that is on disk, and next to the cold ones, out of memory.
func (q *FIFO) makeCold(l *lane, r *request) {
	if l.firstCold() == nil {
		q.flushLane(l) // cold requests cannot make their streams due
		l.hide(r)
		l.front, l.fronts = r, l.requests.n
		for x := l.requests.last; x != r; x = x.prev {
			l.fronts--
		}
	}
	if l.front == r {
		l.coldAge = r.age - 1
	}
	q.remove(l, r)
	q.freeData(r)
	s := r.segment
	s.live--
	if s.cold.empty() {
		s.cold.span = span{r.start, r.end}
	}
	s.cold.from, s.cold.to = min(s.cold.from, r.start), max(s.cold.to, r.end)
	s.cold.requests++
	s.cold.samples += r.Samples
}

// drop drops the oldest sealed request of all lanes that is in memory only.
func (q *FIFO) drop() bool {
	var from *lane
	var oldest *request
	for l := range q.lanes {
		if r := l.droppable(); r != nil && (oldest == nil || r.age < oldest.age) {
			from, oldest = l, r
		}
	}
	if oldest == nil {
		return false
	}
	q.remove(from, oldest)
	q.passed(from, oldest)
	reason := QueueFull
	if q.disk != nil {
		reason = DiskFull
	}
	q.lose(reason, 1, oldest.Samples)
	q.freeData(oldest)
	q.endGenerations()
	return true
}

// free removes the data of a request from memory. The request stays in its lane.
func (q *FIFO) free(l *lane, r *request) {
	l.held.remove(r)
	q.leaveMemory(l, r)
	q.freeData(r)
}

func (q *FIFO) freeData(r *request) {
	if q.cfg.Free != nil {
		for i := range r.Records {
			q.cfg.Free(r.Records[i].Data)
		}
	}
	r.Records = nil
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
	for r := range l.requests.all {
		if r.segment == s {
			q.remove(l, r)
			s.live--
			q.lose(reason, 1, r.Samples)
			q.freeData(r)
		}
	}
	q.lose(reason, s.cold.requests, q.missing(l, s))
	s.cold = cold{}
	l.passed(s, span{0, s.size})
	if l.active == s {
		l.active = nil
	}
	q.removeIfDelivered(l, s)
	q.coldChanged(l)
	q.notices.wake = true // requests that are due may have waited for what is dropped
	q.endGenerations()
}

// coldChanged is called when requests of a lane are no longer cold, or were lost.
func (q *FIFO) coldChanged(l *lane) {
	if l.firstCold() == nil {
		l.front, l.fronts = nil, 0
	}
	l.reveal()
	q.advance(l)
}
