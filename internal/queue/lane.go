package queue

import (
	"slices"
	"time"
)

// lane is a FIFO of requests: first some in memory, then some on disk only (cold), then some in memory again. Guarded
// by FIFO.mu.
type lane struct {
	requests []*request // in memory, oldest first; only the last can be open
	front    int        // requests[:front] are older than the cold ones, requests[front:] newer; unused if none is cold

	memory  int64
	pending int // records that are not on disk
	reader  int // the reader that has requests[0], or reads it from disk; noReader: none

	segments []*segment // oldest first
	active   *segment   // the last one, while it may grow; nil: the next write begins one
	nextSeq  uint32
	acked    position // everything before it is delivered
	posDirty bool     // the position was written since the last sync

	// firstFound is the begin of the first request that the start found behind acked. The zero value: it found none.
	firstFound position

	name       laneName
	pos        positionFile
	writeRetry backoff
	readRetry  backoff
	drained    bool // of an older generation, and empty
}

const noReader = -1

// request is a request in memory.
type request struct {
	Request
	age     uint64 // number of the request in the queue: lower is older
	sealed  bool
	written int  // records on disk
	writing bool // some records are being written
	gone    bool // delivered while they were written

	segment    *segment // the segment with its written records; nil: none is written
	start, end int64    // offsets there; end: of the last written record
	before     uint64   // samples of the segment before start
	readBack   bool     // read back from the segment: before is not known
}

// onDisk reports whether all of r is on disk, so that memory is not needed for it.
func (r *request) onDisk() bool { return r.sealed && !r.writing && r.written == len(r.Records) }

// onlyInMemory reports whether r is sealed and nothing of it is on disk.
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

// syncFailed reports whether a segment of the lane has failed, so that the disk may not have its samples.
func (l *lane) syncFailed() bool {
	return slices.ContainsFunc(l.segments, func(s *segment) bool { return s.failed })
}

func (l *lane) inFlight(r *request) bool {
	return l.reader != noReader && len(l.requests) > 0 && l.requests[0] == r
}

// firstCold returns the segment to read from next, or nil.
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

// evictable returns the index of a request that may leave memory, or -1: it is on disk, and next to the cold ones. The
// newer side comes first, since the requests on the older side are read next.
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

// droppable returns the index of the oldest request that is in memory only, or -1.
func (l *lane) droppable() int {
	return slices.IndexFunc(l.requests, func(r *request) bool { return r.onlyInMemory() && !l.inFlight(r) })
}

// firstPending returns the index of the request whose records are written next.
func (l *lane) firstPending() (at int) {
	at = len(l.requests)
	for at > 0 && l.requests[at-1].written < len(l.requests[at-1].Records) {
		at--
	}
	return at
}

// pendingBytes returns the number of bytes that are to be written, counted up to about most.
func (l *lane) pendingBytes(most int64) (n int64) {
	for _, r := range l.requests[l.firstPending():] {
		for i := r.written; i < len(r.Records) && n < most; i++ {
			n += headerSize + int64(len(r.Records[i].Data))
		}
	}
	return n
}

// samplesOnDisk returns the number of samples that are written and not delivered.
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

// mayDrop reports whether nobody uses a segment and none of its requests is in flight, open or half written.
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

// oldestDroppable returns the segment of the lane that is dropped first when the disk is full, or nil.
func (l *lane) oldestDroppable() *segment {
	for _, s := range l.segments {
		if l.mayDrop(s) {
			return s
		}
	}
	return nil
}

// backoff says when a failed call is tried again. The zero value: now.
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
