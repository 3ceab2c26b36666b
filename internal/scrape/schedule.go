package scrape

import (
	"container/heap"
	"context"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// schedule runs loops at their times: one heap of due times, one goroutine a running scrape, none a loop that
// waits. A turn that comes while the loop's scrape still runs, or another against the same host and port, waits;
// turns passed meanwhile are skipped, never made up for.
type schedule struct {
	metrics *metrics
	log     *zap.Logger
	wake    chan struct{} // the earliest due time may have changed

	mu      sync.Mutex // guards the following, and the turn of every loop
	turns   turns
	abreast []*loop            // scrapes that run and began not longer than patience ago, oldest first
	busy    map[string]*loop   // host:port -> the loop being scraped there
	waiting map[string][]*loop // host:port -> loops whose turn came meanwhile
	running sync.WaitGroup
}

type phase uint8

const (
	phaseNew     phase = iota // not added yet: who it inherits from is still being scraped
	phaseIdle                 // in the heap, until due
	phaseWaiting              // its host is busy
	phaseRunning
	phaseEnding // in the heap, until its staleness markers are due, or another instance has scraped its target
	phaseGone
)

// Scrapes of a convoy begin mostAbreast at a time: what a scrape holds, and what it hands on, is there once for each
// that runs. One that takes long counts no more after patience, and nobody waits longer than longestWait for others.
const (
	mostAbreast = 2
	patience    = 5 * time.Millisecond
	longestWait = 2 * convoyTime
)

// turn is what the schedule knows of a loop.
type turn struct {
	due     time.Time
	began   time.Time // of a running scrape
	index   int       // in the heap; -1: not there
	phase   phase
	leaving bool      // removed while new, waiting or running
	stale   time.Time // of an ending loop: the first scrape it missed
	ends    time.Time // of a leaving loop; zero: when Prometheus would mark it stale
	silent  bool      // a leaving loop marks nothing: another instance goes on
	moves   move      // to another instance; zero: it does not
	forced  func() error
	onEnd   func()
	onIdle  func() // called, once, with the lock held, when a leaving loop is no longer running
}

// move is the change of a target to another instance.
type move struct {
	at    time.Time // from here on this instance does not scrape it any more
	first time.Time // when the other one scrapes it first
}

func (m move) over(now time.Time) bool { return !m.at.IsZero() && !now.Before(m.at) }

func newSchedule(m *metrics, log *zap.Logger) *schedule {
	return &schedule{metrics: m, log: log, wake: make(chan struct{}, 1), busy: map[string]*loop{}, waiting: map[string][]*loop{}}
}

// remove ends a loop: its markers follow when a target that only moved would have been back for two scrapes.
func (s *schedule) remove(l *loop) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.turn.leaving = true
	if l.turn.phase == phaseIdle {
		s.leave(l)
	}
}

// leave turns an idle loop's next scrape into its end. Prometheus waits for the turn missed, another interval
// and a tenth.
func (s *schedule) leave(l *loop) {
	if l.turn.onIdle != nil {
		l.turn.onIdle()
		l.turn.onIdle = nil
		return
	}
	interval := l.target.interval
	l.turn.stale = l.turn.due
	if l.turn.due = l.turn.due.Add(interval + interval/10); !l.turn.ends.IsZero() {
		l.turn.due = l.turn.ends
	}
	l.turn.phase = phaseEnding
	if l.turn.index >= 0 {
		heap.Fix(&s.turns, l.turn.index)
	} else {
		heap.Push(&s.turns, l)
	}
	s.poke()
}

// take withdraws a loop, so that its successor can inherit from it. then is called when no scrape of it runs,
// with the lock held: at once, or when the running one is through. false: it is gone already.
func (s *schedule) take(l *loop, then func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch l.turn.phase {
	case phaseGone:
		return false
	case phaseIdle, phaseEnding:
		heap.Remove(&s.turns, l.turn.index)
		l.turn.phase = phaseGone
		then()
	default:
		l.turn.leaving, l.turn.onIdle = true, then
	}
	return true
}

// add gives a loop its first turn, at due. The caller holds the lock. forced returns an error that every scrape
// of the loop fails with; onEnd is called after its end, without the lock. A loop that was removed or taken meanwhile
// leaves at once.
func (s *schedule) add(l *loop, due time.Time, forced func() error, onEnd func()) {
	l.turn.due, l.turn.index, l.turn.forced, l.turn.onEnd = due, -1, forced, onEnd
	if l.turn.leaving {
		s.part(l)
		return
	}
	l.turn.phase = phaseIdle
	heap.Push(&s.turns, l)
	s.poke()
}

func (s *schedule) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run scrapes until ctx ends, and returns when no scrape runs any more.
func (s *schedule) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	began, clock := time.Now(), clock{}
	for {
		now := time.Now()
		if by := clock.look(now.Round(0), now.Sub(began)); by != 0 {
			s.log.Warn("the clock was set: timestamps follow it; samples that are not newer than those before are dropped and counted",
				zap.Duration("by", by))
		}
		timer.Reset(s.start(ctx))
		select {
		case <-ctx.Done():
			s.running.Wait()
			return
		case <-timer.C:
		case <-s.wake:
		}
	}
}

