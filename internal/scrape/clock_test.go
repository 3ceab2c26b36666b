package scrape

import (
	"testing"
	"time"
	"unsafe"
)

// TestN1ClockIsSet: whatever the wall clock does, the monotonic one shows how much of it was a step.
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
		if got := c.step(start.Add(step.wall), step.elapsed); got != step.want {
			t.Errorf("at %v: set by %v, want %v", step.elapsed, got, step.want)
		}
	}
}

// set returns a time at which the wall clock was set by some whole seconds, forward or back, while the monotonic one
// went on. A time.Time with a monotonic reading has the seconds of its wall clock above 30 bits of nanoseconds.
func set(now time.Time, by time.Duration) time.Time {
	*(*int64)(unsafe.Pointer(&now)) += int64(by/time.Second) << 30
	return now
}

func TestOnWallClock(t *testing.T) {
	now := time.Now()
	for _, by := range []time.Duration{0, time.Hour, -time.Hour} {
		later := set(now, by)
		if wall := later.Round(0).Sub(now.Round(0)); wall != by || later.Sub(now) != 0 {
			t.Fatalf("the test sets the wall clock by %v and the monotonic one by %v, want %v and 0", wall,
				later.Sub(now), by)
		}
		due := now.Add(10 * time.Second)
		got := onWallClock(due, later)
		if wall := got.Round(0).Sub(due.Round(0)); wall != by || got.Sub(due) != 0 {
			t.Errorf("set by %v: moved by %v on the wall clock and %v on the monotonic one, want %v and 0", by, wall,
				got.Sub(due), by)
		}
	}
}
