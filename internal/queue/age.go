package queue

import "time"

// ageClock is the clock by which the age of samples is measured. It never runs faster than time passes: when the wall
// clock is set forward by a week, a sample of the last hour does not become a week old. When the wall clock is set
// back, ageClock follows, since new samples have the new time.
type ageClock struct {
	wall  func() time.Time
	at    time.Time // the wall clock when since was taken
	since time.Time // the same instant, with its monotonic reading
}

func newAgeClock(wall func() time.Time) ageClock {
	return ageClock{wall: wall, at: wall().Round(0), since: time.Now()}
}

func (c *ageClock) now() time.Time {
	wall, passed := c.wall().Round(0), c.at.Add(time.Since(c.since))
	if wall.Before(passed) {
		c.at, c.since = wall, time.Now()
		return wall
	}
	return passed
}
