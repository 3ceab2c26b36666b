package queue

import (
	"errors"
	"math"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
)

// disk is what a queue has below its memory.
type disk struct {
	fs        FS
	dir       string
	segBytes  int64
	corrupt   quarantine
	closing   chan struct{}
	loops     sync.WaitGroup
	writer    signal
	syncer    signal
	onClose   func() // tells the store
	errorKept errorLog

	// guarded by the queue's mu
	bytes   int64 // of all segments that are not doomed
	doomed  []*segment
	retired []*lane // of drained generations: their positions go when their segments are gone
	newName bool    // a file was made since the last sync of the directory
	nextAge time.Time

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

// sweep removes what is doomed and not in use. What cannot be removed is tried again with the next write.
func (q *FIFO) sweep() {
	d := q.disk
	q.mu.Lock()
	var now, later []*segment
	for _, s := range d.doomed {
		if s.pins > 0 {
			later = append(later, s)
		} else {
			now = append(now, s)
		}
	}
	d.doomed = later
	retired := d.retired
	d.retired = nil
	q.mu.Unlock()
	if len(now) == 0 && len(retired) == 0 {
		return
	}
	var failed []*segment
	for _, s := range now {
		if s.file != nil {
			_ = s.file.Close()
			s.file = nil
		}
		if err := d.corrupt.discard(s); err != nil && !errors.Is(err, os.ErrNotExist) {
			q.log.Warn("remove segment", zap.String("segment", s.name), zap.Error(err))
			failed = append(failed, s)
		}
	}
	if len(failed) == 0 && len(later) == 0 {
		for _, l := range retired {
			if err := l.pos.remove(d.fs); err != nil {
				q.log.Warn("remove position", zap.String("file", l.pos.name), zap.Error(err))
			}
		}
		retired = nil
	}
	q.mu.Lock()
	d.doomed = append(failed, d.doomed...)
	d.retired = append(retired, d.retired...)
	q.mu.Unlock()
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
	if len(q.disk.doomed) > 0 {
		q.disk.writer.kick()
	}
}

// writePosition brings the position file up to what is delivered. Last: nothing of this process comes after it, and
// the next one shall know what it has to find.
func (q *FIFO) writePosition(l *lane, last bool) {
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
		return
	}
	created, err := p.write(q.disk.fs, at, left)
	q.mu.Lock()
	defer q.unlock()
	q.disk.newName = q.disk.newName || created
	if err != nil {
		q.stats.WriteErrors++
		q.disk.errorKept.log(q.log, "write position", err)
		return
	}
	l.posDirty = true
	q.disk.syncer.kick()
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
		s.file = f
	}
	defer q.unpin(l, s)
	if q.closed {
		if opened && f != nil {
			_ = f.Close()
			s.file = nil
		}
		return false
	}
	switch {
	case err == nil:
		l.read = backoff{}
	case errors.Is(err, os.ErrNotExist):
		got = readBack{span: span{from, to}} // somebody removed it
	case l.read.runs < maxReadTries:
		l.read.failed(now)
		q.stats.ReadErrors++
		q.disk.errorKept.log(q.log, "read segment", err, zap.String("segment", s.name))
		if q.cfg.Wake != nil {
			lane := l.reader
			time.AfterFunc(l.read.wait, func() { q.cfg.Wake(lane) })
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

const maxReadTries = 10 // with backoff: some four minutes

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
		q.settle(l, s)
		return
	}
	r := &request{sealed: true, written: len(got.records), segment: s, start: got.from, end: got.to}
	r.Replayed, r.Oldest, r.Newest = s.replayed, got.records[0].Oldest, got.records[0].Newest
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

// errorLog lets one line a minute through.
type errorLog struct {
	mu   sync.Mutex // guards the following
	next time.Time
}

func (e *errorLog) log(log *zap.Logger, doing string, err error, more ...zap.Field) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if now := time.Now(); !now.Before(e.next) {
		e.next = now.Add(time.Minute)
		log.Error(doing, append(more, zap.Error(err))...)
	}
}
