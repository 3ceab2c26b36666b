package queue

import (
	"math"
	"time"
)

// segment is a file of whole requests. Guarded by FIFO.mu. Its states:
//
//	open      lane.active: the writer appends to it; the file is made with the first write
//	sealed    in lane.segments, not active: nothing is appended any more
//	failed    open or sealed, and a sync failed: no new request begins in it, and no position of its lane is synced
//	renewed   failed no longer: a synced file with the same records has replaced its file (renew.go)
//	leaving   in disk.toRemove: everything in it is delivered or dropped, its file is removed once nobody uses it
//	removed   the file is gone, or has a .corrupt name
//
// A segment is sealed when it has its size, when a sync or the end of a write failed, and by a stop. A start finds sealed
// segments only.
type segment struct {
	name string // in the queue's directory
	seq  uint32 // within its lane
	file File   // nil: not open

	size     int64           // of the whole records; the next write goes here
	samples  uint64          // ever written
	period                   // of its samples; newest is for its age, so never in the future
	replayed bool            // was found at the start
	skips    map[int64]int64 // damage found at the start: from, to

	unreadable bool // a part of it could not be read and was given up: the file is kept for people

	torn          bool // a write failed: cut to size before the next
	dirty         bool // written since the last sync
	failed        bool // a sync failed: the writer has to renew it, and only the writer uses file
	removalFailed bool // a removal failed
	uses          int  // who reads, writes or syncs without mu: it is neither closed nor removed

	live int // requests in memory, not delivered, that have records here
	cold cold
}

// cold is the requests that are here and not in memory. They are contiguous.
type cold struct {
	span
	requests, samples int
	unknown           bool // could not be read at the start: samples is only the note of the last stop
}

func (s *segment) delivered() bool { return s.live == 0 && s.cold.empty() }

func newSegment(name string, seq uint32) *segment {
	return &segment{name: name, seq: seq, period: noPeriod()}
}

// take records the result of a scan. It returns how many bytes were cut off the segment.
func (s *segment) take(found *repaired) (cut int64) {
	cut = s.size - found.end
	s.size, s.skips = found.end, found.skips
	s.period = found.period
	s.cold = cold{requests: found.requests, samples: found.samples}
	if found.requests > 0 {
		s.cold.span = span{found.from, min(found.to, found.end)}
	}
	return cut
}

// period is the oldest and the newest timestamp of some samples, in Unix milliseconds.
type period struct{ oldest, newest int64 }

func noPeriod() period { return period{oldest: math.MaxInt64, newest: math.MinInt64} }

// include takes over the time of records. A newest sample from the future says nothing of their age: the oldest does,
// unless that is from the future, too.
func (p *period) include(oldest, newest int64, now time.Time) {
	p.oldest = min(p.oldest, oldest)
	if newest > now.UnixMilli() {
		newest = min(oldest, now.UnixMilli())
	}
	p.newest = max(p.newest, newest)
}
