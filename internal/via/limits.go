package via

import (
	"context"
	"errors"
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

	began  time.Time     // the first read
	waited time.Duration // for the rate
}

// Read implements io.Reader.
func (b *pacedBody) Read(p []byte) (int, error) {
	if b.began.IsZero() {
		b.began = time.Now()
	}
	p = p[:min(len(p), b.limiter.bytes.Burst())]
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.metrics.bytes.Add(float64(n))
		if tooLong := b.wait(n); tooLong != nil {
			err = tooLong
		}
	}
	if errors.Is(err, context.DeadlineExceeded) && b.waited > time.Since(b.began)/2 {
		err = &RateError{b.limiter.limits.rate()}
	}
	return n, err
}

// wait waits until n bytes more may have been read, or returns an error at once if that is after the deadline.
func (b *pacedBody) wait(n int) error {
	began := time.Now()
	err := b.limiter.bytes.WaitN(b.ctx, n)
	took := time.Since(began)
	b.metrics.waited.Add(took.Seconds())
	b.waited += took
	switch {
	case err == nil:
		return nil
	case b.ctx.Err() != nil:
		return b.ctx.Err()
	default:
		return &RateError{b.limiter.limits.rate()}
	}
}

// Close implements io.Closer.
func (b *pacedBody) Close() error {
	defer b.release()
	return b.ReadCloser.Close()
}
