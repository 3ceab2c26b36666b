package queue

import (
	"errors"
	"os"
	"time"

	"go.uber.org/zap"
)

// syncLoop makes durable what was written, at most an interval later. It sleeps while nothing is written.
func (q *FIFO) syncLoop() {
	d := q.disk
	for {
		select {
		case <-d.syncer:
		case <-d.closing:
			return
		}
		if q.cfg.FsyncInterval > 0 {
			t := time.NewTimer(q.cfg.FsyncInterval)
			select {
			case <-t.C:
			case <-d.closing:
				t.Stop()
				return
			}
		}
		if failed := q.syncAll(); failed && q.cfg.FsyncInterval > 0 {
			d.syncer.kick()
		}
	}
}

// syncAll syncs segments before positions: a position must not be more durable than what it passes.
func (q *FIFO) syncAll() (failed bool) {
	d := q.disk
	q.mu.Lock()
	newName := d.newName
	d.newName = false
	type dirt struct {
		lane     *lane
		segment  *segment
		file     File
		position bool
	}
	var all []dirt
	for l := range q.lanes {
		for _, s := range l.segments {
			if s.dirty && s.file != nil {
				s.pins++
				s.dirty = false
				all = append(all, dirt{lane: l, segment: s, file: s.file})
			}
		}
	}
	segments := len(all)
	for l := range q.lanes {
		if l.posDirty {
			l.posDirty = false
			all = append(all, dirt{lane: l, position: true})
		}
	}
	q.mu.Unlock()
	if newName {
		if err := d.fs.SyncDir(d.dir); err != nil {
			q.syncFailed(err)
			failed = true
			q.mu.Lock()
			d.newName = true
			q.mu.Unlock()
		}
	}
	for _, x := range all[:segments] {
		err := x.file.Sync()
		q.mu.Lock()
		if err != nil {
			x.segment.dirty = true
		}
		q.unpin(x.lane, x.segment)
		q.mu.Unlock()
		if err != nil {
			q.syncFailed(err, zap.String("segment", x.segment.name))
			failed = true
		}
	}
	for _, x := range all[segments:] {
		p := &x.lane.pos
		p.mu.Lock()
		f := p.file
		p.mu.Unlock()
		if f == nil {
			continue
		}
		if err := f.Sync(); err != nil && !errors.Is(err, os.ErrClosed) { // closed: its generation has drained
			q.syncFailed(err)
			failed = true
			q.mu.Lock()
			x.lane.posDirty = true
			q.mu.Unlock()
		}
	}
	return failed
}

func (q *FIFO) syncFailed(err error, more ...zap.Field) {
	q.mu.Lock()
	q.stats.SyncErrors++
	q.mu.Unlock()
	q.disk.errorKept.log(q.log, "sync", err, more...)
}
