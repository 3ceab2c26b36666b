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
