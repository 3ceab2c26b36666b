package queue

import (
	"errors"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"
)

// removeIfDelivered schedules the removal of a segment that is delivered or dropped and not active, once.
func (q *FIFO) removeIfDelivered(l *lane, s *segment) {
	if s.delivered() && s != l.active && s.lane == nil {
		l.segments = slices.DeleteFunc(l.segments, func(o *segment) bool { return o == s })
		q.disk.scheduleRemoval(l, s)
	}
}

// scheduleRemoval has the writer remove a segment.
func (d *disk) scheduleRemoval(l *lane, s *segment) {
	s.lane = l
	d.bytes -= s.size
	d.toRemove = append(d.toRemove, s)
	d.writer.wakeUp()
}

// removeGeneration has the writer remove the files of a generation that is drained.
func (d *disk) removeGeneration(g *generation) {
	for _, l := range g.lanes {
		for _, s := range l.segments {
			d.scheduleRemoval(l, s)
		}
		l.segments, l.active, l.drained = nil, nil, true
	}
	d.drainedLanes = append(d.drainedLanes, g.lanes...)
	d.writer.wakeUp()
}

// bytesToRemove returns the bytes on disk of the segments to remove.
func (d *disk) bytesToRemove() (bytes int64) {
	for _, s := range d.toRemove {
		bytes += s.size
	}
	return bytes
}

// removeSegments removes the segments in toRemove that nobody uses. A removal that failed is tried again when it is
// due, or if again is true.
func (q *FIFO) removeSegments(again bool) {
	d := q.disk
	q.mu.Lock()
	due := d.removalRetry.due(time.Now())
	var now []*segment
	for _, s := range d.toRemove {
		if s.uses == 0 && (!s.removalFailed || due || again) {
			now = append(now, s)
		}
	}
	q.mu.Unlock()
	for _, s := range now {
		q.removeSegment(s)
	}
	q.mu.Lock()
	if !slices.ContainsFunc(d.toRemove, func(s *segment) bool { return s.removalFailed }) {
		d.removalRetry = backoff{}
		d.health.works(removing)
	} else if due {
		d.removalRetry.failed(time.Now())
	}
	var drained []*lane
	if len(d.toRemove) == 0 {
		drained, d.drainedLanes = d.drainedLanes, nil
	}
	q.mu.Unlock()
	for _, l := range drained {
		if err := l.pos.remove(d.fs); err != nil {
			q.log.Warn("remove position", zap.String("file", l.pos.name), zap.Error(err))
		}
	}
}

// removeSegment removes the file of a segment. A file that cannot be removed is emptied: then it takes no space, and
// the next start delivers nothing from it.
func (q *FIFO) removeSegment(s *segment) {
	d := q.disk
	if s.file != nil {
		_ = s.file.Close()
		s.file = nil
	}
	err := d.corrupt.discard(s)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	emptied := err != nil && !s.unreadable && s.size > 0 && d.empty(s.name) == nil
	q.mu.Lock()
	defer q.mu.Unlock()
	if emptied {
		s.size = 0
	}
	if err != nil {
		s.removalFailed = true
		q.stats.RemoveErrors++
		d.health.fails(removing, err, zap.String("segment", s.name))
		return
	}
	d.toRemove = slices.DeleteFunc(d.toRemove, func(o *segment) bool { return o == s })
	s.lane.delivered.forget(s.seq)
}

func (d *disk) empty(name string) error {
	f, err := d.fs.Open(join(d.dir, name), false)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(0), f.Close())
}
