package queue

import (
	"errors"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"
)

// readAhead reads the headers of cold requests into memory, so that several requests of a stream are found together. It
// returns false if it cannot read now. The caller holds mu and is the lane's reader. mu is unlocked while the disk is
// read.
func (q *FIFO) readAhead(l *lane) bool {
	for !q.closed {
		s := l.firstCold()
		if s == nil || l.fronts > q.window()/2 {
			return true
		}
		if !q.readCold(l, s) {
			return false
		}
	}
	return true
}

// readCold reads headers of a segment ahead.
func (q *FIFO) readCold(l *lane, s *segment) bool {
	now := time.Now()
	if !l.readRetry.due(now) {
		return false
	}
	at, most := s.cold.span, q.window()-l.fronts
	unknown, last := s.cold.unknown, l.readRetry.runs >= maxReadTries
	done := slices.Clone(l.delivered.of(s.seq))
	s.uses++
	q.mu.Unlock()
	f, err := q.disk.fs.Open(join(q.disk.dir, s.name), false)
	var scanned *repaired
	var got headersResult
	switch {
	case err == nil && unknown:
		scanned, err = q.disk.corrupt.scan(q.log, f, s.name, at, done, last)
	case err == nil:
		c := newCursor(f, at.from, at.to, windowBytes)
		got, err = readHeaders(undelivered{cursor: c, done: done, skips: s.skips}, most)
		for _, at := range got.damage {
			q.disk.corrupt.keep(q.log, s.name, f, at)
		}
	}
	if f != nil {
		_ = f.Close()
	}
	q.mu.Lock()
	defer q.endUse(l, s)
	if q.closed {
		return false
	}
	switch {
	case err == nil:
		l.readRetry = backoff{}
		q.disk.health.works(reading)
	case errors.Is(err, os.ErrNotExist):
		got.to = at.to // somebody removed the file
	case !last:
		q.readFailed(l, s, now, err)
		return false
	default:
		l.readRetry = backoff{}
		got.to = at.to // the rest of the segment is unreadable
		q.giveUp(s, at, err)
		l.passed(s, at)
	}
	if scanned != nil {
		q.takeScan(l, s, scanned)
	} else {
		q.takeHeaders(l, s, got)
	}
	q.coldChanged(l)
	return true
}

const maxReadTries = 10 // in a row, with backoff: 181 s

// readFailed counts a failed read, and has the reader woken when it is to be tried again.
func (q *FIFO) readFailed(l *lane, s *segment, now time.Time, err error) {
	l.readRetry.failed(now)
	q.stats.ReadErrors++
	q.disk.health.fails(reading, err, zap.String("segment", s.name))
	if q.cfg.Wake == nil {
		return
	}
	time.AfterFunc(l.readRetry.wait, func() {
		q.mu.Lock()
		reader := q.readerOf(l) // a Resize may have changed it
		q.mu.Unlock()
		q.cfg.Wake(reader)
	})
}

// takeHeaders puts requests into the lane whose headers were read, and counts damage.
func (q *FIFO) takeHeaders(l *lane, s *segment, got headersResult) {
	s.cold.from = got.to
	for _, d := range got.damage {
		q.stats.CorruptRecords++
		q.stats.SkippedBytes += d.to - d.from
		l.passed(s, d) // so that the next start does not count it again
	}
	for _, e := range got.entries {
		s.cold.requests--
		s.cold.samples -= e.samples
		l.coldAge++
		r := &request{
			age: l.coldAge, sealed: true, records: e.records, written: e.records, found: s.replayed,
			segment: s, start: e.from, end: e.to, readBack: true,
		}
		r.Samples, r.Bytes, r.Oldest, r.Newest, r.Stream = e.samples, e.bytes, e.oldest, e.newest, e.stream
		r.MayHaveArrived = s.replayed && l.doubtful.has(position{s.seq, e.from})
		s.live++
		if r.found {
			l.found++
		}
		l.requests.insert(l.front, r)
		l.front = r
		l.fronts++
		if l.hidden == nil || l.hidden.age > r.age {
			l.hidden = r
		}
	}
	if s.cold.empty() { // samples still missing had damaged headers
		q.lose(Damaged, max(0, s.cold.requests), q.missing(l, s))
		s.cold.requests, s.cold.samples = 0, 0
		q.removeIfDelivered(l, s)
	}
}

