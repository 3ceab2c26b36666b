package remotewrite

import (
	"math"
	"time"

	"go.uber.org/zap"
)

const (
	growthCheck = 15 * time.Second
	busyLanes   = 0.8  // share of the time in which lanes wait for answers, from which on there are too few
	spareLanes  = 1.25 // of what is needed to keep up: what waits has to go, too
)

// growth decides when an endpoint needs more lanes: when those it has wait for answers nearly all the time, and still
// more comes than they carry.
type growth struct {
	lanes int
	at    time.Time
	load
}

// load is what an endpoint has to do with its lanes, and does.
type load struct {
	waited  time.Duration // for answers to requests that were accepted, over all lanes, since the start
	taken   int           // samples of these requests
	waiting int           // samples
}

// next tells how many lanes there should be, at most so many, now that the load is so. It asks for all that are needed
// at once: lanes that are added later have to wait for those of now to drain.
func (g *growth) next(now time.Time, lanes, most int, is load, full int) int {
	before := *g
	*g = growth{lanes: lanes, at: now, load: is}
	if before.lanes != lanes {
		return lanes // the first look at them
	}
	time := now.Sub(before.at).Seconds() * float64(lanes)
	busy := (is.waited - before.waited).Seconds() >= busyLanes*time
	more, taken := is.waiting-before.waiting, is.taken-before.taken
	if !busy || more <= 0 || is.waiting <= full {
		return lanes
	}
	want := 2 * lanes
	if taken > 0 {
		share := float64(more+taken) / float64(taken) // of what came, to what went
		want = max(want, int(min(float64(most), math.Ceil(spareLanes*share*float64(lanes)))))
	}
	return min(want, max(lanes, most))
}

// outgrown tells how many lanes the endpoint should have.
func (e *endpoint) outgrown(g *growth) int {
	s := e.settings.Load()
	lanes := len(e.all())
	is := load{waited: time.Duration(e.waited.Load()), taken: int(e.taken.Load()), waiting: e.queue.Stats().Samples}
	return g.next(time.Now(), lanes, s.maxLanes(), is, lanes*s.QueueConfig.MaxSamplesPerSend)
}

// resize gives the endpoint so many lanes, and returns the new ones, which have no sender yet. What is queued is
// delivered before what comes from now on, so the order of each series stays whichever lane it had.
func (e *endpoint) resize(n int) (fresh []*lane) {
	e.shape.Lock()
	defer e.shape.Unlock()
	old := e.all()
	if n == len(old) {
		return nil
	}
	e.log.Info("remote write lanes", zap.Int("from", len(old)), zap.Int("to", n))
	for _, l := range old {
		l.mu.Lock()
		l.seal(e)
		l.mu.Unlock()
	}
	e.queue.Resize(n)
	lanes := make([]*lane, n)
	for i := range lanes {
		if i < len(old) {
			lanes[i] = old[i]
		} else {
			lanes[i] = newLane(i)
			lanes[i].before = e.former[i]
			fresh = append(fresh, lanes[i])
		}
	}
	for _, l := range old[min(n, len(old)):] {
		l.gone.Store(true)
		l.notify()
		if e.former == nil {
			e.former = map[int]<-chan struct{}{}
		}
		e.former[l.index] = l.ended
	}
	e.lanes.Store(&lanes)
	e.spread(old)
	return fresh
}

// spread moves what the old lanes remember of targets and series to the lanes that have these now.
func (e *endpoint) spread(old []*lane) {
	histories, classic := make([]history, len(old)), make([]classics, len(old))
	for i, l := range old {
		l.mu.Lock()
		histories[i], l.sent = l.sent, history{}
		classic[i], l.classics = l.classics, classics{}
		l.mu.Unlock()
	}
	for _, c := range classic {
		for key, b := range c.known {
			l := e.laneOf(key.target)
			l.mu.Lock()
			l.classics.keep(key, b)
			l.mu.Unlock()
		}
	}
	for _, h := range histories {
		for hash, t := range h.targets {
			t.request = 0 // was sealed
			l := e.laneOf(hash)
			l.mu.Lock()
			l.sent.keep(hash, t)
			l.mu.Unlock()
		}
		for hash, s := range h.loose {
			s.request = 0
			l := e.laneOf(hash)
			l.mu.Lock()
			l.sent.keepLoose(hash, s)
			l.mu.Unlock()
		}
	}
}
