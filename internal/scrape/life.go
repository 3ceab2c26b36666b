package scrape

import (
	"container/heap"
	"time"
)

// moveAt says when a loop's target moves to another instance; a zero move: not, as far as is known.
func (s *schedule) moveAt(l *loop, m move) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.turn.moves = m
}

// hand ends a loop without markers: another instance has its target now. Until first, when that one scrapes it, the
// loop is kept, see drop. false: it is gone already.
func (s *schedule) hand(l *loop, first time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case l.turn.phase == phaseGone:
		return false
	case l.turn.phase == phaseEnding && l.turn.silent: // by itself, at the instant
	case l.turn.phase == phaseEnding:
		s.quiet(l, first)
		s.endAt(l, first)
	default:
		s.quiet(l, first)
		if l.turn.phase == phaseIdle {
			s.leave(l)
		}
	}
	return true
}

// quiet makes a loop one that leaves without markers.
func (s *schedule) quiet(l *loop, first time.Time) {
	l.turn.leaving, l.turn.silent, l.turn.ends = true, true, first
}

// drop ends a handed loop with markers after all, at once: discovery lost its target before the other instance
// scraped it, which therefore has nothing to mark. Their time, that of the first scrape missed, is before any sample
// of the other instance's, should the target come back.
func (s *schedule) drop(l *loop) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.turn.silent, l.turn.ends = false, time.Now()
	if l.turn.phase == phaseEnding {
		s.endAt(l, l.turn.ends)
	}
}

// endAt moves the end of an ending loop.
func (s *schedule) endAt(l *loop, due time.Time) {
	l.turn.due = due
	heap.Fix(&s.turns, l.turn.index)
	s.poke()
}
