package queue

import "maps"

// checkState compares the state of a queue, while no call is under way, with what its fields are documented to have:
// counts and sums are right, the requests are in their streams in order, and nothing undelivered is in a part of a lane
// that its position says is delivered.
func (q *FIFO) checkState(fail func(string, ...any)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	var mem, disk int64
	for l := range q.lanes {
		var lm int64
		pending, found, fronts := 0, 0, 0
		live, taken := map[*segment]int{}, map[*segment]int{}
		var last *request
		seenHidden := false
		n := 0
		dues := map[uint64]*request{}
		layouts := map[*Layout]int{}
		for r := range l.requests.all {
			n++
			if last != nil && last.age >= r.age {
				fail("ages %d %d", last.age, r.age)
			}
			last = r
			if r.inMemory() {
				if lm += r.Bytes; r.layout() != nil {
					layouts[r.layout()]++
				}
			}
			if q.disk != nil {
				pending += r.records - r.written
			}
			if r.found {
				found++
			}
			if l.front != nil && r.age <= l.front.age {
				fronts++
			}
			if r.segment != nil {
				live[r.segment]++
				if r.taken {
					taken[r.segment]++
				}
			}
			if r.held != (r.onDisk() && r.inMemory() && !r.taken) {
				fail("request %d: held %v, on disk %v, in memory %v, taken %v",
					r.age, r.held, r.onDisk(), r.inMemory(), r.taken)
			}
			if !r.inMemory() && !r.onDisk() {
				fail("data gone")
			}
			if r == l.hidden {
				seenHidden = true
			}
			if !seenHidden && !r.taken && r.stream == nil {
				fail("request %d (taken %v) is not in a stream, hidden %v", r.age, r.taken, l.hidden)
			}
			if (seenHidden || r.taken) && r.stream != nil {
				fail("request %d taken %v is in a stream", r.age, r.taken)
			}
			if r.stream != nil {
				if o := dues[r.Stream]; o != nil && (o.newer != r || r.older != o) {
					fail("chain")
				} else if o == nil && (r.stream.first != r || r.older != nil) {
					fail("chain first")
				}
				if r.stream.first.due > r.due {
					fail("due")
				}
				if r.stream.heap.all[r.stream.at] != r.stream {
					fail("heap")
				}
				dues[r.Stream] = r
			}
			if r.segment != nil {
				for _, x := range l.delivered.of(r.segment.seq) {
					if x.from < r.end && r.start < x.to {
						fail("undelivered request %v-%v overlaps delivered %v", r.start, r.end, x)
					}
				}
				if (position{r.segment.seq, r.start}).compare(l.acked) < 0 {
					fail("position %v behind %d %d", l.acked, r.segment.seq, r.start)
				}
			}
		}
		if !maps.Equal(layouts, l.layouts) {
			fail("layouts %v %v", layouts, l.layouts)
		}
		for layout := range layouts {
			lm += int64(len(layout.Data))
		}
		if l.hidden != nil && !seenHidden {
			fail("hidden is not in the list")
		}
		if n != l.requests.n || pending != l.pending || found != l.found || lm != l.memory {
			fail("requests %d %d, pending %d %d, found %d %d, memory %d %d",
				n, l.requests.n, pending, l.pending, found, l.found, lm, l.memory)
		}
		if l.front != nil && fronts != l.fronts || l.front == nil && l.fronts != 0 {
			fail("fronts %d %d", fronts, l.fronts)
		}
		if l.found == 0 && l.firstCold() == nil && l.hidden != nil && l.hidden.sealed {
			fail("hidden for no reason")
		}
		mem += lm
		if q.disk == nil {
			continue
		}
		for _, s := range l.segments {
			disk += s.size
			if b := q.disk.batch; b == nil || b.segment != s {
				if live[s] != s.live || taken[s] != s.taken {
					fail("segment %s live %d %d taken %d %d", s.name, live[s], s.live, taken[s], s.taken)
				}
			}
			if s.lane != nil {
				fail("segment to be removed in list")
			}
			if !s.cold.empty() {
				for r := range l.requests.all {
					if r.segment == s && r.start < s.cold.to && r.end > s.cold.from {
						fail("request in cold range")
					}
				}
				if (position{s.seq, s.cold.from}).compare(l.acked) < 0 {
					fail("position behind cold")
				}
			} else if s.cold.requests != 0 || s.cold.samples != 0 {
				fail("cold %+v", s.cold)
			}
			delete(live, s)
		}
		for s := range live {
			fail("request in segment %s that is gone", s.name)
		}
	}
	if mem != q.memory {
		fail("memory %d %d", mem, q.memory)
	}
	if q.disk != nil {
		if disk != q.disk.bytes {
			fail("disk %d %d", disk, q.disk.bytes)
		}
		seen := map[*segment]bool{}
		for _, s := range q.disk.toRemove {
			if seen[s] {
				fail("removed twice")
			}
			seen[s] = true
		}
	}
}
