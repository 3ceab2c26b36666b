package scrape

import "time"

// clock notices that the wall clock was set while the process runs. Turns, timeouts and retries go by the monotonic
// clock and do not care; timestamps follow the wall clock. The zero value is ready.
type clock struct {
	wall    time.Time
	elapsed time.Duration // by the monotonic clock
}

// clockJump is from when on a step counts: what time servers correct as they go is less.
const clockJump = time.Second

// clockNoise is by how much the two clocks may differ without the wall clock having been set.
const clockNoise = 2 * time.Millisecond

// onWallClock returns t as the wall clock has it at now. t was computed earlier, and the wall clock may have been set
// since; the monotonic clock tells how far t is from now.
func onWallClock(t, now time.Time) time.Time {
	corrected := now.Add(t.Sub(now))
	if corrected.Round(0).Sub(t.Round(0)).Abs() < clockNoise {
		return t
	}
	return corrected
}

// look returns by how much the wall clock was set since the last look, back being negative; 0: it was not.
func (c *clock) look(wall time.Time, elapsed time.Duration) time.Duration {
	before := *c
	c.wall, c.elapsed = wall, elapsed
	if before.wall.IsZero() {
		return 0
	}
	if by := wall.Sub(before.wall) - (elapsed - before.elapsed); by.Abs() >= clockJump {
		return by
	}
	return 0
}
