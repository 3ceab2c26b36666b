package queue

import (
	"errors"
	"slices"
	"sync"
)

// recordOverhead is what a record costs beside its bytes.
const recordOverhead = 96

// Memory is a bounded queue in memory: nothing of it survives the process. Open requests and requests in
// flight are never dropped, so it may exceed its limit by those, at most two a lane.
type Memory struct {
	mu     sync.Mutex // guards the following
	lanes  []memoryLane
	bytes  int64
	seq    uint64 // of the request begun last: age, over all lanes
	closed bool

	maxBytes int64 // immutable
}

type memoryLane struct {
	requests []*memoryRequest // oldest first; only the last can be open
	inFlight bool             // requests[0]
}

type memoryRequest struct {
	Request
	seq    uint64
	sealed bool
}

// NewMemory returns an empty queue of so many lanes.
func NewMemory(cfg Config, lanes int) *Memory {
	if cfg.MaxBytes <= 0 {
		cfg = DefaultConfig()
	}
	return &Memory{lanes: make([]memoryLane, lanes), maxBytes: cfg.MaxBytes}
}

// Append implements Queue.
func (m *Memory) Append(lane int, r Record) (Loss, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return Loss{}, ErrClosed
	}
	l := &m.lanes[lane]
	open := l.open()
	if r.First || open == nil {
		if !r.First {
			return Loss{}, errors.New("record leans on a request that is sealed")
		}
		if open != nil {
			open.sealed = true
		}
		m.seq++
		open = &memoryRequest{seq: m.seq, Request: Request{Oldest: r.Oldest, Newest: r.Newest}}
		l.requests = append(l.requests, open)
	}
	size := int64(len(r.Data)) + recordOverhead
	open.Records = append(open.Records, r)
	open.Samples += r.Samples
	open.Bytes += size
	open.Oldest, open.Newest = min(open.Oldest, r.Oldest), max(open.Newest, r.Newest)
	m.bytes += size
	return m.makeRoom(), nil
}

// open returns the request that may still grow, or nil.
func (l *memoryLane) open() *memoryRequest {
	if n := len(l.requests); n > 0 && !l.requests[n-1].sealed {
		return l.requests[n-1]
	}
	return nil
}

// makeRoom drops the oldest sealed requests, of whichever lane, until the limit holds.
func (m *Memory) makeRoom() (loss Loss) {
	for m.bytes > m.maxBytes {
		lane, at := -1, 0
		var oldest uint64
		for i := range m.lanes {
			l := &m.lanes[i]
			first := 0
			if l.inFlight {
				first = 1
			}
			if first < len(l.requests) && l.requests[first].sealed && (lane < 0 || l.requests[first].seq < oldest) {
				lane, at, oldest = i, first, l.requests[first].seq
			}
		}
		if lane < 0 {
			return loss
		}
		loss.Requests++
		loss.Samples += m.remove(lane, at).Samples
	}
	return loss
}

func (m *Memory) remove(lane, at int) *memoryRequest {
	l := &m.lanes[lane]
	r := l.requests[at]
	l.requests = slices.Delete(l.requests, at, at+1)
	m.bytes -= r.Bytes
	return r
}

// Seal implements Queue.
func (m *Memory) Seal(lane int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if open := m.lanes[lane].open(); open != nil {
		open.sealed = true
	}
}

// Next implements Queue.
func (m *Memory) Next(lane int) (Request, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := &m.lanes[lane]
	if m.closed || len(l.requests) == 0 || !l.requests[0].sealed {
		return Request{}, false
	}
	l.inFlight = true
	return l.requests[0].Request, true
}

// Ack implements Queue.
func (m *Memory) Ack(lane int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if l := &m.lanes[lane]; l.inFlight {
		l.inFlight = false
		m.remove(lane, 0)
	}
}

// Stats implements Queue.
func (m *Memory) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := Stats{Bytes: m.bytes}
	for i := range m.lanes {
		for _, r := range m.lanes[i].requests {
			s.Requests++
			s.Samples += r.Samples
			if s.Oldest == 0 || r.Oldest < s.Oldest {
				s.Oldest = r.Oldest
			}
		}
	}
	return s
}

// Close implements Queue.
func (m *Memory) Close() (Loss, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var loss Loss
	for i := range m.lanes {
		for _, r := range m.lanes[i].requests {
			loss.Requests++
			loss.Samples += r.Samples
		}
		m.lanes[i] = memoryLane{}
	}
	m.bytes, m.closed = 0, true
	return loss, nil
}
