package parts

import (
	"testing"
	"time"
)

// Eventually calls check until it returns nil, and logs how long that took. If that takes longer than within, the test
// fails.
func Eventually(t *testing.T, within time.Duration, what string, check func() error) {
	t.Helper()
	start := time.Now()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			t.Logf("%s: after %v", what, time.Since(start).Round(10*time.Millisecond))
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%s: not within %v: %v", what, within, err)
		}
	}
}
