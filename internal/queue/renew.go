package queue

import (
	"errors"
	"io"
	"time"

	"go.uber.org/zap"
)

// renewSegments writes segments whose sync failed to new files, if that is due or again is true. After a failed sync
// the kernel regards the pages as written: the next sync of the same file would succeed, and a power cut would take
// the samples. Until a segment is renewed, its samples are delivered, and writes to it go on: a kill does not take
// them.
func (q *FIFO) renewSegments(again bool) (renewed bool) {
	d := q.disk
	q.mu.Lock()
	defer q.mu.Unlock()
	if !d.health.failing(syncing) {
		return false
	}
	due := d.renewal.due(time.Now())
	failed := false
	for _, f := range q.failedSegments() {
		l, s := f.lane, f.segment
		if s.pins > 0 || !due && !again { // unpin wakes the writer
			continue
		}
		s.pins++
		q.mu.Unlock()
		err := q.renew(l, s)
		q.mu.Lock()
		if err == nil {
			s.failed, s.dirty, s.torn = false, false, false
			renewed = true
		} else {
			failed = true
			q.stats.SyncErrors++
			d.health.fails(syncing, err, zap.String("segment", s.name))
		}
		q.unpin(l, s)
	}
	if failed && due {
		d.renewal.failed(time.Now())
	}
	if len(q.failedSegments()) == 0 {
		d.renewal = backoff{}
		d.health.works(syncing)
		d.syncer.kick() // positions wait for it
	}
	return renewed
}

type failedSegment struct {
	lane    *lane
	segment *segment
}

func (q *FIFO) failedSegments() (all []failedSegment) {
	for l := range q.lanes {
		for _, s := range l.segments {
			if s.failed {
				all = append(all, failedSegment{l, s})
			}
		}
	}
	return all
}

// renew replaces the file of a segment by one with the same content that is synced. A crash leaves one of the two.
func (q *FIFO) renew(l *lane, s *segment) (err error) {
	d := q.disk
	scratch, name := join(d.dir, scratchName), join(d.dir, s.name)
	from, err := d.fs.Open(name, false)
	if err != nil {
		return err
	}
	to, err := createAgain(d.fs, scratch)
	if err != nil {
		return errors.Join(err, from.Close())
	}
	err = to.Truncate(0)
	if err == nil {
		err = q.copySegment(to, from, l, s)
	}
	if err == nil {
		err = to.Sync()
	}
	if err = errors.Join(err, to.Close(), from.Close()); err != nil {
		_ = d.fs.Remove(scratch)
		return err
	}
	q.mu.Lock()
	old := s.file
	s.file = nil
	q.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
	if err := d.fs.Rename(scratch, name); err != nil {
		_ = d.fs.Remove(scratch)
		return err
	}
	return d.fs.SyncDir(d.dir)
}

// copySegment copies a segment, at the same offsets. Requests that memory holds are written from memory, since the
// kernel may have dropped their pages. The rest is read from the old file; damage in it is found and counted when it
// is read.
func (q *FIFO) copySegment(to, from File, l *lane, s *segment) error {
	for at := int64(0); at < s.size; {
		q.mu.Lock()
		data, begin := l.held(s, at)
		q.mu.Unlock()
		if _, err := io.Copy(io.NewOffsetWriter(to, at), io.NewSectionReader(from, at, begin-at)); err != nil {
			return err
		}
		addChecksums(data)
		if _, err := to.WriteAt(data, begin); len(data) > 0 && err != nil {
			return err
		}
		at = begin + int64(len(data))
	}
	return nil
}

// held returns the records of the first request in memory that begins in a segment at or after an offset, and where it
// begins. The records lack their checksums. If there is none, held returns the end of the segment.
func (l *lane) held(s *segment, at int64) (data []byte, begin int64) {
	for _, r := range l.requests {
		if r.segment != s || r.start < at || r.readBack {
			continue
		}
		before := r.before
		for _, rec := range r.Records[:r.written] {
			data = appendRecord(data, rec, before)
			before += uint64(rec.Samples)
		}
		return data, r.start
	}
	return nil, s.size
}
