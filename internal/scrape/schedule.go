package scrape

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// schedule runs loops at their due times: one heap of due times, one goroutine for each running scrape, none for a loop
// that waits. life.go decides what a loop does next; the schedule carries it out.
//
// The goroutines of scrapes are workers. A worker that has ended a scrape takes the next loop that is due. If there is
// none it waits for one, or ends if enough workers wait: a new goroutine would grow its stack anew.
type schedule struct {
	metrics  *metrics
	log      *zap.Logger
	releaser releaser      // of what loops held
	ended    func(l *loop) // called without a lock when a departing loop is gone
	timer    *time.Timer   // fires when run has to look for due loops
	handOut  chan *loop    // to a worker that waits

	mu         sync.Mutex // guards the following, and the life of every loop
	dueTimes   dueTimes
	timerAt    time.Time          // when timer fires
	waiting    int                // workers that wait, or are about to
	concurrent []*loop            // running scrapes that count against maxConcurrentScrapes, oldest first
	hosts      map[string][]*loop // host:port of each running scrape -> loops that are queued behind it
	running    sync.WaitGroup
}

// To save memory, at most maxConcurrentScrapes scrapes run that began less than slowScrape ago. Older ones do not
// count. A scrape that has waited for maxWait after its due time starts anyway: two waves (waveLength in target.go),
// that is, 100 ms.
const (
	maxConcurrentScrapes = 2 // not a hard limit: slow scrapes do not count; pageMemory limits the memory of all
	slowScrape           = 5 * time.Millisecond
	maxWait              = 2 * waveLength
)

// maxWaiting is how many workers wait for a scrape at most. Scrapes that wait for slow targets, thousands at times,
// have workers too, which end.
const maxWaiting = 2 * maxConcurrentScrapes

// noneDue is how long the timer is set if no loop waits for its due time.
const noneDue = time.Hour

func newSchedule(m *metrics, log *zap.Logger, ended func(l *loop)) *schedule {
	return &schedule{
		metrics: m, log: log, ended: ended, timer: time.NewTimer(noneDue), timerAt: time.Now().Add(noneDue),
		handOut: make(chan *loop), hosts: map[string][]*loop{},
	}
}

// send gives a loop an event. It returns false if the loop was gone before.
func (s *schedule) send(l *loop, e event) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.life.state == stateGone {
		return false
	}
	s.apply(l, e, time.Now())
	return true
}

// apply changes the life of a loop by an event, and does what follows. The caller holds the lock.
func (s *schedule) apply(l *loop, e event, now time.Time) {
	var then effects
	before := l.life.due
	l.life, then = l.life.after(e, now)
	s.setDue(l, l.life.due != before, now)
	if then.skipped > 0 {
		s.metrics.skipped.Add(float64(then.skipped))
	}
	if then.leftOut > 0 {
		l.job.metrics.leftOut.Add(float64(then.leftOut))
	}
	switch then.do {
	case doMark:
		missed := l.life.missed
		s.running.Go(func() {
			l.end(missed)
			s.ended(l)
		})
	case doRelease:
		s.releaser.add(func() {
			l.release()
			s.ended(l)
		})
	case doInherit:
		successor := l.life.successor
		s.releaser.add(successor.inherit(l))
		s.apply(successor, event{kind: eventStart}, now)
	}
}

// setDue makes the heap hold a loop if it waits for its due time, and only then.
func (s *schedule) setDue(l *loop, changed bool, now time.Time) {
	waits := l.life.state == stateIdle || l.life.state == stateDeparting
	switch {
	case !waits && l.heapIndex >= 0:
		s.dueTimes.remove(l)
	case waits && (l.heapIndex < 0 || changed):
		if s.dueTimes.set(l); l.heapIndex == 0 {
			s.wakeIn(l.life.due.Sub(now), now)
		}
	}
}

// wakeIn has run look for due loops after wait, unless it does so before. The caller holds the lock.
func (s *schedule) wakeIn(wait time.Duration, now time.Time) {
	if now.Add(wait).Before(s.timerAt) {
		s.setTimer(wait, now)
	}
}

func (s *schedule) setTimer(wait time.Duration, now time.Time) {
	s.timerAt = now.Add(wait)
	s.timer.Reset(wait)
}

