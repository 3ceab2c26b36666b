package scrape

import "sync"

// places count a job's targets by host and port, or by Unix socket. The zero value is ready.
type places struct {
	mu sync.Mutex // guards the following
	by map[string]int
}

// add notes a target.
func (s *places) add(t *target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil {
		s.by = map[string]int{}
	}
	s.by[t.hostPort]++
}

// remove notes that a target is gone, and returns true if it was the last of its place.
func (s *places) remove(t *target) (last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.by[t.hostPort]
	if n > 1 {
		s.by[t.hostPort] = n - 1
		return false
	}
	delete(s.by, t.hostPort)
	return true
}
