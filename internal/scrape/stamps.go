package scrape

import "time"

// stamps gives the batches of a target their times: those of its scrapes, and the one of its last markers. No other
// code does, so the markers of a target that is gone are always newer than its samples. The zero value is ready.
type stamps struct {
	newest int64 // of all batches so far, Unix milliseconds
}

// toleranceShare is the part of the interval by which a scrape may be late and still have the time of its turn.
// Prometheus allows its own tolerance, --scrape.timestamp-tolerance, the same at most.
const toleranceShare = 100

// scrape returns the time of a scrape that begins now and whose turn was at due: the time of the turn if the scrape is
// within the tolerance, else now. A receiver needs the least space for samples at equal distances. A zero due means no
// turn.
func (s *stamps) scrape(now, due time.Time, interval time.Duration) time.Time {
	now, due = now.Round(0), due.Round(0) // the wall clock only
	at := now
	if late := now.Sub(due); late.Abs() <= interval/toleranceShare && due.UnixMilli() > s.newest {
		at = due
	}
	s.newest = max(s.newest, at.UnixMilli())
	return at
}

// gone returns the time of the markers of a target that is gone, in Unix milliseconds: that of the first scrape it
// missed, or just after the newest sample where that is later.
func (s *stamps) gone(now, missed time.Time) int64 {
	return max(onWallClock(missed, now).UnixMilli(), s.newest+1)
}
