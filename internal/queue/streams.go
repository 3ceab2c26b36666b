package queue

import (
	"container/heap"
	"time"
)

// stream is the requests of one stream that a lane may give out, in order: sealed and not in flight.
type stream struct {
	first, last *request
	heap        *streamHeap
	at          int // in the heap
}

// streams finds the streams of a lane that are due, in the order of their oldest requests. A stream is in one of the
// two heaps. For example, at 12:00:10, with two requests of 12:00:00 and 12:00:15 that may wait until 12:00:30 in
// stream 7, and one request of 12:00:05 that is due in stream 9: 7 is in waiting with 12:00:30, 9 in ready.
type streams struct {
	byNumber map[uint64]*stream
	ready    streamHeap // due, by the age of the oldest request
	waiting  streamHeap // by the time when they are due
	flushed  uint64     // the age up to which requests are due
	spare    *stream    // the one that was empty last, to be used again; or nil
}

func newStreams() streams {
	return streams{
		byNumber: map[uint64]*stream{},
		ready:    streamHeap{before: func(a, b *request) bool { return a.age < b.age }},
		waiting:  streamHeap{before: func(a, b *request) bool { return a.due < b.due }},
	}
}

// add puts a request into its stream, as the newest, or as the oldest if it was taken before.
func (s *streams) add(r *request) {
	st := s.byNumber[r.Stream]
	switch {
	case st == nil:
		if st, s.spare = s.spare, nil; st == nil {
			st = &stream{}
		}
		st.first, st.last = r, r
		s.byNumber[r.Stream] = st
	case r.age < st.first.age:
		r.newer, st.first.older = st.first, r
		st.first = r
	default:
		r.older, st.last.newer = st.last, r
		st.last = r
	}
	r.stream = st
	if r.newer != nil {
		r.due = min(r.due, r.newer.due)
	}
	for x := r.older; x != nil && x.due > r.due; x = x.older {
		x.due = r.due // a stream is due when one of its requests is
	}
	s.place(st)
}

// remove takes a request out of its stream.
func (s *streams) remove(r *request) {
	st := r.stream
	if st == nil {
		return
	}
	if r.older == nil {
		st.first = r.newer
	} else {
		r.older.newer = r.newer
	}
	if r.newer == nil {
		st.last = r.older
	} else {
		r.newer.older = r.older
	}
	r.stream, r.older, r.newer = nil, nil, nil
	s.shrunk(st, r.Stream)
}

// shrunk puts a stream into its place, or away if it is empty.
func (s *streams) shrunk(st *stream, number uint64) {
	if st.first != nil {
		s.place(st)
		return
	}
	heap.Remove(st.heap, st.at)
	delete(s.byNumber, number)
	s.spare, st.last = st, nil
}

// take moves the n oldest requests of a stream to a group.
func (s *streams) take(group []*request, st *stream, n int) []*request {
	number := st.first.Stream
	for range n {
		r := st.first
		st.first = r.newer
		r.stream, r.older, r.newer = nil, nil, nil
		group = append(group, r)
	}
	if st.first != nil {
		st.first.older = nil
	}
	s.shrunk(st, number)
	return group
}

// place puts a stream into the heap and the order that its oldest request demands.
func (s *streams) place(st *stream) {
	to := &s.waiting
	if st.first.due == 0 || st.first.age <= s.flushed {
		to = &s.ready
	}
	if st.heap == to {
		heap.Fix(to, st.at)
		return
	}
	if st.heap != nil {
		heap.Remove(st.heap, st.at)
	}
	heap.Push(to, st)
}

// pass makes streams ready that are due by now.
func (s *streams) pass(now time.Duration) {
	for len(s.waiting.all) > 0 && s.waiting.all[0].first.due <= now {
		heap.Push(&s.ready, heap.Pop(&s.waiting))
	}
}

// flush makes requests due up to an age. It reports whether any was waiting.
func (s *streams) flush(age uint64) (waited bool) {
	s.flushed = max(s.flushed, age)
	waited = len(s.waiting.all) > 0
	for len(s.waiting.all) > 0 {
		heap.Push(&s.ready, heap.Pop(&s.waiting))
	}
	return waited
}

// isDueBy reports whether a request is due by a time, alone or with its stream.
func (s *streams) isDueBy(r *request, at time.Duration) bool {
	if r.stream != nil {
		if r.stream.heap == &s.ready {
			return true
		}
		r = r.stream.first
	}
	return r.due <= at || r.age <= s.flushed
}

// pick takes the requests of the next group out of their streams, or none if no stream is ready. It appends them to an
// empty slice.
func (s *streams) pick(group []*request, most Limit) []*request {
	var later []*stream // the rest of streams in the group
	defer func() {
		for _, st := range later {
			s.place(st)
		}
	}()
	samples, bytes := 0, int64(0)
	for len(s.ready.all) > 0 {
		st := s.ready.all[0]
		n, whole := 0, true
		for r := st.first; r != nil && st.goesOn(r, n, most); r = r.newer {
			samples, bytes = samples+r.Samples, bytes+r.Bytes
			if len(group)+n > 0 && !most.allows(samples, bytes) && (len(group) > 0 || !most.allows(0, bytes)) {
				whole = false
				break
			}
			n++
		}
		if len(group) > 0 && (!whole || !group[0].mayShareWith(st.first)) {
			return group // it is first in a later one
		}
		if group = s.take(group, st, n); !whole || group[0].Stream == 0 {
			return group
		}
		if st.first != nil && st.heap == &s.ready {
			heap.Remove(st.heap, st.at)
			later = append(later, st)
		}
	}
	return group
}

// goesOn reports whether r may be in the group behind n requests of its stream, as far as the stream is concerned.
func (st *stream) goesOn(r *request, n int, most Limit) bool {
	return n == 0 || r.Stream != 0 && (most.Requests <= 0 || n < most.Requests) &&
		r.MayHaveArrived == st.first.MayHaveArrived
}

// mayShareWith reports whether requests of two streams may be in one group.
func (r *request) mayShareWith(o *request) bool {
	return r.Stream != 0 && o.Stream != 0 && r.MayHaveArrived == o.MayHaveArrived
}

// streamHeap is a heap of streams, in an order of their oldest requests.
type streamHeap struct {
	all    []*stream
	before func(a, b *request) bool
}

func (h *streamHeap) Len() int           { return len(h.all) }
func (h *streamHeap) Less(i, j int) bool { return h.before(h.all[i].first, h.all[j].first) }

func (h *streamHeap) Swap(i, j int) {
	h.all[i], h.all[j] = h.all[j], h.all[i]
	h.all[i].at, h.all[j].at = i, j
}

func (h *streamHeap) Push(x any) {
	st := x.(*stream)
	st.heap, st.at = h, len(h.all)
	h.all = append(h.all, st)
}

func (h *streamHeap) Pop() any {
	st := h.all[len(h.all)-1]
	h.all[len(h.all)-1] = nil
	h.all = h.all[:len(h.all)-1]
	st.heap = nil
	return st
}