// start begins every scrape that is due and returns how long it is until the next.
func (s *schedule) start(ctx context.Context) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.turns) > 0 && ctx.Err() == nil {
		l := s.turns[0]
		now := time.Now()
		if wait := max(l.turn.due.Sub(now), min(s.room(now), l.turn.due.Add(longestWait).Sub(now))); wait > 0 {
			return wait
		}
		heap.Pop(&s.turns)
		switch {
		case l.turn.phase == phaseEnding:
			s.end(l)
		case l.turn.moves.over(now): // the pools are about to say so
			s.quiet(l, l.turn.moves.first)
			s.part(l)
		case s.busy[l.target.hostPort] != nil:
			l.turn.phase = phaseWaiting
			s.waiting[l.target.hostPort] = append(s.waiting[l.target.hostPort], l)
		default:
			s.scrape(ctx, l)
		}
	}
	return time.Hour
}

// room tells how long it is until fewer than mostAbreast scrapes run, if none of them ends before.
func (s *schedule) room(now time.Time) time.Duration {
	for len(s.abreast) > 0 && now.Sub(s.abreast[0].turn.began) >= patience {
		s.abreast = slices.Delete(s.abreast, 0, 1)
	}
	if n := len(s.abreast); n >= mostAbreast {
		return s.abreast[n-mostAbreast].turn.began.Add(patience).Sub(now)
	}
	return 0
}

// end runs the end of a loop beside the schedule.
func (s *schedule) end(l *loop) {
	l.turn.phase = phaseGone
	silent, stale := l.turn.silent, l.turn.stale
	s.running.Go(func() {
		if silent {
			l.release()
		} else {
			l.end(stale)
		}
		l.turn.onEnd()
	})
}

// scrape runs one scrape beside the schedule.
func (s *schedule) scrape(ctx context.Context, l *loop) {
	l.turn.phase = phaseRunning
	l.turn.began = time.Now()
	l.turn.due = onWallClock(l.turn.due, l.turn.began)
	l.due = l.turn.due
	s.abreast = append(s.abreast, l)
	s.busy[l.target.hostPort] = l
	s.metrics.running.Inc()
	s.running.Go(func() {
		l.scrape(ctx, l.turn.forced())
		s.metrics.running.Dec()
		s.finished(ctx, l)
	})
}

// finished puts a loop back and starts who waited for its host.
func (s *schedule) finished(ctx context.Context, l *loop) {
	s.mu.Lock()
	defer s.mu.Unlock()
	host := l.target.hostPort
	delete(s.busy, host)
	s.abreast = slices.DeleteFunc(s.abreast, func(other *loop) bool { return other == l })
	s.back(l)
	for len(s.waiting[host]) > 0 && s.busy[host] == nil && ctx.Err() == nil {
		next := s.waiting[host][0]
		if s.waiting[host] = s.waiting[host][1:]; len(s.waiting[host]) == 0 {
			delete(s.waiting, host)
		}
		if next.turn.moves.over(time.Now()) && !next.turn.leaving {
			s.quiet(next, next.turn.moves.first)
		}
		if next.turn.leaving {
			s.part(next)
			continue
		}
		s.scrape(ctx, next)
	}
}

// back gives a loop its next turn, or its end. Turns that passed before its scrape began are skipped. Of those that
// passed while it ran the last is taken late, as a ticker would, and the others are skipped.
func (s *schedule) back(l *loop) {
	interval := l.target.interval
	turns := 1 + l.turn.began.Sub(l.turn.due)/interval
	if late := time.Since(l.turn.due.Add(turns * interval)); late >= interval {
		turns += late / interval
	}
	l.turn.due = l.turn.due.Add(turns * interval)
	s.metrics.skipped.Add(float64(turns - 1))
	if l.turn.leaving {
		s.part(l)
		return
	}
	l.turn.phase = phaseIdle
	heap.Push(&s.turns, l)
	s.poke()
}

// part gives a leaving loop, which is in no list, its end.
func (s *schedule) part(l *loop) {
	l.turn.phase = phaseIdle
	if l.turn.onIdle != nil {
		l.turn.phase = phaseGone
	}
	s.leave(l)
}

// turns is a heap of loops by due time.
type turns []*loop

func (t turns) Len() int           { return len(t) }
func (t turns) Less(i, j int) bool { return t[i].turn.due.Before(t[j].turn.due) }
func (t turns) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].turn.index, t[j].turn.index = i, j
}
func (t *turns) Push(x any) {
	l := x.(*loop)
	l.turn.index = len(*t)
	*t = append(*t, l)
}
func (t *turns) Pop() any {
	old := *t
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*t = old[:len(old)-1]
	l.turn.index = -1
	return l
}
