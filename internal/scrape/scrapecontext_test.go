package scrape

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestScrapeContextEndsAsAUsualOne compares it with a usual context of the same deadline, whether Done is called before
// the end, after it, or not at all.
func TestScrapeContextEndsAsAUsualOne(t *testing.T) {
	stopped := errors.New("stopped")
	const timeout = time.Second
	for _, end := range []string{"no end", "process", "deadline", "scrape", "process, then scrape"} {
		for _, waits := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				process, stop := context.WithCancelCause(t.Context())
				defer stop(nil)
				deadline := time.Now().Add(timeout)
				usual, cancel := context.WithDeadline(process, deadline)
				defer cancel()
				c := &scrapeContext{Context: process, deadline: deadline}
				var child context.Context = c
				if waits {
					var cancelChild context.CancelFunc
					child, cancelChild = context.WithCancel(context.WithValue(c, targetKey{}, nil))
					defer cancelChild()
				}
				if strings.Contains(end, "process") {
					stop(stopped)
				}
				switch {
				case end == "deadline":
					time.Sleep(timeout)
				case strings.Contains(end, "scrape"):
					cancel()
					c.end()
				}
				synctest.Wait()
				for range 2 {
					for name, got := range map[string]context.Context{"itself": c, "its child": child} {
						if got.Err() != usual.Err() || context.Cause(got) != context.Cause(usual) {
							t.Errorf("%s: %v, %v", name, got.Err(), context.Cause(got))
						}
					}
					select {
					case <-c.Done():
						if usual.Err() == nil {
							t.Error("done")
						}
					default:
						if usual.Err() != nil {
							t.Error("not done")
						}
					}
				}
				if t.Failed() {
					t.Logf("%s, waits %v: want %v, %v", end, waits, usual.Err(), context.Cause(usual))
				}
				c.end()
			})
		}
	}
}

// TestScrapeContextCostsNothingUntilItIsWaitedFor: what a scrape asks of its context makes no timer and no channel.
func TestScrapeContextCostsNothingUntilItIsWaitedFor(t *testing.T) {
	process := t.Context()
	n := testing.AllocsPerRun(100, func() {
		c := &scrapeContext{Context: process, deadline: time.Now().Add(time.Minute)}
		if at, ok := c.Deadline(); !ok || at.IsZero() || c.Err() != nil || answerTimerOf(c) != &c.timer {
			t.Error("unexpected")
		}
		c.end()
	})
	if n > 1 {
		t.Errorf("%v allocations, want 1", n)
	}
}
