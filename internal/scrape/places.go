package scrape

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// place is a host and port, or a Unix socket, of a job's targets.
type place struct {
	targets int         // guarded by places.mu
	slow    atomic.Bool // the scrape before took long
}

// isSlow tells whether a scrape is likely to take long. A nil place is not slow.
func (p *place) isSlow() bool { return p != nil && p.slow.Load() }

// took notes how long a scrape took, less what it waited for others.
func (p *place) took(d time.Duration) {
	if p != nil {
		p.slow.Store(d > slowScrape)
	}
}

// failed notes that a scrape failed before its page began.
func (p *place) failed(err error) {
	var noMemory *noMemoryError
	var noDescriptor *noDescriptorError
	if p == nil || errors.As(err, &noMemory) || errors.As(err, &noDescriptor) {
		return // the target had no part in it
	}
	p.slow.Store(errors.Is(err, context.DeadlineExceeded))
}

// places are the places of a job's targets. The zero value is ready.
type places struct {
	mu sync.Mutex // guards the following
	by map[string]*place
}

// of returns a target's place; nil: the target was not added.
func (s *places) of(t *target) *place {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.by[t.hostPort]
}

// add notes a target.
func (s *places) add(t *target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.by[t.hostPort]
	if p == nil {
		if s.by == nil {
			s.by = map[string]*place{}
		}
		p = &place{}
		s.by[t.hostPort] = p
	}
	p.targets++
}

// remove notes that a target is gone, and returns true if it was the last of its place.
func (s *places) remove(t *target) (last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.by[t.hostPort]
	if p == nil {
		return false
	}
	if p.targets--; p.targets > 0 {
		return false
	}
	delete(s.by, t.hostPort)
	return true
}
