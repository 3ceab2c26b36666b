package via

import (
	"context"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// paced returns a body of n bytes that is read at 100 KiB per second.
func paced(ctx context.Context, n int) *pacedBody {
	l := newLimiter(Limits{InFlight: 1, BytesPerSecond: 100 << 10})
	return &pacedBody{ReadCloser: io.NopCloser(strings.NewReader(strings.Repeat("x", n))), ctx: ctx, limiter: l,
		metrics: newMetrics(nil, APIServer, l), release: func() {}}
}

func TestBytesPerSecondAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		body := paced(t.Context(), 600<<10)
		n, err := io.Copy(io.Discard, body)
		took := time.Since(began).Round(time.Second)
		if waited := testutil.ToFloat64(body.metrics.waited); math.Round(waited) != 5 {
			t.Errorf("waited %v s, want 5", waited)
		}
		if err != nil || n != 600<<10 || took != 5*time.Second {
			t.Errorf("%d bytes in %v, %v; want 600 KiB in 5 s: the first 100 KiB at once", n, took, err)
		}
	})
}

func TestPageThatDoesNotEndInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, err := io.Copy(io.Discard, paced(ctx, 600<<10))
		var slow *RateError
		if !errors.As(err, &slow) || !errors.Is(err, context.DeadlineExceeded) ||
			!strings.Contains(err.Error(), "at 0.1 MiB per second, the most") {
			t.Errorf("error = %v", err)
		}
	})
}

func TestBodyWhoseRequestIsCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := io.Copy(io.Discard, paced(ctx, 600<<10)); !errors.Is(err, context.Canceled) {
			t.Errorf("error = %v", err)
		}
	})
}

// late is a body whose next read ends with the deadline.
type late struct{ io.ReadCloser }

func (b late) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		err = context.DeadlineExceeded
	}
	return n, err
}

// TestWhatTheDeadlineIsPutDownTo: to the rate if most of the time went there, and to the pod otherwise.
func TestWhatTheDeadlineIsPutDownTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for bytes, isRate := range map[int]bool{300 << 10: true, 50 << 10: false} {
			body := paced(t.Context(), bytes)
			body.ReadCloser = late{body.ReadCloser}
			_, err := io.Copy(io.Discard, body)
			var slow *RateError
			if errors.As(err, &slow) != isRate || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%d bytes: error %v, want that of the rate: %v", bytes, err, isRate)
			}
		}
	})
}
