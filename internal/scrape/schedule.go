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
type schedule struct {
	metrics  *metrics
	log      *zap.Logger
	releaser releaser      // of what loops held
	ended    func(l *loop) // called without a lock when a departing loop is gone
	wake     chan struct{} // the earliest due time may have changed

	mu         sync.Mutex // guards the following, and the life of every loop
	dueTimes   dueTimes
	concurrent []*loop            // running scrapes that began less than slowScrape ago, oldest first
	hosts      map[string][]*loop // host:port of each running scrape -> loops that are queued behind it
	running    sync.WaitGroup
}

// To save memory, at most maxConcurrentScrapes scrapes run that began less than slowScrape ago. Older ones do not
// count. Up to maxSmallScrapes run if their last pages had at most smallPages samples together: with two small pages on
// their way, the process would sleep and wake for each. For example, eight pages of 300 samples, two of 2,000. A scrape
// that has waited for maxWait after its due time starts anyway: two waves (waveLength in waves.go), that is, 100 ms.
const (
	maxConcurrentScrapes = 2 // not a hard limit: slow scrapes do not count; pageMemory limits the memory of all
	maxSmallScrapes      = 8
	smallPages           = 2_500 // samples
	slowScrape           = 5 * time.Millisecond
	maxWait              = 2 * waveLength
)

func newSchedule(m *metrics, log *zap.Logger, ended func(l *loop)) *schedule {
	return &schedule{metrics: m, log: log, ended: ended, wake: make(chan struct{}, 1), hosts: map[string][]*loop{}}
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
	s.setDue(l, l.life.due != before)
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
func (s *schedule) setDue(l *loop, changed bool) {
	waits := l.life.state == stateIdle || l.life.state == stateDeparting
	switch {
	case !waits && l.heapIndex >= 0:
		s.dueTimes.remove(l)
	case waits && (l.heapIndex < 0 || changed):
		s.dueTimes.set(l)
	}
	if waits && l.heapIndex == 0 {
		s.poke()
	}
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
		if by := clock.step(now.Round(0), now.Sub(began)); by != 0 {
			s.log.Warn("the clock was set: timestamps follow it; "+
				"samples that are not newer than those before are dropped and counted", zap.Duration("by", by))
		}
		timer.Reset(s.runDue(ctx))
		select {
		case <-ctx.Done():
			s.running.Wait()
			return
		case <-timer.C:
		case <-s.wake:
		}
	}
}

// runDue has every loop go on whose due time has come, and returns how long it is until the next.
func (s *schedule) runDue(ctx context.Context) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.dueTimes.entries) > 0 && ctx.Err() == nil {
		l := s.dueTimes.entries[0].l
		now := time.Now()
		wait := max(l.life.due.Sub(now), min(s.untilSlot(l, now), l.life.due.Add(maxWait).Sub(now)))
		if wait > 0 {
			return wait
		}
		s.apply(l, event{kind: eventDue}, now)
		if l.life.state != stateQueued {
			continue
		}
		host := l.target.hostPort
		if queued, busy := s.hosts[host]; busy {
			s.hosts[host] = append(queued, l)
		} else {
			s.tryScrape(ctx, l, now)
		}
	}
	return time.Hour
}

// untilSlot returns how long until a slot is free for a loop, even if no scrape ends: a running scrape stops counting
// after slowScrape. 0: a slot is free.
func (s *schedule) untilSlot(next *loop, now time.Time) time.Duration {
	for len(s.concurrent) > 0 && now.Sub(s.concurrent[0].life.began) >= slowScrape {
		s.concurrent = slices.Delete(s.concurrent, 0, 1)
	}
	n, most := len(s.concurrent), maxConcurrentScrapes
	if s.areSmall(next) {
		most = maxSmallScrapes
	}
	if n < most {
		return 0
	}
	return s.concurrent[n-most].life.began.Add(slowScrape).Sub(now)
}

// areSmall reports whether the pages of a loop and of the running scrapes are small, as far as is known.
func (s *schedule) areSmall(next *loop) bool {
	samples := next.pageSamples
	for _, l := range s.concurrent {
		if samples += l.pageSamples; l.pageSamples == 0 {
			return false
		}
	}
	return next.pageSamples > 0 && samples <= smallPages
}

// tryScrape begins the scrape of a loop whose host is free, in a goroutine of its own. It returns false if the loop has
// left the queue, or leaves it now.
func (s *schedule) tryScrape(ctx context.Context, l *loop, now time.Time) bool {
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
	s.running.Go(func() {
		l.scrape(ctx, l.pool.targetLimitError())
		s.metrics.running.Dec()
		s.finish(ctx, l)
	})
	return true
}

// finish has a loop go on after its scrape, and begins the scrape of the next loop that waits for its host.
func (s *schedule) finish(ctx context.Context, l *loop) {
	l.mu.Lock()
	samples := 0
	if l.status.health == HealthUp {
		samples = l.status.counts.Scraped
	}
	l.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.concurrent = slices.DeleteFunc(s.concurrent, func(other *loop) bool { return other == l })
	l.pageSamples = samples
	host := l.target.hostPort
	queued := s.hosts[host]
	delete(s.hosts, host)
	s.apply(l, event{kind: eventFinish, turns: l.pace.turns()}, now)
	for i, next := range queued {
		if ctx.Err() == nil && s.tryScrape(ctx, next, now) {
			s.hosts[host] = queued[i+1:]
			break
		}
	}
	s.poke() // another scrape may begin
}
