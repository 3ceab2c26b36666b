package remotewrite

import (
	"sync"
	"time"
)

// fillRate measures how fast a queue grows, between one to two minutes ago and now.
type fillRate struct {
	mu         sync.Mutex // guards the following
	from, next reading
}

type reading struct {
	at    time.Time
	bytes int64
}

const (
	fillWindow    = time.Minute
	minFillWindow = 10 * time.Second // a shorter time means nothing
	farAway       = 10 * 365 * 24 * time.Hour
)

// timeToFull returns the time until the queue reaches its limit; 0 if it does not grow, or reaches it in more than
// ten years.
func (f *fillRate) timeToFull(limit int64, now time.Time, bytes int64) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := reading{now, bytes}
	switch {
	case f.from.at.IsZero():
		f.from, f.next = r, r
	case now.Sub(f.next.at) >= fillWindow:
		f.from, f.next = f.next, r
	}
	passed, grown := now.Sub(f.from.at), bytes-f.from.bytes
	if passed < minFillWindow || grown <= 0 || limit <= 0 {
		return 0
	}
	left := float64(passed) * float64(max(0, limit-bytes)) / float64(grown)
	if left > float64(farAway) {
		return 0
	}
	return max(time.Duration(left), 1)
}
