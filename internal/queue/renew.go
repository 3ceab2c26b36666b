package queue

import (
	"errors"
	"io"
	"slices"
	"time"

	"go.uber.org/zap"
)

// renewSegments writes segments whose sync failed to new files, if that is due or again is true. After a failed sync
// the kernel regards the pages as written: the next sync of the same file would succeed, and a power cut would take
// the samples. Until a segment is renewed, its samples are delivered and records are written to it: a kill does not
// take them.
func (q *FIFO) renewSegments(again bool) (renewed bool) {
	d := q.disk
	q.mu.Lock()
	defer q.mu.Unlock()
	if !d.health.failing(syncing) {
		return false
	}
	due := d.renewalRetry.due(time.Now())
	failed := false
	for _, f := range q.failedSegments() {
		l, s := f.lane, f.segment
		if s.uses > 0 || !due && !again { // endUse wakes the writer later
			continue
		}
		s.uses++
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
		q.endUse(l, s)
	}
	if failed && due {
		d.renewalRetry.failed(time.Now())
	}
	if len(q.failedSegments()) == 0 {
		d.renewalRetry = backoff{}
		d.health.works(syncing)
		d.syncer.wakeUp() // positions wait for it
	}
	return renewed
}

func (q *FIFO) failedSegments() (all []laneSegment) {
	for l := range q.lanes {
		for _, s := range l.segments {
			if s.failed {
				all = append(all, laneSegment{l, s})
			}
		}
	}
	return all
}

// renew replaces the file of a segment by a synced file with the same content. A crash leaves one of the two.
func (q *FIFO) renew(l *lane, s *segment) (err error) {
	d := q.disk
	scratch, name := join(d.dir, scratchName), join(d.dir, s.name)
	to, err := createAgain(d.fs, scratch)
	if err != nil {
		return err
	}
	if err = to.Truncate(s.size); err == nil {
		err = q.copySegment(to, l, s)
	}
	if err == nil {
		err = to.Sync()
	}
	if err = errors.Join(err, to.Close()); err != nil {
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
// kernel may have dropped their pages, and so are layouts, even of requests that are delivered. The rest is read from
// the old file, which may fail: what is delivered already is then left out at once, the rest after maxReadTries
// renewals. Damage, and what was left out, is found and counted when it is read.
func (q *FIFO) copySegment(to File, l *lane, s *segment) error {
	old := oldFile{fs: q.disk.fs, name: join(q.disk.dir, s.name)}
	defer old.close()
	q.mu.Lock()
	last := q.disk.renewalRetry.runs >= maxReadTries
	delivered := slices.Clone(l.delivered.of(s.seq))
	if s.seq == l.acked.seq {
		delivered.add(extent{s.seq, span{0, l.acked.offset}})
	}
	q.mu.Unlock()
	for at := int64(0); at < s.size; {
		q.mu.Lock()
		data, begin := l.recordsFrom(s, at)
		q.mu.Unlock()
		parts, done := delivered.pieces(s.seq, span{at, begin})
		for i, part := range parts {
			unread, err := old.copyTo(to, part)
			if err != nil {
				return err
			}
			if unread == nil || done[i] {
				continue
			}
			if !last {
				return unread
			}
			q.log.Error("a part of a segment cannot be read, and is not in its new file", zap.String("segment", s.name),
				zap.Int64("offset", part.from), zap.Int64("bytes", part.to-part.from), zap.Error(unread))
		}
		addChecksums(data)
		if _, err := to.WriteAt(data, begin); len(data) > 0 && err != nil {
			return err
		}
		at = begin + int64(len(data))
	}
	q.mu.Lock()
	copies := slices.Clone(s.layouts.copies)
	q.mu.Unlock()
	for _, c := range copies {
		layout := c.layout.Value()
		if layout == nil {
			continue // no longer in memory
		}
		if _, err := to.WriteAt(c.append(nil, layout.Append(nil)), c.at); err != nil {
			return err
		}
	}
	return nil
}

// oldFile is the file of a segment that is being renewed. It is opened when something has to be read from it.
type oldFile struct {
	fs   FS
	name string
	file File
}

// copyTo copies a part of the old file to the same place of another file. An error of reading is returned as unread.
func (o *oldFile) copyTo(to File, at span) (unread, err error) {
	if !at.empty() && o.file == nil {
		if o.file, unread = o.fs.Open(o.name, false); unread != nil {
			o.file = nil
			return unread, nil
		}
	}
	buf := make([]byte, max(0, min(64<<10, at.to-at.from)))
	for !at.empty() {
		var n int
		n, unread = o.file.ReadAt(buf[:min(int64(len(buf)), at.to-at.from)], at.from)
		if _, err := to.WriteAt(buf[:n], at.from); err != nil {
			return nil, err
		}
		at.from += int64(n)
		if errors.Is(unread, io.EOF) { // the file is shorter than it was
			return nil, nil
		}
		if unread != nil {
			return unread, nil
		}
	}
	return nil, nil
}

func (o *oldFile) close() {
	if o.file != nil {
		_ = o.file.Close()
	}
}

// recordsFrom returns the records of the first request that begins in a segment at or after an offset and whose data is
// in memory, and where it begins. The records lack their checksums. If there is none, recordsFrom returns the end of
// the segment.
func (l *lane) recordsFrom(s *segment, at int64) (data []byte, begin int64) {
	for r := range l.requests.all {
		if r.segment != s || r.start < at || r.readBack || !r.inMemory() {
			continue
		}
		before := r.before
		for _, rec := range r.Records[:r.written] {
			data = appendRecord(data, rec, r.start+int64(len(data)), before, r.layoutCopy)
			before += uint64(rec.Samples)
		}
		return data, r.start
	}
	return nil, s.size
}
