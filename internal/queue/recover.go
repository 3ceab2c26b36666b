package queue

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"go.uber.org/zap"
)

// recovery rebuilds a queue from what is in its directory. Whatever is damaged there costs only itself.
type recovery struct {
	fs   FS
	dir  string
	log  *zap.Logger
	look bool // only look: nothing is mended, told or kept aside

	gens    []*generation // oldest first, those with a lane
	corrupt quarantine
	stats   Stats
	loss    Loss
	bytes   int64
	nothing []*segment // delivered, or empty
}

// run reads the directory; only that, and opening a file of it, can fail.
func (r *recovery) run() error {
	entries, err := r.fs.ReadDir(r.dir)
	if err != nil {
		return err
	}
	r.corrupt.fs, r.corrupt.dir = r.fs, r.dir
	byLane := map[laneName]*lane{}
	for _, e := range entries {
		if e.Name == claimName {
			continue
		}
		if strings.HasSuffix(e.Name, corruptSuffix) && !e.Dir {
			r.corrupt.found(e)
			continue
		}
		name, seq, isSegment, ok := parseName(e.Name)
		if !ok || e.Dir {
			if !r.look {
				r.log.Warn("foreign file left alone", zap.String("file", join(r.dir, e.Name)))
			}
			continue
		}
		l := byLane[name]
		if l == nil {
			l = newLane(r.dir, name)
			byLane[name] = l
		}
		if isSegment {
			s := newSegment(e.Name, seq)
			s.size, s.replayed = e.Size, true
			l.segments = append(l.segments, s)
		}
	}
	r.generations(byLane)
	for _, g := range r.gens {
		for _, l := range g.lanes {
			if err := r.lane(l); err != nil {
				return err
			}
		}
	}
	return nil
}

// generations puts the lanes into order. Lanes without a file are there, too.
func (r *recovery) generations(byLane map[laneName]*lane) {
	byGeneration := map[laneName]*generation{} // lane: 0
	var names []laneName
	for n, l := range byLane {
		n.lane = 0
		g := byGeneration[n]
		if g == nil {
			g = newGeneration(r.dir, n.generation, n.lanes)
			byGeneration[n] = g
			names = append(names, n)
		}
		g.lanes[l.name.lane] = l
	}
	slices.SortFunc(names, func(a, b laneName) int {
		return cmp.Or(cmp.Compare(a.generation, b.generation), cmp.Compare(a.lanes, b.lanes))
	})
	for _, n := range names {
		r.gens = append(r.gens, byGeneration[n])
	}
}

// lane finds out what of a lane is to be delivered.
func (r *recovery) lane(l *lane) error {
	slices.SortFunc(l.segments, func(a, b *segment) int { return cmp.Compare(a.seq, b.seq) })
	slots := readSlots(r.fs, l.pos.name)
	lostBefore, found := r.loss.Samples, 0
	for _, s := range l.segments {
		l.nextSeq = max(l.nextSeq, s.seq+1)
	}
	for _, s := range slots { // a segment that a position passed must not come again
		l.nextSeq = max(l.nextSeq, s.seq+1)
		l.pos.counter = max(l.pos.counter, s.counter)
	}
	for _, s := range slots {
		if r.fits(l, s.place) {
			l.acked, l.pos.written = s.place, s.place
			break
		}
		if !r.look {
			r.log.Warn("position does not fit its lane", zap.String("file", l.pos.name))
		}
	}
	kept := l.segments[:0]
	for _, s := range l.segments {
		from := int64(0)
		if s.seq == l.acked.seq {
			from = l.acked.offset
		}
		r.bytes += s.size
		if s.seq >= l.acked.seq {
			if err := r.segment(s, from); err != nil {
				return err
			}
		}
		found += s.cold.samples
		if s.delivered() {
			r.nothing = append(r.nothing, s)
		} else {
			kept = append(kept, s)
		}
	}
	l.segments = kept
	if len(slots) > 0 && !r.look {
		r.missing(l, slots[0], found+r.loss.Samples-lostBefore)
	}
	return nil
}

// missing counts what the last stop left in a lane and nothing in it tells of any more: whole requests at the end of a
// file, whole files. The note holds for one start: what is delivered, dropped or appended after it is not in it. So it
// is taken back, durably, before anything of that happens.
func (r *recovery) missing(l *lane, last slot, found int) {
	if last.left == 0 {
		return
	}
	if lost := int(last.left) - found; lost > 0 {
		r.loss.add(0, lost)
		r.log.Warn("samples of the last stop are gone from the queue", zap.String("position", l.pos.name),
			zap.Int("samples", lost))
	}
	l.pos.mu.Lock()
	defer l.pos.mu.Unlock()
	_, err := l.pos.write(r.fs, l.acked, 0)
	if err == nil {
		err = l.pos.file.Sync()
	}
	if err != nil {
		r.log.Warn("write position", zap.String("file", l.pos.name), zap.Error(err))
	}
}

