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
// A segment is sealed when it has reached its size, when a sync or a write failed, and by a stop. All segments that a
// start finds are sealed.
type segment struct {
	name string // in the queue's directory
	seq  uint32 // within its lane
	file File   // nil: not open

	size     int64           // the next write goes here
	samples  uint64          // of all its records, including delivered ones
	period                   // of its samples; newest is never in the future, since it is the age of the segment
	replayed bool            // was found at the start
	skips    map[int64]int64 // damage found at the start: from to
	layouts  layouts         // of a segment that this process made, until it is sealed and synced

	old        bool // its first undelivered request is of a version without streams
	unreadable bool // a part could not be read and was given up: the file gets a .corrupt name

	torn          bool // a write failed: the file is cut to size before the next
	dirty         bool // written since the last sync
	failed        bool // a sync failed: the writer has to renew it, and only the writer uses file
	removalFailed bool // a removal failed
	uses          int  // calls that use the file without mu: it is neither closed nor removed meanwhile

	live  int // undelivered requests in memory that have records here
	taken int // of them: in flight
	cold  cold
	lane  *lane // nil until it is to be removed
}

// laneSegment is a segment and its lane.
type laneSegment struct {
	lane    *lane
	segment *segment
}

// cold is the requests of a segment that are not in memory, not even by their headers. None between from and to is,
// but some may be delivered (lane.delivered).
type cold struct {
	span
	requests, samples int
	unknown           bool // could not be read at the start: samples is what the last stop counted
}

func (s *segment) delivered() bool { return s.live == 0 && s.cold.empty() }

func newSegment(name string, seq uint32) *segment {
	return &segment{name: name, seq: seq, period: noPeriod()}
}

// retire closes the file of a sealed segment, and forgets its layouts, if nothing is to be written or synced any more.
func (s *segment) retire() {
	if s.uses > 0 || s.dirty || s.torn {
		return
	}
	if s.file != nil {
		_ = s.file.Close()
		s.file = nil
	}
	if !s.failed { // else they are needed to renew it
		s.layouts = layouts{}
	}
}

// take records the result of a scan. It returns how many bytes were cut off the segment.
func (s *segment) take(found *repaired) (cut int64) {
	cut = s.size - found.end
	s.size, s.skips = found.end, found.skips
	s.period, s.old = found.period, found.old
	s.cold = cold{requests: found.requests, samples: found.samples}
	if found.requests > 0 {
		s.cold.span = span{found.from, min(found.to, found.end)}
	}
	return cut
}

// period is the oldest and the newest timestamp of some samples, in Unix milliseconds.
type period struct{ oldest, newest int64 }

func noPeriod() period { return period{oldest: math.MaxInt64, newest: math.MinInt64} }

// include extends the period by that of some records. A newest timestamp in the future is replaced by the oldest, or by
// now if that is in the future, too.
func (p *period) include(oldest, newest int64, now time.Time) {
	p.oldest = min(p.oldest, oldest)
	if newest > now.UnixMilli() {
		newest = min(oldest, now.UnixMilli())
	}
	p.newest = max(p.newest, newest)
}
