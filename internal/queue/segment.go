package queue

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// segment is a file of whole requests. Guarded by the queue's mu.
type segment struct {
	name string // in the queue's directory
	seq  uint32 // within its lane
	file File   // nil: not open

	size           int64  // what is good; the next write goes here
	samples        uint64 // ever written
	oldest, newest int64
	replayed       bool            // was found at the start
	skips          map[int64]int64 // damage found at the start: from, to

	torn  bool // a write failed: cut to size before the next
	dirty bool // written since the last sync
	pins  int  // who reads, writes or syncs without mu: it is neither closed nor removed

	live int // requests in memory, not delivered, that have records here
	cold cold
}

// cold is the requests that are here and not in memory. They are contiguous.
type cold struct {
	span
	requests, samples int
}

func (s *segment) delivered() bool { return s.live == 0 && s.cold.empty() }

func newSegment(name string, seq uint32) *segment {
	return &segment{name: name, seq: seq, oldest: math.MaxInt64, newest: math.MinInt64}
}

func (s *segment) note(oldest, newest int64) {
	s.oldest, s.newest = min(s.oldest, oldest), max(s.newest, newest)
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
		if v[i], err = strconv.ParseUint(f, 16, 31); err != nil {
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
