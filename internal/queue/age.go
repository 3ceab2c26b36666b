package queue

import "time"

// ageClock is the clock by which samples get old: the wall clock, but set forward it goes on as before, so that what was
// queued an hour ago is an hour old. Set backward, it follows, for new samples have the new time.
type ageClock struct {
	wall  func() time.Time
	at    time.Time // of the wall clock, at
	since time.Time // on the monotonic clock
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
