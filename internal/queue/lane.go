package queue

import (
	"slices"
	"time"
)

// lane is a FIFO: requests in memory, then what is cold (on disk only), then requests in memory again. Guarded
// by the queue's mu.
type lane struct {
	requests []*request // in memory, oldest first; only the last can be open
	front    int        // how many of them come before what is cold; means nothing while nothing is

	memory  int64
	pending int // records that are not on disk
	reader  int // which reader has requests[0], or looks for it on disk; none: nobody

	segments []*segment // oldest first
	active   *segment   // the last one, while it may grow; nil: the next write begins one
	nextSeq  uint32
	acked    position // everything before is delivered
	posDirty bool     // the position was written since the last sync

	// firstFound is where the first request began that the start found behind acked. The zero value: it found none.
	firstFound position

	name       laneName
	pos        positionFile
	writeRetry backoff
	readRetry  backoff
	drained    bool // of an older generation, and empty
}

const noReader = -1

// request is one in memory.
type request struct {
	Request
	age     uint64 // over all lanes
	sealed  bool
	written int  // records on disk
	writing bool // some are being written
	gone    bool // delivered while that was so

	segment    *segment // has its records; nil: none is written
	start, end int64    // there; end: of the last written
	before     uint64   // samples of the segment before start
	readBack   bool     // from there, and whole: before is not known
}

// onDisk says that memory is not needed for r.
func (r *request) onDisk() bool { return r.sealed && !r.writing && r.written == len(r.Records) }

// onlyInMemory says that the disk has nothing of r.
func (r *request) onlyInMemory() bool { return r.sealed && !r.writing && r.written == 0 }

func newLane(dir string, name laneName) *lane {
	return &lane{name: name, nextSeq: 1, reader: noReader, pos: positionFile{name: join(dir, name.position())}}
}

// open returns the request that may still grow, or nil.
func (l *lane) open() *request {
	if n := len(l.requests); n > 0 && !l.requests[n-1].sealed {
		return l.requests[n-1]
	}
	return nil
}

// syncFailed reports whether the disk may not have what was written to a segment.
func (l *lane) syncFailed() bool {
	return slices.ContainsFunc(l.segments, func(s *segment) bool { return s.failed })
}

func (l *lane) inFlight(r *request) bool {
	return l.reader != noReader && len(l.requests) > 0 && l.requests[0] == r
}

// firstCold is the segment to read next, or nil.
func (l *lane) firstCold() *segment {
	for _, s := range l.segments {
		if !s.cold.empty() {
			return s
		}
	}
	return nil
}

func (l *lane) empty() bool {
	return len(l.requests) == 0 && l.reader == noReader && l.firstCold() == nil
}

// evictable finds a request that the disk has whole and that lies next to what is cold already, the newer
// side first: what is read next stays. -1: there is none.
func (l *lane) evictable() int {
	may := func(i int) bool {
		return i >= 0 && i < len(l.requests) && l.requests[i].onDisk() && !l.inFlight(l.requests[i])
	}
	if l.firstCold() != nil {
		if may(l.front) {
			return l.front
		}
		if may(l.front - 1) {
			return l.front - 1
		}
		return -1
	}
	for i := len(l.requests) - 1; i >= 0; i-- {
		if may(i) {
			return i
		}
	}
	return -1
}

// droppable finds the oldest request of which the disk has nothing; -1: there is none.
func (l *lane) droppable() int {
	return slices.IndexFunc(l.requests, func(r *request) bool { return r.onlyInMemory() && !l.inFlight(r) })
}

// firstPending is where the record stands that is written next.
func (l *lane) firstPending() (at int) {
	at = len(l.requests)
	for at > 0 && l.requests[at-1].written < len(l.requests[at-1].Records) {
		at--
	}
	return at
}

// pendingBytes is what is to be written on disk, up to about so much.
func (l *lane) pendingBytes(most int64) (n int64) {
	for _, r := range l.requests[l.firstPending():] {
		for i := r.written; i < len(r.Records) && n < most; i++ {
			n += headerSize + int64(len(r.Records[i].Data))
		}
	}
	return n
}

// samplesOnDisk counts what is written and not delivered.
func (l *lane) samplesOnDisk() (n int) {
	for _, r := range l.requests {
		for _, rec := range r.Records[:r.written] {
			n += rec.Samples
		}
	}
	for _, s := range l.segments {
		n += s.cold.samples
	}
	return n
}

// whole says that no request of a segment is in flight, open or half written.
func (l *lane) mayDrop(s *segment) bool {
	if s.uses > 0 || s.size == 0 {
		return false
	}
	if s.live == 0 {
		return true
	}
	return !slices.ContainsFunc(l.requests, func(r *request) bool {
		return r.segment == s && (!r.onDisk() || l.inFlight(r))
	})
}

// oldestDroppable is the segment of the lane that goes first when there is no room.
func (l *lane) oldestDroppable() *segment {
	for _, s := range l.segments {
		if l.mayDrop(s) {
			return s
		}
	}
	return nil
}

// backoff is when to try again what failed. The zero value: now.
type backoff struct {
	wait time.Duration
	next time.Time
	runs int // failures in a row
}

const (
	minBackoff = time.Second
	maxBackoff = 30 * time.Second
)

func (b *backoff) failed(now time.Time) {
	b.wait = min(max(minBackoff, 2*b.wait), maxBackoff)
	b.next = now.Add(b.wait)
	b.runs++
}

func (b *backoff) due(now time.Time) bool { return b.runs == 0 || !now.Before(b.next) }
