package footprint

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestMemoryIsReleasedAfterTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if err := ReleaseMemory(t.Context()); err != nil || time.Since(began) != startTime {
			t.Errorf("ended after %v with %v, want after %v without an error", time.Since(began), err, startTime)
		}
	})
}

func TestReleaseMemoryEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		if err := ReleaseMemory(ctx); err != nil || time.Since(began) != 0 {
			t.Errorf("ended after %v with %v, want at once without an error", time.Since(began), err)
		}
	})
}
