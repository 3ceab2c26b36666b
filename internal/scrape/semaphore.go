package scrape

import (
	"context"
	"slices"
	"sync"
)

// semaphore limits how many slots are held at the same time. When all are held, callers wait in order of arrival,
// preferred callers before all others. Safe for concurrent use.
type semaphore struct {
	limit int

	mu      sync.Mutex // guards the following
	held    int
	waiting [2][]chan struct{} // preferred callers, other callers; a channel is closed when its caller gets a slot
	heirs   []chan struct{}    // callers of exchange, which come before all others
}

func newSemaphore(limit int) *semaphore { return &semaphore{limit: limit} }

// tryAcquire takes a slot if one is free.
func (s *semaphore) tryAcquire() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held >= s.limit {
		return false
	}
	s.held++
	return true
}

// acquire waits for a slot. It returns false if ctx ended first. If no slot is free, makeRoom is called after the
// caller has joined the queue, so that a slot which makeRoom frees goes to nobody who came later. makeRoom may be nil.
func (s *semaphore) acquire(ctx context.Context, preferred bool, makeRoom func()) bool {
	granted := make(chan struct{})
	queue := &s.waiting[1]
	if preferred {
		queue = &s.waiting[0]
	}
	s.mu.Lock()
	*queue = append(*queue, granted)
	s.wake() // a slot may have become free since tryAcquire
	s.mu.Unlock()
	select {
	case <-granted:
		return true
	default:
	}
	if makeRoom != nil {
		makeRoom()
	}
	return s.await(ctx, queue, granted)
}

// exchange gives the caller's slot back and waits for one that another caller releases, even if a slot is free. If ctx
// ended first, it returns false and the caller has no slot.
func (s *semaphore) exchange(ctx context.Context) bool {
	granted := make(chan struct{})
	s.mu.Lock()
	s.heirs = append(s.heirs, granted)
	s.held--
	s.mu.Unlock()
	return s.await(ctx, &s.heirs, granted)
}

// await waits until a caller in the queue gets a slot. If ctx ended first, it removes the caller and returns false.
func (s *semaphore) await(ctx context.Context, queue *[]chan struct{}, granted chan struct{}) bool {
	select {
	case <-granted:
		return true
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(*queue, granted); i >= 0 {
		*queue = slices.Delete(*queue, i, i+1)
	} else { // granted just as ctx ended: pass the slot on
		s.releaseLocked()
	}
	return false
}

// release frees a slot.
func (s *semaphore) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.releaseLocked()
}

// releaseLocked frees a slot. The caller holds the lock.
func (s *semaphore) releaseLocked() {
	s.held--
	if len(s.heirs) > 0 && s.held < s.limit {
		s.held++
		close(s.heirs[0])
		s.heirs = s.heirs[1:]
		return
	}
	s.wake()
}

// wake gives free slots to waiting callers. The caller holds the lock.
func (s *semaphore) wake() {
	for i := range s.waiting {
		for queue := &s.waiting[i]; len(*queue) > 0 && s.held < s.limit; s.held++ {
			close((*queue)[0])
			*queue = (*queue)[1:]
		}
	}
}

// counts returns the number of held slots and of waiting callers.
func (s *semaphore) counts() (held, waiting int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held, len(s.waiting[0]) + len(s.waiting[1]) + len(s.heirs)
}