// run scrapes until ctx ends, and returns when no scrape runs any more.
func (s *schedule) run(ctx context.Context) {
	defer s.timer.Stop()
	began, clock := time.Now(), clock{}
	for {
		now := time.Now()
		if by := clock.step(now.Round(0), now.Sub(began)); by != 0 {
			s.log.Warn("the clock was set: timestamps follow it; "+
				"samples that are not newer than those before are dropped and counted", zap.Duration("by", by))
		}
		s.runDue(ctx, now)
		select {
		case <-ctx.Done():
			s.running.Wait()
			return
		case <-s.timer.C:
		}
	}
}

// runDue has every loop go on whose due time has come, and sets the timer.
func (s *schedule) runDue(ctx context.Context, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := s.next(ctx, now); l != nil; l = s.next(ctx, now) {
		select {
		case s.handOut <- l:
			s.waiting--
		default:
			s.running.Go(func() { s.work(ctx, l) })
		}
	}
	s.setTimer(s.untilNext(now), now)
}

// next begins the scrape that is due first. It returns its loop, or nil if no scrape may begin now.
func (s *schedule) next(ctx context.Context, now time.Time) *loop {
	for ctx.Err() == nil && s.untilNext(now) <= 0 {
		l := s.dueTimes.entries[0].l
		s.apply(l, event{kind: eventDue}, now)
		if l.life.state != stateQueued {
			continue
		}
		host := l.target.hostPort
		if queued, busy := s.hosts[host]; busy {
			s.hosts[host] = append(queued, l)
		} else if s.begin(l, now) {
			return l
		}
	}
	return nil
}

// untilNext returns how long until a loop has to go on.
func (s *schedule) untilNext(now time.Time) time.Duration {
	if len(s.dueTimes.entries) == 0 {
		return noneDue
	}
	wait := s.dueTimes.first().Sub(now)
	return max(wait, min(s.untilSlot(now), wait+maxWait))
}

// untilSlot returns how long until a slot is free, even if no scrape ends: a running scrape stops counting after
// slowScrape. 0: a slot is free.
func (s *schedule) untilSlot(now time.Time) time.Duration {
	for len(s.concurrent) > 0 && now.Sub(s.concurrent[0].life.began) >= slowScrape {
		s.concurrent = slices.Delete(s.concurrent, 0, 1)
	}
	if n := len(s.concurrent); n >= maxConcurrentScrapes {
		return s.concurrent[n-maxConcurrentScrapes].life.began.Add(slowScrape).Sub(now)
	}
	return 0
}

// begin begins the scrape of a loop whose host is free. The caller has a worker run it. It returns false if the loop
// has left the queue, or leaves it now.
func (s *schedule) begin(l *loop, now time.Time) bool {
	if l.life.state != stateQueued {
		return false
	}
	s.apply(l, event{kind: eventHostFree}, now)
	if l.life.state != stateScraping {
		return false
	}
	l.due = l.life.due
	s.concurrent = append(s.concurrent, l)
	s.hosts[l.target.hostPort] = nil
	s.metrics.running.Inc()
	return true
}

// work is a worker. It runs the scrape of l, then others, until there is none and enough workers wait.
func (s *schedule) work(ctx context.Context, l *loop) {
	for l != nil {
		l.scrape(ctx, l.pool.targetLimitError())
		s.metrics.running.Dec()
		next, waits := s.finish(ctx, l)
		if waits {
			select {
			case next = <-s.handOut:
			case <-ctx.Done():
			}
		}
		l = next
	}
}

// finish has a loop go on after its scrape, and begins another scrape: of the next loop that waits for its host, or of
// one that is due. Without any, waits says whether the worker is to wait for one.
func (s *schedule) finish(ctx context.Context, l *loop) (next *loop, waits bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.concurrent = slices.DeleteFunc(s.concurrent, func(other *loop) bool { return other == l })
	host := l.target.hostPort
	queued := s.hosts[host]
	delete(s.hosts, host)
	s.apply(l, event{kind: eventFinish, turns: l.pace.turns()}, now)
	for i, other := range queued {
		if ctx.Err() == nil && s.begin(other, now) {
			s.hosts[host] = queued[i+1:]
			return other, false
		}
	}
	next = s.next(ctx, now)
	s.wakeIn(s.untilNext(now), now)
	if next == nil && s.waiting < maxWaiting {
		s.waiting++
		waits = true
	}
	return next, waits
}
