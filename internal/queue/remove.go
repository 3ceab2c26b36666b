package queue

import (
	"errors"
	"math"
	"os"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// disk is what a queue has below its memory.
type disk struct {
	fs       FS
	dir      string
	segBytes int64
	corrupt  quarantine
	closing  chan struct{}
	loops    sync.WaitGroup
	writer   signal
	syncer   signal
	onClose  func() // tells the store

	// guarded by the queue's mu
	bytes   int64 // of all segments that are not doomed
	doomed  []*segment
	retired []*lane // of drained generations: their positions go when their segments are gone
	newName bool    // a file was made since the last sync of the directory
	nextAge time.Time
	clock   ageClock
	health  health
	removal backoff // of segments that could not be removed
	renewal backoff // of segments that could not be renewed

	// owned by the writer
	buf  []byte
	turn int // which lane is looked at first
}

// signal wakes a goroutine; several in a row are one.
type signal chan struct{}

func (s signal) kick() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// doom gives a segment to the writer to remove.
func (d *disk) doom(s *segment) {
	d.bytes -= s.size
	d.doomed = append(d.doomed, s)
	d.writer.kick()
}

// retire gives up the files of a generation that has drained.
func (d *disk) retire(g *generation) {
	for _, l := range g.lanes {
		for _, s := range l.segments {
			d.doom(s)
		}
		l.segments, l.active, l.drained = nil, nil, true
	}
	d.retired = append(d.retired, g.lanes...)
	d.writer.kick()
}

// leaving is what doomed segments take on disk.
func (d *disk) leaving() (bytes int64) {
	for _, s := range d.doomed {
		bytes += s.size
	}
	return bytes
}

// sweep removes doomed segments that are not in use. A removal that failed is tried again when it is due, or if again
// is true.
func (q *FIFO) sweep(again bool) {
	d := q.disk
	q.mu.Lock()
	due := d.removal.due(time.Now())
	var now []*segment
	for _, s := range d.doomed {
		if s.pins == 0 && (!s.unremoved || due || again) {
			now = append(now, s)
		}
	}
	q.mu.Unlock()
	for _, s := range now {
		q.removeSegment(s)
	}
	q.mu.Lock()
	if !slices.ContainsFunc(d.doomed, func(s *segment) bool { return s.unremoved }) {
		d.removal = backoff{}
		d.health.works(removing)
	} else if due {
		d.removal.failed(time.Now())
	}
	var retired []*lane
	if len(d.doomed) == 0 {
		retired, d.retired = d.retired, nil
	}
	q.mu.Unlock()
	for _, l := range retired {
		if err := l.pos.remove(d.fs); err != nil {
			q.log.Warn("remove position", zap.String("file", l.pos.name), zap.Error(err))
		}
	}
}

// removeSegment removes the file of a doomed segment. One that cannot be removed is emptied: then it takes no room, and
// nothing of it comes again after the next start.
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
		s.unremoved = true
		q.stats.RemoveErrors++
		d.health.fails(removing, err, zap.String("segment", s.name))
		return
	}
	d.doomed = slices.DeleteFunc(d.doomed, func(o *segment) bool { return o == s })
}

func (d *disk) empty(name string) error {
	f, err := d.fs.Open(join(d.dir, name), false)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(0), f.Close())
}

// unpin ends a use of a segment's file outside mu.
func (q *FIFO) unpin(l *lane, s *segment) {
	s.pins--
	if s.pins > 0 {
		return
	}
	if s.file != nil && !s.dirty && !s.torn && s != l.active && (s.cold.empty() || l.firstCold() != s) {
		_ = s.file.Close()
		s.file = nil
	}
	if s.failed || slices.Contains(q.disk.doomed, s) {
		q.disk.writer.kick() // it waits for that
	}
}

