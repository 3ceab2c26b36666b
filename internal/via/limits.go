package via

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// limiter keeps requests within Limits. All proxies of a Proxies share one.
type limiter struct {
	limits  Limits
	slots   chan struct{}
	bytes   *rate.Limiter
	targets atomic.Int64
}

func newLimiter(l Limits) *limiter {
	return &limiter{
		limits: l, slots: make(chan struct{}, l.InFlight),
		bytes: rate.NewLimiter(rate.Limit(l.BytesPerSecond), int(l.BytesPerSecond)),
	}
}

// TooManyTargetsError is the error of each read while more targets are read through the API server than Limits allow.
type TooManyTargetsError struct{ Targets, Limit int }

// Error implements error.
func (e *TooManyTargetsError) Error() string {
	return fmt.Sprintf("%d targets would be read through the API server, more than --via.limit=%d: scrape fewer, run "+
		"in a pod with --via=direct, or raise --via.limit", e.Targets, e.Limit)
}

// checkTargets returns an error if there are too many targets.
func (l *limiter) checkTargets() error {
	if n := int(l.targets.Load()); l.limits.Exceeds(n) {
		return &TooManyTargetsError{n, l.limits.Targets}
	}
	return nil
}

// RateError is the error of a page that cannot end in time at the rate that Limits allow.
type RateError struct{ Rate string } // such as 5.0 MiB per second

// Error implements error.
func (e *RateError) Error() string {
	return fmt.Sprintf("the page does not end in time at %s, the most that is read through the API server: scrape "+
		"fewer targets, or less often, or raise --via.max-rate", e.Rate)
}

// Unwrap tells callers that look for a timeout.
func (e *RateError) Unwrap() error { return context.DeadlineExceeded }

// acquire waits until one more request may run. The caller calls release once.
func (l *limiter) acquire(ctx context.Context) (release func(), err error) {
	select {
	case l.slots <- struct{}{}:
		return sync.OnceFunc(func() { <-l.slots }), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("all %d requests that may run through the API server were busy: %w", cap(l.slots),
			ctx.Err())
	}
}

// pacedBody reads a response at the rate that the limits allow. Closing it ends the request.
type pacedBody struct {
	io.ReadCloser
	ctx     context.Context
	limiter *limiter
	metrics *metrics
	release func()
}

// Read implements io.Reader.
func (b *pacedBody) Read(p []byte) (int, error) {
	p = p[:min(len(p), b.limiter.bytes.Burst())]
	n, err := b.ReadCloser.Read(p)
	if n == 0 {
		return n, err
	}
	b.metrics.bytes.Add(float64(n))
	began := time.Now()
	tooSlow := b.limiter.bytes.WaitN(b.ctx, n)
	b.metrics.waited.Add(time.Since(began).Seconds())
	if tooSlow != nil {
		if ended := b.ctx.Err(); ended != nil {
			return n, ended
		}
		return n, &RateError{b.limiter.limits.rate()}
	}
	return n, err
}

// Close implements io.Closer.
func (b *pacedBody) Close() error {
	defer b.release()
	return b.ReadCloser.Close()
}
