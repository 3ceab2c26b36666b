package queue

import "time"

// request is a request of a lane. Its data is in memory (Records is not nil) or, if all of it is on disk, only there.
type request struct {
	Request
	age     uint64        // its place in the queue: lower is older
	due     time.Duration // since FIFO.began; 0: at once. Not later than that of newer requests of the stream
	records int
	written int // records on disk

	sealed   bool
	writing  bool // some records are being written
	taken    bool // in flight, or being read for it
	gone     bool // acknowledged
	found    bool // was found by the start
	readBack bool // Records were read from the segment: before is not known

	segment    *segment    // the segment with its written records; nil: none is written
	start, end int64       // offsets there; end: of the last written record
	before     uint64      // samples of the segment before start
	layoutCopy *layoutCopy // there, of its layout; nil: it has none, or was found by the start
	torn       extents     // parts of abandoned segments that still have the beginning of the request

	prev, next         *request // in the lane
	older, newer       *request // in the stream
	stream             *stream  // nil: not in the lane's streams
	prevHeld, nextHeld *request // in the lane's held requests
	held               bool
}

// onDisk reports whether all of r is on disk, so that its data is not needed in memory.
func (r *request) onDisk() bool { return r.sealed && !r.writing && r.written == r.records }

// onlyInMemory reports whether r is sealed and nothing of it is on disk.
func (r *request) onlyInMemory() bool { return r.sealed && !r.writing && r.written == 0 }

func (r *request) inMemory() bool { return r.Records != nil }

// layout returns the layout of r, which is in memory, or nil.
func (r *request) layout() *Layout { return r.Records[0].Layout }

func (r *request) add(rec Record) {
	r.Records = append(r.Records, rec)
	r.records++
	r.Samples += rec.Samples
	r.Bytes += int64(len(rec.Data)) + recordOverhead
	r.Oldest, r.Newest = min(r.Oldest, rec.Oldest), max(r.Newest, rec.Newest)
}

// requestList is the requests of a lane, oldest first.
type requestList struct {
	first, last *request
	n           int
}

// insert puts r behind another request of the list, or at the begin if that is nil.
func (l *requestList) insert(after, r *request) {
	r.prev = after
	if after == nil {
		r.next, l.first = l.first, r
	} else {
		r.next, after.next = after.next, r
	}
	if r.next == nil {
		l.last = r
	} else {
		r.next.prev = r
	}
	l.n++
}

// remove takes r out. r.prev and r.next stay as they were.
func (l *requestList) remove(r *request) {
	if r.prev == nil {
		l.first = r.next
	} else {
		r.prev.next = r.next
	}
	if r.next == nil {
		l.last = r.prev
	} else {
		r.next.prev = r.prev
	}
	l.n--
}

// all yields the requests, oldest first. The one that is yielded may be removed meanwhile.
func (l *requestList) all(yield func(*request) bool) {
	for r := l.first; r != nil; {
		next := r.next
		if !yield(r) {
			return
		}
		r = next
	}
}

// heldList is the requests of a lane that are on disk, not in flight, and whose data is in memory: it may leave memory.
// In the order in which they got there.
type heldList struct{ first, last *request }

func (h *heldList) add(r *request) {
	if r.held {
		return
	}
	r.held, r.prevHeld, r.nextHeld = true, h.last, nil
	if h.last == nil {
		h.first = r
	} else {
		h.last.nextHeld = r
	}
	h.last = r
}

func (h *heldList) remove(r *request) {
	if !r.held {
		return
	}
	if r.prevHeld == nil {
		h.first = r.nextHeld
	} else {
		r.prevHeld.nextHeld = r.nextHeld
	}
	if r.nextHeld == nil {
		h.last = r.prevHeld
	} else {
		r.nextHeld.prevHeld = r.prevHeld
	}
	r.held, r.prevHeld, r.nextHeld = false, nil, nil
}
