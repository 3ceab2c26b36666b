package deliver

import (
	"context"
	"math/rand/v2"
	"time"
)

// Slow retries are for what a person or a token rotation must mend.
const (
	minSlowBackoff = 30 * time.Second
	maxSlowBackoff = 5 * time.Minute
)

// backoff doubles from min to max. The zero value waits nothing.
type backoff struct {
	min, max, next time.Duration
}

// wait is how long to wait this time: up to a fifth more or less than the current step, so that lanes and
// replicas that failed together do not come back together, and never less than min.
func (b *backoff) wait() time.Duration {
	if b.next == 0 {
		b.next = b.min
	}
	d := b.next
	b.next = min(2*b.next, b.max)
	if spread := int64(d) * 2 / 5; spread > 0 {
		d += time.Duration(rand.Int64N(spread)) - d/5 //nolint:gosec // spreading load needs no secrecy
	}
	return max(b.min, min(d, b.max))
}

// pause waits for d, or until the settings were replaced, and tells whether ctx still lives.
func pause(ctx context.Context, d time.Duration, replaced <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-replaced:
	case <-t.C:
	}
	return ctx.Err() == nil
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
