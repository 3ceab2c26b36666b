package scrape

import (
	"context"
	"slices"
	"sync"
)

// gate bounds how many hold something at the same time. Who comes when it is full waits, first come, first served. A
// quarter is for those who give back quickly: however many slow ones there are, the others find room. Safe for
// concurrent use. A nil gate is always open.
type gate struct {
	limit int

	mu      sync.Mutex // guards the following
	held    int
	waiting [2][]*waiter // the quick ones, the slow ones
}

type waiter struct{ granted chan struct{} }

func newGate(limit int) *gate { return &gate{limit: limit} }

// limitOf is how many may hold when the last of them is slow, or is not.
func (g *gate) limitOf(slow bool) int {
	if slow {
		return max(1, g.limit-g.limit/4)
	}
	return g.limit
}

func class(slow bool) int {
	if slow {
		return 1
	}
	return 0
}

// tryEnter enters if that needs no waiting.
func (g *gate) tryEnter(slow bool) bool {
	if g == nil {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting[class(slow)]) > 0 || g.held >= g.limitOf(slow) {
		return false
	}
	g.held++
	return true
}

// enter waits for its turn. It returns false if ctx ended before.
func (g *gate) enter(ctx context.Context, slow bool) bool {
	if g.tryEnter(slow) {
		return true
	}
	w := &waiter{granted: make(chan struct{})}
	g.mu.Lock()
	g.waiting[class(slow)] = append(g.waiting[class(slow)], w)
	g.grant() // it may have become free meanwhile
	g.mu.Unlock()
	select {
	case <-w.granted:
		return true
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if queue := &g.waiting[class(slow)]; slices.Contains(*queue, w) {
		*queue = slices.DeleteFunc(*queue, func(other *waiter) bool { return other == w })
	} else { // granted at the same instant
		g.held--
	}
	g.grant()
	return false
}

// leave makes room for one.
func (g *gate) leave() {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held--
	g.grant()
}

// grant lets in who waits, the quick ones first. The caller holds the lock.
func (g *gate) grant() {
	for _, slow := range []bool{false, true} {
		queue := &g.waiting[class(slow)]
		for len(*queue) > 0 && g.held < g.limitOf(slow) {
			g.held++
			close((*queue)[0].granted)
			(*queue)[0] = nil
			*queue = (*queue)[1:]
		}
	}
}

// load returns how many hold and how many wait.
func (g *gate) load() (held, waiting int) {
	if g == nil {
		return 0, 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.held, len(g.waiting[0]) + len(g.waiting[1])
}
