package scrape

import (
	"context"
	"sync"
	"time"
)

// scrapeContext is the context of a scrape. It ends with the process or at the deadline of the scrape. Nearly every
// scrape waits for nothing but its connection, which has a deadline itself (exchange.begin). So the timer and the
// channel of a usual context, eight allocations, are made only if somebody calls Done.
type scrapeContext struct {
	context.Context // of the process
	deadline        time.Time
	timer           answerTimer

	mu     sync.Mutex         // guards the following
	whole  context.Context    // ends when the scrapeContext does; nil: nobody has called Done
	cancel context.CancelFunc // of whole
	ended  bool               // end was called
}

// Deadline implements context.Context.
func (c *scrapeContext) Deadline() (time.Time, bool) { return c.deadline, true }

// Done implements context.Context.
func (c *scrapeContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open().Done()
}

// Err implements context.Context.
func (c *scrapeContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.whole == nil && !c.ended && c.Context.Err() == nil && time.Until(c.deadline) > 0 {
		return nil
	}
	return c.open().Err()
}

// open makes whole. The caller holds mu.
func (c *scrapeContext) open() context.Context {
	if c.whole == nil {
		c.whole, c.cancel = context.WithDeadline(c.Context, c.deadline)
		if c.ended {
			c.cancel()
		}
	}
	return c.whole
}

// Value implements context.Context. Contexts that are made of this one find whole by it, after they called Done.
func (c *scrapeContext) Value(key any) any {
	if key == (answerKey{}) {
		return &c.timer
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.whole != nil {
		return c.whole.Value(key)
	}
	return c.Context.Value(key)
}

// end ends the context: the scrape is over.
func (c *scrapeContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended = true; c.whole != nil {
		c.cancel()
	}
}

// processOf returns the context that ends when ctx does, except at the deadline of a scrapeContext.
func processOf(ctx context.Context) context.Context {
	if c, ok := ctx.(*scrapeContext); ok {
		return c.Context
	}
	return ctx
}
