package scrape

import "sync"

// targetCounts counts a job's targets by host and port, or by Unix socket. The zero value is ready.
type targetCounts struct {
	mu     sync.Mutex // guards the following
	byAddr map[string]int
}

// add counts a target.
func (s *targetCounts) add(t *target) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byAddr == nil {
		s.byAddr = map[string]int{}
	}
	s.byAddr[t.hostPort]++
}

// remove undoes add. It returns true if no other target has that address.
func (s *targetCounts) remove(t *target) (last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byAddr[t.hostPort]--
	if s.byAddr[t.hostPort] > 0 {
		return false
	}
	delete(s.byAddr, t.hostPort)
	return true
}