// fits says that a position can be one of this lane: not beyond what is there, and where a request begins, or
// damage does. What no longer is there was delivered or is lost, either way.
func (r *recovery) fits(l *lane, at place) bool {
	if len(l.segments) == 0 || at.seq < l.segments[0].seq {
		return true
	}
	i := slices.IndexFunc(l.segments, func(s *segment) bool { return s.seq >= at.seq })
	if i < 0 {
		return false
	}
	s := l.segments[i]
	if s.seq != at.seq || at.offset == 0 || at.offset == s.size {
		return true
	}
	f, err := r.fs.Open(join(r.dir, s.name), false)
	if err != nil {
		return at.offset < s.size
	}
	defer f.Close()
	found := false
	err = walk(f, 0, s.size, func(p part) bool {
		found = found || p.from == at.offset && (p.first || p.damage || p.torn) || p.damage && p.to == at.offset
		return p.to <= at.offset
	})
	return found || err != nil
}

// segment counts what is in a segment from an offset on. From where it cannot be read, it is damaged.
func (r *recovery) segment(s *segment, from int64) error {
	f, err := r.fs.Open(join(r.dir, s.name), false)
	if err != nil {
		return err
	}
	defer f.Close()
	end, read := s.size, from
	err = walk(f, from, s.size, func(p part) bool {
		read = p.to
		if p.torn || p.damage {
			end = r.damage(s, f, p, end)
			return true
		}
		if p.first {
			s.cold.requests++
		}
		s.cold.samples += int(p.samples)
		s.note(p.oldest, p.newest)
		return true
	})
	if err != nil {
		r.log.Error("segment cannot be read", zap.String("segment", s.name), zap.Int64("offset", read), zap.Error(err))
		end = r.damage(s, f, part{span: span{read, s.size}, damage: true}, end)
	}
	if end < s.size && !r.look {
		if err := f.Truncate(end); err != nil {
			r.log.Warn("truncate segment", zap.String("segment", s.name), zap.Error(err))
		}
		r.bytes -= s.size - end
		s.size = end
	}
	if s.cold.requests > 0 {
		s.cold.span = span{from, end}
	}
	return nil
}

// damage notes a part that is no record, and returns the new end of the segment.
func (r *recovery) damage(s *segment, f File, p part, end int64) int64 {
	if r.look {
		return end
	}
	if p.torn || p.to == s.size && onlyZeros(f, p.span) {
		r.loss.add(0, p.lost)
		if p.first {
			r.loss.add(1, 0)
		}
		r.stats.TruncatedBytes += p.to - p.from
		r.log.Warn("end of segment cut off", zap.String("segment", s.name), zap.Int64("offset", p.from),
			zap.Int64("bytes", p.to-p.from))
		return p.from
	}
	if !r.corrupt.has(s.name, p.span) { // else an earlier start has told of it
		r.loss.add(0, p.lost)
		r.stats.CorruptRecords++
		r.stats.SkippedBytes += p.to - p.from
		r.corrupt.keep(r.log, s.name, f, p.span)
	}
	if s.skips == nil {
		s.skips = map[int64]int64{}
	}
	s.skips[p.from] = p.to
	return end
}

// openFIFO rebuilds a queue and starts its goroutines.
func openFIFO(fs FS, dir string, lanes int, cfg Config, onClose func()) (*FIFO, error) {
	q := newFIFO(cfg, cfg.MaxMemory)
	r := &recovery{fs: fs, dir: dir, log: q.log}
	if err := fs.MkdirAll(dir); err != nil {
		return nil, err
	}
	if err := probe(fs, dir); err != nil {
		return nil, err
	}
	if err := r.run(); err != nil {
		return nil, err
	}
	q.stats, q.gens = r.stats, r.gens
	q.disk = &disk{
		fs: fs, dir: dir, segBytes: cfg.segmentBytes(), closing: make(chan struct{}), onClose: onClose, bytes: r.bytes,
		writer: make(signal, 1), syncer: make(signal, 1), newName: true,
		corrupt: quarantine{fs: fs, dir: dir, files: r.corrupt.files, bytes: r.corrupt.bytes},
	}
	for _, s := range r.nothing {
		q.disk.doom(s)
	}
	q.mu.Lock()
	number := uint32(1)
	if n := len(q.gens); n > 0 {
		number = q.newest().lanes[0].name.generation + 1
	}
	if n := len(q.gens); n == 0 || len(q.newest().lanes) != lanes {
		q.gens = append(q.gens, newGeneration(dir, number, lanes))
	}
	q.retire()
	q.lose(Damaged, r.loss.Requests, r.loss.Samples)
	q.unlock()
	if s := q.Stats(); s.Requests > 0 || s.SkippedBytes > 0 || s.TruncatedBytes > 0 {
		q.log.Info("backlog found", zap.Int("requests", s.Requests), zap.Int("samples", s.Samples),
			zap.Int64("bytes", s.Bytes), zap.Int64("skipped_bytes", s.SkippedBytes),
			zap.Int64("truncated_bytes", s.TruncatedBytes))
	}
	q.disk.loops.Go(q.writeLoop)
	q.disk.loops.Go(q.syncLoop)
	return q, nil
}

// probe finds out now, rather than at the first write, that nothing can be written. A full disk is no reason not
// to start: memory bridges it, as it does later.
func probe(fs FS, dir string) error {
	name := join(dir, "probe")
	f, err := fs.Open(name, true)
	if err != nil {
		return ignoreFull(fmt.Errorf("queue directory cannot be written: %w", err))
	}
	return errors.Join(f.Close(), fs.Remove(name))
}

func ignoreFull(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return nil
	}
	return err
}
