package queue

import "time"

// Stats implements Queue.
func (q *FIFO) Stats() Stats {
	q.mu.Lock()
	defer q.unlock()
	s := q.stats
	s.MemoryBytes, s.Bytes, s.MaxBytes = q.memory, q.memory, q.limit
	if q.disk != nil {
		s.DiskBytes, s.MaxBytes = q.disk.bytes+q.disk.bytesToRemove(), q.cfg.MaxBytes
		if err := q.disk.health.storageError(); err != nil {
			s.DiskError = err.Error()
		}
	}
	if q.closed {
		return s
	}
	s.OldestLanes = q.gens[0].lanes[0].name.lanes
	older := func(at int64) {
		if s.Oldest == 0 || at < s.Oldest {
			s.Oldest = at
		}
	}
	now := time.Since(q.began)
	for l := range q.lanes {
		s.Segments += len(l.segments)
		for r := range l.requests.all {
			s.Requests++
			s.Samples += r.Samples
			if r.sealed && !r.taken && !l.streams.isDueBy(r, now) {
				s.HeldSamples += r.Samples
			}
			if !r.inMemory() {
				s.Bytes += r.end - r.start
			}
			older(r.Oldest)
		}
		for i, seg := range l.segments {
			if seg.cold.empty() {
				continue
			}
			s.Requests += seg.cold.requests
			s.Samples += seg.cold.samples
			s.Bytes += seg.cold.to - seg.cold.from
			if i > 0 || l.front == nil {
				older(seg.oldest)
			}
		}
	}
	return s
}
