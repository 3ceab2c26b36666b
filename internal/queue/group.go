package queue

import (
	"slices"
	"time"
)

// Next implements Queue.
func (q *FIFO) Next(reader int, most Limit) (group []Request, state State, wait time.Duration) {
	q.mu.Lock()
	var read []*lane
	if l := q.inFlight[reader]; l != nil && !q.closed {
		group, state = l.given, Ready
	} else {
		group, state, wait, read = q.next(reader, most)
	}
	q.unlock()
	for _, l := range read { // what is in flight, and what was lost to damage
		q.writePosition(l, false)
	}
	return group, state, wait
}

// next implements Next for a reader that has nothing in flight. It also returns the lanes whose positions may have
// changed.
func (q *FIFO) next(reader int, most Limit) (group []Request, state State, wait time.Duration, read []*lane) {
	if q.closed {
		return nil, Empty, 0, nil
	}
	if q.disk != nil {
		q.dropOld(time.Now())
	}
	for {
		l, state := q.laneOf(reader)
		if l == nil {
			return nil, state, 0, read
		}
		l.reader = reader
		read = append(read, l)
		state, wait := q.take(l, most)
		if state == Ready {
			q.inFlight[reader] = l
			return l.given, Ready, 0, read
		}
		l.reader = noReader
		q.wakeIfOther(l, reader)
		if state == Later || q.closed || q.isNewest(l) || !l.empty() {
			return nil, state, wait, read
		}
		q.endGenerations() // all of l was damaged: the next lane may have a request
	}
}

// take makes the next group of a lane its group in flight. The caller is the lane's reader.
func (q *FIFO) take(l *lane, most Limit) (State, time.Duration) {
	for !q.closed {
		readable := q.readAhead(l)
		if q.closed {
			break
		}
		now := time.Since(q.began)
		l.streams.pass(now)
		group := l.streams.pick(l.group[:0], most)
		if len(group) == 0 {
			switch {
			case len(l.streams.waiting.all) > 0:
				return Later, l.streams.waiting.all[0].first.due - now
			case !readable:
				return Later, 0
			}
			return Empty, 0
		}
		for _, r := range group {
			r.taken = true
			l.held.remove(r)
			if r.segment != nil {
				r.segment.taken++
			}
		}
		if group, readable = q.load(l, group); q.closed {
			break
		}
		l.reveal() // some may be lost to damage
		q.advance(l)
		if len(group) > 0 {
			l.group = group
			q.shareLayouts(l)
			q.give(l)
			return Ready, 0
		}
		if !readable {
			return Later, 0
		}
		q.coldChanged(l) // all of the group was damaged: what was appended may have waited for it
	}
	return Empty, 0
}

// shareLayouts gives the records of a stream in a group whose layouts are equal the same one: some were read from disk.
func (q *FIFO) shareLayouts(l *lane) {
	var seen []*Layout // of the stream
	for i, r := range l.group {
		if i > 0 && r.Stream != l.group[i-1].Stream {
			seen = seen[:0]
		}
		layout := r.layout()
		if layout == nil {
			continue
		}
		k := slices.IndexFunc(seen, func(o *Layout) bool { return o == layout || o.equal(layout) })
		if k < 0 {
			seen = append(seen, layout)
		} else if known := seen[k]; known != layout {
			q.accountLayout(l, layout, -1)
			q.accountLayout(l, known, 1)
			r.Records[0].Layout = known
		}
	}
}

// give fills in what Next returns.
func (q *FIFO) give(l *lane) {
	l.given = make([]Request, len(l.group))
	for i, r := range l.group {
		l.given[i] = r.Request
		if r.segment != nil || r.writing || r.torn != nil {
			l.changes++
		}
	}
}

// Ack implements Queue.
func (q *FIFO) Ack(lane int) {
	q.mu.Lock()
	l := q.inFlight[lane]
	if l == nil || q.closed {
		if l != nil {
			for _, r := range l.group {
				r.ownData()
			}
		}
		q.unlock()
		return
	}
	delete(q.inFlight, lane)
	group := l.group
	l.reader, l.group, l.given = noReader, l.group[:0], nil
	for i, r := range group {
		group[i] = nil
		q.remove(l, r)
		r.gone = true
		if !r.writing { // else it is delivered when it is written
			q.passed(l, r)
		}
	}
	l.reveal()
	q.advance(l)
	if len(q.gens) > 1 {
		q.endGenerations()
		q.wakeIfOther(l, lane)
	}
	q.unlock()
	if q.disk != nil {
		q.writePosition(l, false)
	}
}

// passed marks a request that is delivered or lost as such on disk. The request is removed from its lane.
func (q *FIFO) passed(l *lane, r *request) {
	for _, x := range r.torn {
		l.delivered.add(x)
		l.changes++
	}
	s := r.segment
	if s == nil {
		return
	}
	l.passed(s, span{r.start, r.end})
	s.live--
	q.removeIfDelivered(l, s)
}

// passed marks a part of a segment as delivered or lost.
func (l *lane) passed(s *segment, at span) {
	l.delivered.add(extent{s.seq, at})
	l.changes++
}

// advance moves the position of a lane to its oldest undelivered request.
func (q *FIFO) advance(l *lane) {
	if q.disk == nil {
		return
	}
	at := l.end
	before := func(p position) {
		if p.compare(at) < 0 {
			at = p
		}
	}
	if b := q.disk.batch; b != nil && b.lane == l && b.request.gone {
		before(b.begin())
	}
	if r := l.requests.first; r != nil && r.segment != nil {
		before(position{r.segment.seq, r.start})
	}
	if s := l.firstCold(); s != nil {
		before(position{s.seq, s.cold.from})
	}
	if at.compare(l.acked) > 0 {
		l.acked = at
		l.delivered.passed(at)
		l.doubtful.passed(at)
		l.changes++
	}
}

// slot returns what the position file of a lane has to say. It shares memory with the lane. The batch is the one that
// is being written, or nil.
func (l *lane) slot(b *batch, left uint32) slot {
	s := slot{position: l.acked, delivered: l.delivered, left: left, last: max(l.end.seq, l.nextSeq-1)}
	s.doubtful = append(s.doubtful, l.doubtful...)
	for _, r := range l.group {
		for _, x := range r.torn {
			s.doubtful.add(x)
		}
		if r.segment != nil {
			s.doubtful.add(extent{r.segment.seq, span{r.start, r.end}})
		} else if b != nil && b.request == r {
			s.doubtful.add(b.extent())
		}
	}
	if b != nil && b.lane == l && b.request.gone {
		s.doubtful.add(b.extent())
	}
	return s
}
