package deliver

import (
	"context"
	"math/rand/v2"
	"time"
)

// Pauses of a slow retry, which is for a mistake that a person has to correct, or for a token that has to rotate. The
// other pauses are queue_config.min_backoff and max_backoff: see attempts.use.
const (
	minSlowBackoff = 30 * time.Second
	maxSlowBackoff = 5 * time.Minute
)

// backoff doubles from min to max. The zero value does not wait.
type backoff struct {
	min, max, next time.Duration
	random         *rand.Rand
}

// wait returns the next pause: the current step, up to a fifth more or less, so that lanes and replicas that failed
// together do not retry together, and never less than min.
func (b *backoff) wait() time.Duration {
	if b.next == 0 {
		b.next = b.min
	}
	d := b.next
	b.next = min(2*b.next, b.max)
	if spread := int64(d) * 2 / 5; spread > 0 {
		d += time.Duration(b.random.Int64N(spread)) - d/5
	}
	return max(b.min, min(d, b.max))
}

// pause waits for d, or until one of the channels is closed: the settings are replaced, or the receiver is back. It
// reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration, replaced, back <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-replaced:
	case <-back:
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