// load reads the data of a group from disk, as far as memory does not have it. It returns the group up to the first
// request that cannot be read now, and whether there was none. Requests whose data is damaged are not in it. The caller
// holds mu and is the lane's reader. mu is unlocked while the disk is read.
func (q *FIFO) load(l *lane, group []*request) (loaded []*request, ok bool) {
	var missing []*request
	for _, r := range group {
		if !r.inMemory() {
			missing = append(missing, r)
		}
	}
	if len(missing) == 0 {
		return group, true
	}
	now := time.Now()
	if !l.readRetry.due(now) {
		missing = nil
	}
	got, err := q.readData(l, missing)
	if q.closed {
		return nil, false
	}
	ok = err == nil && len(got) > 0
	switch {
	case ok:
		l.readRetry = backoff{}
		q.disk.health.works(reading)
	case err != nil && l.readRetry.runs < maxReadTries:
		q.readFailed(l, missing[len(got)].segment, now, err)
	case err != nil:
		l.readRetry = backoff{}
		group = q.giveUpFrom(l, group, missing[len(got):], err)
		ok = true
	}
	for i, r := range group {
		if !r.inMemory() && len(got) == 0 {
			for _, r := range slices.Backward(group[i:]) {
				l.putBack(r)
			}
			return loaded, ok
		}
		if !r.inMemory() {
			x := got[0]
			if got = got[1:]; !q.takeData(l, r, x) {
				continue
			}
		}
		loaded = append(loaded, r)
	}
	return loaded, true
}

// readTime is how long the data of a group is read at most, and the call of the disk that runs then. A group that takes
// longer is cut: its reader sends what was read, and sees a stop that has come meanwhile.
const readTime = time.Second

// readData reads requests from their segments. After an error, or after readTime, the results are of the requests
// before the one that could not be read.
func (q *FIFO) readData(l *lane, requests []*request) (got []readResult, err error) {
	type file struct {
		File
		layouts foundLayouts
	}
	files := map[*segment]*file{}
	for _, r := range requests {
		if files[r.segment] == nil {
			files[r.segment] = &file{layouts: foundLayouts{}}
			r.segment.uses++
		}
		if c := r.layoutCopy; c != nil {
			files[r.segment].layouts.add(c)
		}
	}
	q.mu.Unlock()
	began := time.Now()
	for _, r := range requests {
		if len(got) > 0 && time.Since(began) > readTime {
			break
		}
		var x readResult
		f := files[r.segment]
		if f.File == nil {
			var opened File
			if opened, err = q.disk.fs.Open(join(q.disk.dir, r.segment.name), false); err == nil {
				f.File = opened
			}
		}
		if err == nil {
			x, err = readRequest(f, r.start, r.end, nil, f.layouts, q.cfg.Alloc)
		}
		if errors.Is(err, os.ErrNotExist) {
			x, err = readResult{}, nil // somebody removed the file
		}
		if err != nil {
			break
		}
		got = append(got, x)
		for _, at := range x.damage {
			q.disk.corrupt.keep(q.log, r.segment.name, f, at)
		}
	}
	for _, f := range files {
		if f.File != nil {
			_ = f.Close()
		}
	}
	q.mu.Lock()
	for s := range files {
		q.endUse(l, s)
	}
	return got, err
}

// takeData gives a request the data that was read. It returns false if nothing of it is left.
func (q *FIFO) takeData(l *lane, r *request, got readResult) bool {
	q.stats.CorruptRecords += got.broken
	for _, d := range got.damage {
		q.stats.SkippedBytes += d.to - d.from
	}
	if len(got.records) == 0 {
		q.lose(Damaged, 1, r.Samples)
		q.remove(l, r)
		q.passed(l, r)
		return false
	}
	if lost := r.Samples - got.samples; lost > 0 {
		q.lose(Damaged, 0, lost)
	}
	with := r.Request
	r.Request = Request{
		Oldest: got.records[0].Oldest, Newest: got.records[0].Newest, Stream: with.Stream,
		MayHaveArrived: with.MayHaveArrived,
	}
	r.records = 0
	for _, rec := range got.records {
		r.add(rec)
	}
	r.written, r.readBack = r.records, true
	q.account(l, r.Bytes)
	q.accountLayout(l, r.layout(), 1)
	q.stats.ReadRecords += r.records
	if r.found {
		q.stats.ReplayedRecords += r.records
		q.stats.ReplayedBytes += r.Bytes
	}
	return true
}

