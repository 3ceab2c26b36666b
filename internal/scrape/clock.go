package scrape

import "time"

// clock notices that the wall clock was set while the process runs. Due times, timeouts and retries follow the
// monotonic clock, so such a step does not change them; timestamps follow the wall clock. The zero value is ready.
type clock struct {
	wall    time.Time
	elapsed time.Duration // by the monotonic clock
}

// minClockStep is the least step that is reported: time servers correct less than that without a step.
const minClockStep = time.Second

// clockNoise is how much the two clocks may differ although the wall clock was not set.
const clockNoise = 2 * time.Millisecond

// onWallClock returns t by the wall clock as it is set at now. The wall clock may have been set since t was computed;
// the monotonic clock says how far t is from now.
func onWallClock(t, now time.Time) time.Time {
	corrected := now.Add(t.Sub(now))
	if corrected.Round(0).Sub(t.Round(0)).Abs() < clockNoise {
		return t
	}
	return corrected
}

// step returns by how much the wall clock was set since the last call, negative if it was set back, and 0 if it was not
// set.
func (c *clock) step(wall time.Time, elapsed time.Duration) time.Duration {
	before := *c
	c.wall, c.elapsed = wall, elapsed
	if before.wall.IsZero() {
		return 0
	}
	if by := wall.Sub(before.wall) - (elapsed - before.elapsed); by.Abs() >= minClockStep {
		return by
	}
	return 0
}
