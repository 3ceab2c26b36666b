package queue

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

// recovery rebuilds the lanes of a queue from its directory. run only reads; repair then cuts off or copies aside what
// is damaged.
type recovery struct {
	fs  FS
	dir string
	log *zap.Logger

	gens            []*generation // oldest first, with those lanes that have a file
	corrupt         quarantine
	bytes           int64
	delivered       []laneSegment // or empty
	damaged         []damagedSegment
	stopCounts      []stopCount
	unreadPositions []*lane         // lanes whose position could not be read
	unreadable      int             // number of segments that could not be read
	readError       error           // the error of the first of them
	ended           map[uint32]bool // generations to which nothing is appended, since a name they need may be taken

	stats Stats
	loss  Loss
}

// damagedSegment is a segment with damaged parts.
type damagedSegment struct {
	segment *segment
	found   scanResult
}

// stopCount is the number of undelivered samples that the last stop wrote into the position of a lane.
type stopCount struct {
	lane  *lane
	left  int
	found int // samples that the headers in the lane account for
}

// run reads the directory. It fails if the directory cannot be read, and with a *FormatError. A segment that cannot be
// read stays in its lane, and the lane's reader tries again (read_back.go).
func (r *recovery) run() error {
	entries, err := r.fs.ReadDir(r.dir)
	if err != nil {
		return err
	}
	r.corrupt = newQuarantine(r.fs, r.dir)
	r.ended = map[uint32]bool{}
	byLane := map[laneName]*lane{}
	for _, e := range entries {
		if e.Name == queueLockName || e.Name == scratchName {
			continue
		}
		if strings.HasSuffix(e.Name, corruptSuffix) && !e.Dir && !e.Special {
			r.corrupt.found(e)
			continue
		}
		name, seq, isSegment, ok := parseName(e.Name)
		if !ok || e.Dir || e.Special {
			r.log.Warn("foreign file left alone", zap.String("file", join(r.dir, e.Name)))
			if !ok {
				continue
			}
		}
		if name.generation >= lastGeneration {
			return fmt.Errorf("%s: its generation, %08x, leaves no number for the next one; no envoy-scraper gets "+
				"there: move the file out of the directory", join(r.dir, e.Name), name.generation)
		}
		l := byLane[name]
		if l == nil {
			l = newLane(r.dir, name)
			byLane[name] = l
		}
		switch {
		case e.Dir || e.Special: // the lane cannot use this name
			r.passed(l, seq)
			r.ended[name.generation] = r.ended[name.generation] || !isSegment
			l.pos.foreign = l.pos.foreign || !isSegment
		case isSegment:
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

// generations sorts the lanes into generations, the oldest first.
func (r *recovery) generations(byLane map[laneName]*lane) {
	lanes := slices.SortedFunc(maps.Values(byLane), func(a, b *lane) int {
		x, y := a.name, b.name
		return cmp.Or(
			cmp.Compare(x.generation, y.generation), cmp.Compare(x.lanes, y.lanes), cmp.Compare(x.lane, y.lane))
	})
	for i, l := range lanes {
		if i == 0 || lanes[i-1].name.generation != l.name.generation || lanes[i-1].name.lanes != l.name.lanes {
			r.gens = append(r.gens, &generation{})
		}
		g := r.gens[len(r.gens)-1]
		g.lanes = append(g.lanes, l)
	}
}

// lane reads the position of a lane, then the segments that are not delivered.
func (r *recovery) lane(l *lane) error {
	slices.SortFunc(l.segments, func(a, b *segment) int { return cmp.Compare(a.seq, b.seq) })
	slots, err := readSlots(r.fs, l.pos.name)
	if err := inFile(err, l.pos.name); err != nil {
		return err
	}
	unread := err != nil
	if unread && !l.pos.foreign {
		r.log.Warn("position cannot be read: its lane is delivered from its start", zap.Error(err))
		r.unreadPositions = append(r.unreadPositions, l)
		r.ended[l.name.generation] = true // a later start that can read it must not take new segments for delivered
	}
	for _, s := range l.segments {
		r.passed(l, s.seq)
	}
	for _, s := range slots { // the number of a delivered segment is not used again
		r.passed(l, s.seq)
		r.passed(l, s.last)
	}
	if len(slots) > 0 {
		l.pos.follow(slots[0])
	}
	at, err := r.position(l, slots)
	if err != nil {
		return err
	}
	n := stopCount{lane: l}
	if len(slots) > 0 {
		n.left = int(slots[0].left)
	}
	kept := l.segments[:0]
	for _, s := range l.segments {
		from := int64(0)
		if s.seq == l.acked.seq {
			from = l.acked.offset
		}
		r.bytes += s.size
		l.end = position{s.seq, s.size}
		if s.seq >= l.acked.seq && from < s.size {
			found, err := r.segment(l, s, from)
			if err != nil {
				return err
			}
			n.found += found
		}
		if s.delivered() {
			r.delivered = append(r.delivered, laneSegment{l, s})
		} else {
			kept = append(kept, s)
		}
	}
	l.segments = kept
	if s := l.firstCold(); s != nil && (at == nil && (slots != nil || unread || s.old) || at != nil && at.old) {
		l.doubtful.add(extent{s.seq, span{s.cold.from, s.cold.from + 1}}) // which ones may have arrived is not known
	}
	if n.left > 0 {
		r.stopCounts = append(r.stopCounts, n)
	}
	return nil
}

// position gives a lane the newest slot of its position file that fits, and returns that; nil: none does.
func (r *recovery) position(l *lane, slots []slot) (*slot, error) {
	for _, s := range slots {
		fits, err := r.fits(l, s.position)
		if err != nil {
			return nil, err
		}
		if !fits {
			r.log.Warn("position does not fit its lane", zap.String("file", l.pos.name))
			continue
		}
		l.acked, l.delivered, l.doubtful = s.position, s.delivered, s.doubtful
		l.delivered.passed(l.acked)
		l.doubtful.passed(l.acked)
		l.delivered = slices.DeleteFunc(l.delivered, func(x extent) bool {
			return !slices.ContainsFunc(l.segments, func(s *segment) bool { return s.seq == x.seq })
		})
		return &s, nil
	}
	return nil, nil
}

// passed makes the number of the lane's next segment higher than seq.
func (r *recovery) passed(l *lane, seq uint32) {
	l.nextSeq = max(l.nextSeq, seq+1)
	r.ended[l.name.generation] = r.ended[l.name.generation] || seq >= halfSeq
}

// fits reports whether a position can be one of this lane: a request begins there, or the position is in damage or in a
// segment that is gone. A position behind all segments fits, since a position moves only behind what was delivered or
// counted as lost: the segments before it are there because they could not be removed.
func (r *recovery) fits(l *lane, at position) (bool, error) {
	if len(l.segments) == 0 || at.seq < l.segments[0].seq {
		return true, nil
	}
	i := slices.IndexFunc(l.segments, func(s *segment) bool { return s.seq >= at.seq })
	if i < 0 {
		return true, nil
	}
	s := l.segments[i]
	if s.seq != at.seq || at.offset == 0 || at.offset == s.size || s.size == 0 { // 0: it was dropped
		return true, nil
	}
	if at.offset > s.size {
		return false, nil
	}
	name := join(r.dir, s.name)
	f, err := r.fs.Open(name, false)
	if err != nil {
		return true, nil // not known: the segment is read later
	}
	defer f.Close()
	c := newCursor(f, 0, s.size, windowBytes)
	for {
		p, ok, err := c.next()
		if err != nil {
			return true, inFile(err, name)
		}
		if p.from == at.offset && p.first || p.damage && p.from <= at.offset && at.offset <= p.to {
			return true, nil
		}
		if !ok || p.to > at.offset {
			return false, nil
		}
	}
}

// segment scans a segment from an offset on, and returns the number of samples that its headers account for.
func (r *recovery) segment(l *lane, s *segment, from int64) (samples int, err error) {
	name := join(r.dir, s.name)
	var found scanResult
	f, err := r.fs.Open(name, false)
	if err == nil {
		found, err = scan(f, from, s.size, l.delivered.of(s.seq))
		_ = f.Close()
	}
	if err := inFile(err, name); err != nil {
		return 0, err
	}
	if err != nil {
		r.keepUnread(s, from, err)
		return 0, nil
	}
	s.take(&repaired{scanResult: found, end: s.size})
	samples = found.samples
	for _, p := range found.damage {
		if p.torn || !r.corrupt.has(s.name, p.span) {
			samples += p.lost
		}
	}
	if len(found.damage) > 0 {
		r.damaged = append(r.damaged, damagedSegment{s, found})
	}
	return samples, nil
}

// keepUnread keeps a segment that cannot be read in its lane, for the lane's reader to try again.
func (r *recovery) keepUnread(s *segment, from int64, err error) {
	if r.unreadable++; r.readError == nil {
		r.readError = fmt.Errorf("%s: %w", join(r.dir, s.name), err)
	}
	r.stats.ReadErrors++
	s.cold = cold{span: span{from, s.size}, requests: 1, unknown: true} // at least one
	now := time.Now().UnixMilli()
	s.period = period{now, now} // max_age counts from now
}

// inFile returns err with the name of the file if it is a *FormatError; otherwise nil.
func inFile(err error, name string) error {
	var f *FormatError
	if !errors.As(err, &f) {
		return nil
	}
	f.File = name
	return f
}

// repair cuts off or copies aside the damage that run found, and counts it.
func (r *recovery) repair() {
	for _, d := range r.damaged {
		s := d.segment
		m, err := r.corrupt.repair(r.log, s.name, s.size, d.found)
		if err != nil {
			r.keepUnread(s, d.found.from, err)
			continue
		}
		m.count(&r.stats)
		r.loss.add(m.loss.Requests, m.loss.Samples)
		r.bytes -= s.take(m)
	}
	if r.unreadable > 0 {
		r.log.Error("segments cannot be read at the start: they stay, and are read again when their turn comes",
			zap.Int("segments", r.unreadable), zap.NamedError("first", r.readError))
	}
	for _, n := range r.stopCounts {
		r.missing(n)
	}
	for _, l := range r.unreadPositions {
		if err := r.fs.Remove(l.pos.name); err != nil {
			r.log.Warn("remove position", zap.String("file", l.pos.name), zap.Error(err))
		}
	}
}

// missing counts samples that the last stop left in a lane and that are not there any more: whole requests at the end
// of a file, or whole files. The stopCount is right for one start only, since it does not change with what is
// delivered, dropped or appended later. So it is cleared, durably, before that happens. If a segment of the lane could
// not be read, the samples may be in it, and are counted when it can be read.
func (r *recovery) missing(n stopCount) {
	l := n.lane
	if lost := n.left - n.found; lost > 0 {
		if s := l.firstUnknown(); s != nil {
			s.cold.samples = lost
		} else {
			r.loss.add(0, lost)
			r.log.Warn("samples of the last stop are gone from the queue", zap.String("position", l.pos.name),
				zap.Int("samples", lost))
		}
	}
	l.pos.mu.Lock()
	defer l.pos.mu.Unlock()
	l.pos.encode(l.slot(nil, 0))
	_, err := l.pos.write(r.fs)
	if err == nil {
		err = l.pos.file.Sync()
	}
	if err != nil {
		r.log.Warn("write position", zap.String("file", l.pos.name), zap.Error(err))
	}
}
