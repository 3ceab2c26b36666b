package scrape

import "time"

// stamps gives the batches of a target their times: those of its scrapes, and that of the markers at its end. No other
// code that sends does, so the last markers are always newer than the last sample. The zero value is ready.
type stamps struct {
	newest int64 // of all batches so far, Unix milliseconds
}

// toleranceShare is the part of the interval by which a scrape may be late and still have its due time as timestamp.
// Prometheus allows its own tolerance, --scrape.timestamp-tolerance, the same at most.
const toleranceShare = 100

// scrape returns the timestamp of a scrape that begins now and was due at due: due if the scrape is within the
// tolerance, else now. A receiver needs the least space for samples at equal distances. With an interval of 10 s:
//
//	due 12:00:05.000, begins 12:00:05.080   timestamp 12:00:05.000
//	due 12:00:05.000, begins 12:00:05.130   timestamp 12:00:05.130
//
// A zero due means that the scrape had no due time.
func (s *stamps) scrape(now, due time.Time, interval time.Duration) time.Time {
	now, due = now.Round(0), due.Round(0) // the wall clock only
	at := now
	if late := now.Sub(due); late.Abs() <= interval/toleranceShare && due.UnixMilli() > s.newest {
		at = due
	}
	s.newest = max(s.newest, at.UnixMilli())
	return at
}

// markers returns the timestamp of the markers at the end of a target, in Unix milliseconds: missed, the due time of
// the first scrape that did not happen, or just after the newest sample if that is later.
func (s *stamps) markers(now, missed time.Time) int64 {
	return max(onWallClock(missed, now).UnixMilli(), s.newest+1)
}
