package queue

import (
	"math"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// disk is the part of a queue that is on disk.
type disk struct {
	fs                    FS
	segBytes, maxSegBytes int64 // Config.segmentBytes
	dir                   string
	corrupt               quarantine
	closing               chan struct{}
	loops                 sync.WaitGroup
	writer                signal
	syncer                signal
	onClose               func() // called when the last goroutine has ended

	// guarded by FIFO.mu
	batch        *batch // being written; nil: none
	bytes        int64  // of all segments but those to remove
	toRemove     []*segment
	drainedLanes []*lane // of drained generations: their positions are removed after their segments
	newName      bool    // a file was made since the last sync of the directory
	nextAge      time.Time
	clock        ageClock
	health       health
	removalRetry backoff // of segments that could not be removed
	renewalRetry backoff // of segments that could not be renewed

	// owned by the writer
	buf  []byte
	turn int // index of the lane that is written next
}

// signal wakes a goroutine. Several signals before it runs are one.
type signal chan struct{}

func (s signal) wakeUp() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// isFull reports whether no further request begins in a segment. While layouts are more than a quarter of it, it grows
// beyond the usual size.
func (d *disk) isFull(s *segment) bool {
	return s.size >= d.segBytes && (4*s.layouts.bytes <= s.size || s.size >= d.maxSegBytes)
}

// endUse ends a use of a segment's file without mu, and closes the file if nobody needs it soon.
func (q *FIFO) endUse(l *lane, s *segment) {
	s.uses--
	if s.uses > 0 {
		return
	}
	if s != l.active {
		s.retire()
	}
	if s.failed || slices.Contains(q.disk.toRemove, s) {
		q.disk.writer.wakeUp() // the writer waits for that
	}
}

// writePosition writes the lane's position if it has moved, and has it synced.
func (q *FIFO) writePosition(l *lane, last bool) {
	if !q.putPosition(l, last) {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	l.posDirty = true
	q.disk.syncer.wakeUp()
}

// putPosition writes the lane's position if it has moved. last marks the last position of a stop: it also has the
// number of undelivered samples, so that the next start knows what it has to find.
func (q *FIFO) putPosition(l *lane, last bool) (written bool) {
	p := &l.pos
	p.mu.Lock()
	defer p.mu.Unlock()
	q.mu.Lock()
	changes, left := l.changes, uint32(0)
	if last {
		left = uint32(min(uint64(l.samplesOnDisk()), math.MaxUint32))
	}
	if p.gone || changes == p.written && left == 0 {
		q.mu.Unlock()
		return false
	}
	p.encode(l.slot(q.disk.batch, left))
	q.mu.Unlock()
	created, err := p.write(q.disk.fs)
	if err == nil {
		p.written = changes
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.disk.newName = q.disk.newName || created
	if err != nil {
		q.stats.WriteErrors++
		q.disk.health.fails(positioning, err, zap.String("file", p.name))
		return false
	}
	q.disk.health.works(positioning)
	return true
}
