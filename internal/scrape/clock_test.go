package scrape

import (
	"testing"
	"time"
)

// TestN1ClockIsSet: whatever the wall clock does, the monotonic one tells how much of it was a step.
func TestN1ClockIsSet(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	var c clock
	for _, step := range []struct {
		wall, elapsed, want time.Duration
	}{
		{0, 0, 0},
		{10 * time.Second, 10 * time.Second, 0},
		{20*time.Second + 300*time.Millisecond, 20 * time.Second, 0}, // corrected as it goes
		{time.Hour + 30*time.Second, 30 * time.Second, time.Hour - 300*time.Millisecond},
		{time.Hour + 40*time.Second, 40 * time.Second, 0},
		{50 * time.Second, 50 * time.Second, -time.Hour},
		{60 * time.Second, 60 * time.Second, 0},
	} {
		if got := c.look(start.Add(step.wall), step.elapsed); got != step.want {
			t.Errorf("at %v: set by %v, want %v", step.elapsed, got, step.want)
		}
	}
}
