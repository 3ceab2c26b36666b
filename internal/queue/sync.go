package queue

import (
	"errors"
	"os"
	"time"

	"go.uber.org/zap"
)

// syncLoop syncs what was written, at most FsyncInterval later. It sleeps while nothing is written.
func (q *FIFO) syncLoop() {
	d := q.disk
	var retry backoff
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
		if q.syncAll() {
			retry = backoff{}
			continue
		}
		retry.failed(time.Now())
		time.AfterFunc(retry.wait, d.syncer.wakeUp)
	}
}

// syncAll syncs segments before positions: a position must not be durable before the records that it passes. It reports
// whether the directory and positions are synced. Segments whose sync fails are renewed by the writer.
func (q *FIFO) syncAll() bool {
	names := q.syncDirectory()
	if !q.syncSegments() || !names || !q.syncPositions() {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.disk.health.works(syncingNames)
	return true
}

// syncDirectory makes the names of new files durable.
func (q *FIFO) syncDirectory() bool {
	d := q.disk
	q.mu.Lock()
	newName := d.newName
	d.newName = false
	q.mu.Unlock()
	if !newName {
		return true
	}
	err := d.fs.SyncDir(d.dir)
	if err != nil {
		q.mu.Lock()
		d.newName = true
		q.mu.Unlock()
		q.syncFailed(syncingNames, err)
	}
	return err == nil
}

// syncSegments syncs the segments that were written to, by this process or by one that was killed before it could sync
// them. It returns false if one of the latter cannot be opened now. Segments whose sync fails are renewed.
func (q *FIFO) syncSegments() (opened bool) {
	type dirty struct {
		lane    *lane
		segment *segment
		file    File // nil: the start found the segment
	}
	var all []dirty
	q.mu.Lock()
	for l := range q.lanes {
		for _, s := range l.segments {
			if s.dirty && !s.failed {
				s.uses++
				s.dirty = false
				all = append(all, dirty{l, s, s.file})
			}
		}
	}
	q.mu.Unlock()
	opened = true
	for _, x := range all {
		unopened := false
		var err error
		if x.file != nil {
			err = x.file.Sync()
		} else {
			unopened, err = q.disk.syncFound(x.segment.name)
		}
		q.mu.Lock()
		x.segment.dirty = x.segment.dirty || unopened
		x.segment.failed = err != nil && !unopened
		q.endUse(x.lane, x.segment)
		q.mu.Unlock()
		opened = opened && !unopened
		if err != nil {
			q.syncFailed(syncing, err, zap.String("segment", x.segment.name))
			q.disk.writer.wakeUp()
		}
	}
	return opened
}

// syncFound syncs a segment that the start found. A file that somebody removed needs no sync.
func (d *disk) syncFound(name string) (unopened bool, err error) {
	f, err := d.fs.Open(join(d.dir, name), false)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return true, err
	}
	defer f.Close()
	return false, f.Sync()
}

// syncPositions syncs the positions of lanes whose segments are synced. A position whose sync fails is written again,
// since a second sync alone would do nothing.
func (q *FIFO) syncPositions() (ok bool) {
	var all []*lane
	q.mu.Lock()
	for l := range q.lanes {
		if l.posDirty && !l.syncFailed() {
			l.posDirty = false
			all = append(all, l)
		}
	}
	q.mu.Unlock()
	ok = true
	for _, l := range all {
		q.putPosition(l, false)
		f := l.pos.open()
		if f == nil {
			continue
		}
		if err := f.Sync(); err != nil && !errors.Is(err, os.ErrClosed) { // closed: its generation has drained
			q.syncFailed(syncingNames, err)
			ok = false
			l.pos.rewrite()
			q.mu.Lock()
			l.posDirty = true
			q.mu.Unlock()
		}
	}
	return ok
}

func (q *FIFO) syncFailed(c call, err error, fields ...zap.Field) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stats.SyncErrors++
	q.disk.health.fails(c, err, fields...)
}
