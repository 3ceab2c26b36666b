package queue

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
)

// segment is a file of whole requests. Guarded by the queue's mu.
type segment struct {
	name string // in the queue's directory
	seq  uint32 // within its lane
	file File   // nil: not open

	size     int64           // what is good; the next write goes here
	samples  uint64          // ever written
	period                   // of its samples; newest is for its age, so never in the future
	replayed bool            // was found at the start
	skips    map[int64]int64 // damage found at the start: from, to

	unreadable bool // a part of it could not be read and was given up: the file is kept for people

	torn      bool // a write failed: cut to size before the next
	dirty     bool // written since the last sync
	failed    bool // a sync failed: the writer has to renew it, and only the writer uses file
	unremoved bool // a removal failed
	pins      int  // who reads, writes or syncs without mu: it is neither closed nor removed

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
func (s *segment) take(found *scanned) (cut int64) {
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

// note takes over the time of records. A newest sample from the future says nothing of their age: the oldest does,
// unless that is from the future, too.
func (p *period) note(oldest, newest int64, now time.Time) {
	p.oldest = min(p.oldest, oldest)
	if newest > now.UnixMilli() {
		newest = min(oldest, now.UnixMilli())
	}
	p.newest = max(p.newest, newest)
}

// create makes the file of a segment to which nothing is written yet. If something has its name, the segment gets the
// next number.
func (q *FIFO) create(l *lane, s *segment) (f File, err error) {
	for range 16 {
		if f, err = q.disk.fs.Open(join(q.disk.dir, s.name), true); !errors.Is(err, os.ErrExist) {
			break
		}
		q.log.Warn("something has the name of a new segment, which gets another",
			zap.String("file", join(q.disk.dir, s.name)))
		q.mu.Lock()
		s.seq, s.name = l.nextSeq, l.name.segment(l.nextSeq)
		l.nextSeq++
		q.mu.Unlock()
	}
	return f, err
}

const (
	segmentSuffix  = ".seg"
	positionSuffix = ".pos"
	corruptSuffix  = ".corrupt"
)

// MaxLanes is the largest number of lanes that a queue can have.
const MaxLanes = 1 << 12

// laneName says all about a lane: generation, the number of lanes in it, and which it is.
type laneName struct {
	generation uint32
	lanes      int
	lane       int
}

func (n laneName) String() string {
	return fmt.Sprintf("%08x-%04x-%04x", n.generation, n.lanes, n.lane)
}

func (n laneName) segment(seq uint32) string { return fmt.Sprintf("%v-%08x%s", n, seq, segmentSuffix) }

func (n laneName) position() string { return n.String() + positionSuffix }

// Numbers in names have 32 bits. If a lane has a segment in the upper half of the numbers, the next start begins a new
// generation, so that numbers never run out. A start is refused if the number of a generation leaves none for the next.
const (
	halfSeq        = 1 << 31
	lastGeneration = 1<<32 - 1<<16 // leaves numbers for changes of the lanes while a process runs
)

// parseName takes the name of a segment or of a position, exactly as it is written.
func parseName(name string) (n laneName, seq uint32, isSegment, ok bool) {
	base, isSegment := strings.CutSuffix(name, segmentSuffix)
	base, isPosition := strings.CutSuffix(base, positionSuffix)
	fields := strings.Split(base, "-")
	if isSegment == isPosition || isSegment && len(fields) != 4 || isPosition && len(fields) != 3 {
		return n, 0, false, false
	}
	var v [4]uint64
	for i, f := range fields {
		var err error
		if v[i], err = strconv.ParseUint(f, 16, 32); err != nil {
			return n, 0, false, false
		}
	}
	n = laneName{generation: uint32(v[0]), lanes: int(v[1]), lane: int(v[2])}
	again := n.position()
	if isSegment {
		again = n.segment(uint32(v[3]))
	}
	return n, uint32(v[3]), isSegment, again == name && n.lanes <= MaxLanes && n.lane < n.lanes
}