// writePosition brings the position file up to what is delivered, and has it synced.
func (q *FIFO) writePosition(l *lane, last bool) {
	if !q.putPosition(l, last) {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	l.posDirty = true
	q.disk.syncer.kick()
}

// putPosition writes the position file if it is not up to date. Last: nothing of this process comes after it, and the
// next one shall know what it has to find.
func (q *FIFO) putPosition(l *lane, last bool) (written bool) {
	p := &l.pos
	p.mu.Lock()
	defer p.mu.Unlock()
	q.mu.Lock()
	at, left := l.acked, uint32(0)
	if last {
		left = uint32(min(uint64(l.samplesOnDisk()), math.MaxUint32))
	}
	q.mu.Unlock()
	if p.gone || at == p.written && left == 0 {
		return false
	}
	created, err := p.write(q.disk.fs, at, left)
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

// readCold brings the oldest request of a lane from disk into memory. False: it cannot be read now. Mu is
// free in between; the caller is the lane's reader.
func (q *FIFO) readCold(l *lane, s *segment) bool {
	now := time.Now()
	if !l.read.due(now) {
		return false
	}
	from, to, f := s.cold.from, s.cold.to, s.file
	unknown, last := s.cold.unknown, l.read.runs >= maxReadTries
	if s.failed {
		f = nil // the writer may replace the file
	}
	keep := !s.failed && s != l.active // the writer opens that one itself
	s.pins++
	q.mu.Unlock()
	var err error
	opened := f == nil
	if opened {
		f, err = q.disk.fs.Open(join(q.disk.dir, s.name), false)
	}
	var got readBack
	if err == nil && unknown {
		got.scanned, err = q.disk.corrupt.scan(q.log, f, s.name, span{from, to}, last)
	} else if err == nil {
		got, err = readRequest(f, from, to, s.skips, q.cfg.Alloc)
		if err == nil {
			for _, at := range got.damage {
				q.disk.corrupt.keep(q.log, s.name, f, at)
			}
		}
	}
	q.mu.Lock()
	if opened && f != nil {
		if keep && !q.closed && s.file == nil {
			s.file = f
		} else {
			_ = f.Close()
		}
	}
	defer q.unpin(l, s)
	if q.closed {
		return false
	}
	switch {
	case err == nil:
		l.read = backoff{}
		q.disk.health.works(reading)
	case errors.Is(err, os.ErrNotExist):
		got = readBack{span: span{from, to}} // somebody removed it
	case l.read.runs < maxReadTries:
		l.read.failed(now)
		q.stats.ReadErrors++
		q.disk.health.fails(reading, err, zap.String("segment", s.name))
		if q.cfg.Wake != nil {
			time.AfterFunc(l.read.wait, func() {
				q.mu.Lock()
				reader := q.readerOf(l) // a Resize may have changed it
				q.mu.Unlock()
				q.cfg.Wake(reader)
			})
		}
		return false
	default:
		l.read = backoff{}
		got = readBack{span: span{from, to}} // the rest of the segment is unreadable
		q.giveUp(s, got.span, err)
	}
	q.takeBack(l, s, got)
	return true
}

const maxReadTries = 10 // in a row, with backoff: 181 s

// takeBack accounts for what was read of a segment.
func (q *FIFO) takeBack(l *lane, s *segment, got readBack) {
	if got.scanned != nil {
		q.takeScan(l, s, got.scanned)
		return
	}
	s.cold.from = got.to
	requests := 0
	if got.began {
		requests = 1
	}
	s.cold.requests -= requests
	s.cold.samples -= got.samples + got.lost
	q.stats.CorruptRecords += got.broken
	for _, d := range got.damage {
		q.stats.SkippedBytes += d.to - d.from
	}
	if got.lost > 0 {
		lost := 0
		if len(got.records) == 0 {
			lost = 1
		}
		q.lose(Damaged, lost, got.lost)
	}
	if s.cold.empty() { // what is missing now went with headers
		q.lose(Damaged, max(0, s.cold.requests), q.missing(l, s))
		s.cold.requests, s.cold.samples = 0, 0
	}
	if len(got.records) == 0 {
		l.acked = place{s.seq, got.to} // else it would be counted again after the next start
		q.settle(l, s)
		return
	}
	r := &request{sealed: true, written: len(got.records), segment: s, start: got.from, end: got.to, readBack: true}
	r.Oldest, r.Newest = got.records[0].Oldest, got.records[0].Newest
	r.MayHaveArrived = place{s.seq, got.from} == l.firstFound
	for _, rec := range got.records {
		r.add(rec)
	}
	s.live++
	l.requests = append([]*request{r}, l.requests...)
	l.front = 1
	q.account(l, r.Bytes)
	q.stats.ReadRecords += len(r.Records)
	if s.replayed {
		q.stats.ReplayedRecords += len(r.Records)
		q.stats.ReplayedBytes += r.Bytes
	}
}