// giveUpFrom counts the first of some requests of a group as lost, since it cannot be read, with all that is behind it
// in its segment and was not read. It returns the rest of the group.
func (q *FIFO) giveUpFrom(l *lane, group, unread []*request, err error) []*request {
	s := unread[0].segment
	at := span{unread[0].start, s.cold.to}
	for r := range l.requests.all {
		read := r.taken && !slices.Contains(unread, r)
		if r.segment != s || r.start < at.from || r.inMemory() || read {
			continue
		}
		at.to = max(at.to, r.end)
		q.lose(Damaged, 1, r.Samples)
		q.remove(l, r)
		q.passed(l, r)
		group = slices.DeleteFunc(slices.Clone(group), func(o *request) bool { return o == r })
	}
	if !s.cold.empty() {
		l.passed(s, s.cold.span)
		q.lose(Damaged, s.cold.requests, q.missing(l, s))
		s.cold = cold{}
	}
	q.giveUp(s, at, err)
	q.removeIfDelivered(l, s)
	q.coldChanged(l)
	return group
}

// A segment that cannot be read at the start stays in its lane, with cold.unknown. When the lane's reader gets to it,
// it scans the segment. If that fails, it tries again as after any other failed read. Until the scan succeeds, the
// number of samples in the segment is only known by the count that the last stop wrote into the position: a lane whose
// stopCount is 300 and whose other segments have 200 samples has 100 in the segments that could not be read.

// giveUp counts a part of a segment as unreadable. The lane goes on behind it. The caller holds mu.
func (q *FIFO) giveUp(s *segment, at span, err error) {
	s.unreadable = true
	q.stats.CorruptRecords++
	q.stats.SkippedBytes += at.to - at.from
	q.log.Error("segment cannot be read: what follows goes on without it, and the file is kept aside",
		zap.String("segment", s.name), zap.Int64("offset", at.from), zap.Int64("bytes", at.to-at.from), zap.Error(err))
}

// takeScan takes over the scan of a segment that could not be read at the start. The caller holds mu.
func (q *FIFO) takeScan(l *lane, s *segment, found *repaired) {
	expected := s.cold.samples
	q.disk.bytes -= s.take(found)
	found.count(&q.stats)
	q.lose(Damaged, found.loss.Requests, found.loss.Samples)
	lost := 0 // requests, at least
	if !found.rest.empty() {
		q.giveUp(s, found.rest, found.err)
		lost = 1
	}
	q.lose(Damaged, lost, l.moveStopCount(expected-found.samples-found.loss.Samples))
	if !found.rest.empty() { // so that the next start does not deliver it
		l.passed(s, found.rest)
	}
	if s.cold.empty() { // so that the next start does not count it again
		l.passed(s, span{0, s.size})
	}
	q.removeIfDelivered(l, s)
}

// missing returns how many samples of a segment were not found when it was read to its end. The caller holds mu.
func (q *FIFO) missing(l *lane, s *segment) int {
	if !s.cold.unknown {
		return max(0, s.cold.samples)
	}
	s.cold.unknown = false
	return l.moveStopCount(s.cold.samples)
}

// moveStopCount assigns samples of the stopCount to the next segment that could not be read yet. If there is none, they
// are lost.
func (l *lane) moveStopCount(samples int) (lost int) {
	if samples <= 0 {
		return 0
	}
	if s := l.firstUnknown(); s != nil {
		s.cold.samples += samples
		return 0
	}
	return samples
}

// firstUnknown returns the first segment that could not be read yet, or nil.
func (l *lane) firstUnknown() *segment {
	if i := slices.IndexFunc(l.segments, func(s *segment) bool { return s.cold.unknown }); i >= 0 {
		return l.segments[i]
	}
	return nil
}
