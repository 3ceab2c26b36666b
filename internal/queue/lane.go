package queue

import (
	"slices"
	"time"
)

// lane is a list of requests. The oldest part of it is in memory, if only by its headers; then some requests may be on
// disk only (cold); then come newer ones in memory. Guarded by FIFO.mu.
type lane struct {
	requests  requestList // in memory, oldest first; only the last can be open
	front     *request    // the last request that is older than the cold ones; nil: there is none, or none is cold
	fronts    int         // how many are older than the cold ones
	coldAge   uint64      // where some are cold: they are younger than this, and what is older than them is not
	held      heldList
	unwritten *request // the oldest request with a record that is not on disk

	streams streams  // of what may be given out
	hidden  *request // the oldest request that is not in streams and was not taken from there
	found   int      // requests in memory that the start found: what was appended later waits for them

	memory  int64           // of requests and layouts
	layouts map[*Layout]int // how many requests in memory have it
	pending int             // records that are not on disk
	reader  int             // the reader that has group, or reads it from disk; noReader: none
	group   []*request      // in flight
	given   []Request       // group, as Next returned it

	segments []*segment // oldest first
	active   *segment   // the last one, while it may grow; nil: the next write begins one
	nextSeq  uint32
	end      position // of what is written

	acked     position // everything before it is delivered
	delivered extents  // behind acked
	doubtful  extents  // a request that the start found and that begins in one of them may have arrived
	changes   uint64   // of the three above and of what is in flight, from 1
	posDirty  bool     // the position was written since the last sync

	name       laneName
	pos        positionFile
	writeRetry backoff
	readRetry  backoff
	drained    bool // of an older generation, and empty
}

const noReader = -1

func newLane(dir string, name laneName) *lane {
	return &lane{
		name: name, nextSeq: 1, changes: 1, reader: noReader, streams: newStreams(),
		pos: positionFile{name: join(dir, name.position()), mu: newDiskLock(), written: 1}, layouts: map[*Layout]int{},
	}
}

// open returns the request that may still grow, or nil.
func (l *lane) open() *request {
	if r := l.requests.last; r != nil && !r.sealed {
		return r
	}
	return nil
}

// syncFailed reports whether a segment of the lane has failed, so that the disk may not have its samples.
func (l *lane) syncFailed() bool {
	return slices.ContainsFunc(l.segments, func(s *segment) bool { return s.failed })
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
	return l.requests.n == 0 && l.reader == noReader && l.firstCold() == nil
}

// reveal adds requests to streams that may be given out. Requests behind cold ones may not, since a cold one may be of
// the same stream; and what was appended in this process not before what the start found.
func (l *lane) reveal() {
	if l.hidden == nil {
		return
	}
	cold := l.firstCold() != nil
	for r := l.hidden; r != nil && r.sealed; r = r.next {
		if cold && r.age > l.coldAge || l.found > 0 && !r.found {
			return
		}
		if !r.taken {
			l.streams.add(r)
		}
		l.hidden = r.next
	}
}

// hide takes a request and all newer ones out of streams.
func (l *lane) hide(from *request) {
	for r := l.requests.last; r != from.prev; r = r.prev {
		l.streams.remove(r)
	}
	if l.hidden == nil || l.hidden.age > from.age {
		l.hidden = from
	}
}

// putBack puts a request that was taken, and is not given out now, back into streams.
func (l *lane) putBack(r *request) {
	r.taken = false
	if r.segment != nil {
		r.segment.taken--
	}
	if l.hidden == nil || r.age < l.hidden.age {
		l.streams.add(r)
	}
	if r.inMemory() && r.onDisk() {
		l.held.add(r)
	}
}

// coldest returns the request that becomes cold next, or nil: it is on disk, and next to the cold ones. The newer side
// comes first, since the requests on the older side are given out next; of those a window stays.
func (l *lane) coldest(window int) *request {
	may := func(r *request) bool { return r != nil && r.onDisk() && !r.taken }
	if l.firstCold() != nil {
		newer := l.requests.first
		if l.front != nil {
			newer = l.front.next
		}
		if may(newer) {
			return newer
		}
		if l.fronts > window && may(l.front) {
			return l.front
		}
		return nil
	}
	r := l.requests.last
	if l.unwritten != nil {
		r = l.unwritten.prev
	}
	for r != nil && !may(r) { // open, or in flight
		r = r.prev
	}
	return r
}

// droppable returns the oldest request that is in memory only, or nil.
func (l *lane) droppable() *request {
	for r := l.unwritten; r != nil; r = r.next {
		if r.onlyInMemory() && !r.taken {
			return r
		}
	}
	return nil
}

// pendingBytes returns the number of bytes that are to be written, counted up to about most. Layouts count as if each
// were to be written.
func (l *lane) pendingBytes(most int64) (n int64) {
	for r := l.unwritten; r != nil && n < most; r = r.next {
		for i := r.written; i < len(r.Records) && n < most; i++ {
			n += headerSize + int64(len(r.Records[i].Data))
			if layout := r.Records[i].Layout; layout != nil {
				n += headerSize + int64(layout.Len()) + layoutRefSize
			}
		}
	}
	return n
}

// samplesOnDisk returns the number of samples that are written and not delivered.
func (l *lane) samplesOnDisk() (n int) {
	for r := range l.requests.all {
		if n += r.Samples; r.written < r.records {
			for _, rec := range r.Records[r.written:] {
				n -= rec.Samples
			}
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
	half := l.unwritten != nil && l.unwritten.segment == s
	open := l.open() != nil && l.open().segment == s
	return s.live == 0 || s.taken == 0 && !half && !open
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
