package queue

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	segmentSuffix  = ".seg"
	positionSuffix = ".pos"
	corruptSuffix  = ".corrupt"
)

// MaxLanes is the largest number of lanes that a queue can have.
const MaxLanes = 1 << 12

// laneName identifies a lane: its generation, the number of lanes in it, and its index. In names of files it is written
// as 00000002-0004-0001: lane 1 of the four lanes of generation 2.
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

// parseName parses the name of a segment or a position file. Other spellings of the same numbers are not accepted.
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
