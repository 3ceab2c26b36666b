package scrape

import (
	"context"
	"slices"
	"sync"
)

// gate bounds how many hold something at the same time. Who comes when it is full waits: those who are preferred come
// before all others, and otherwise who came first. Safe for concurrent use.
type gate struct {
	limit int

	mu      sync.Mutex // guards the following
	held    int
	waiting [2][]chan struct{} // preferred, and others; each is closed when its turn has come
}

func newGate(limit int) *gate { return &gate{limit: limit} }

// tryEnter enters if that needs no waiting.
func (g *gate) tryEnter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held >= g.limit {
		return false
	}
	g.held++
	return true
}

// enter waits for its turn. It returns false if ctx ended before. makeRoom is called if there is none, with a place in the
// queue: the room that it makes goes to nobody who comes later; nil: nothing can be done.
func (g *gate) enter(ctx context.Context, preferred bool, makeRoom func()) bool {
	turn := make(chan struct{})
	queue := &g.waiting[1]
	if preferred {
		queue = &g.waiting[0]
	}
	g.mu.Lock()
	*queue = append(*queue, turn)
	g.grant() // it may have become free meanwhile
	g.mu.Unlock()
	select {
	case <-turn:
		return true
	default:
	}
	if makeRoom != nil {
		makeRoom()
	}
	select {
	case <-turn:
		return true
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(*queue, turn); i >= 0 {
		*queue = slices.Delete(*queue, i, i+1)
	} else { // its turn came at the same instant
		g.held--
		g.grant()
	}
	return false
}

// leave makes room for one.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held--
	g.grant()
}

// grant lets in who waits. The caller holds the lock.
func (g *gate) grant() {
	for i := range g.waiting {
		for queue := &g.waiting[i]; len(*queue) > 0 && g.held < g.limit; g.held++ {
			close((*queue)[0])
			*queue = (*queue)[1:]
		}
	}
}

// load returns how many hold and how many wait.
func (g *gate) load() (held, waiting int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.held, len(g.waiting[0]) + len(g.waiting[1])
}
