package pack

import (
	"maps"

	"go.uber.org/zap"
)

// Resize changes the number of lanes. It returns the new lanes, which have no sender yet. Queued samples are
// delivered before those appended from now on, so each series stays in order even if its lane changes.
func (p *Packer) Resize(n int) (fresh []*Lane) {
	p.shape.Lock()
	defer p.shape.Unlock()
	old := p.Lanes()
	if n == len(old) {
		return nil
	}
	p.log.Info("remote write lanes", zap.Int("from", len(old)), zap.Int("to", n))
	p.queue.Resize(n)
	lanes := make([]*Lane, n)
	for i := range lanes {
		if i < len(old) {
			lanes[i] = old[i]
		} else {
			lanes[i] = newLane(&p.outlet, i)
			lanes[i].before = p.former[i]
			fresh = append(fresh, lanes[i])
		}
	}
	maps.DeleteFunc(p.former, func(_ int, ended <-chan struct{}) bool { return isClosed(ended) })
	for _, l := range old[min(n, len(old)):] {
		l.gone.Store(true)
		l.notify()
		if p.former == nil {
			p.former = map[int]<-chan struct{}{}
		}
		p.former[l.index] = l.ended
	}
	p.lanes.Store(&lanes)
	p.spread(old)
	return fresh
}

// spread moves the histories of targets and series to the lanes that they have now.
func (p *Packer) spread(old []*Lane) {
	histories, classic := make([]history, len(old)), make([]classics, len(old))
	for i, l := range old {
		l.mu.Lock()
		histories[i], l.history = l.history, history{}
		classic[i], l.classics = l.classics, classics{}
		l.mu.Unlock()
	}
	for _, c := range classic {
		for key, b := range c.known {
			l := p.laneOf(key.target)
			l.mu.Lock()
			l.classics.keep(key, b)
			l.mu.Unlock()
		}
	}
	for _, h := range histories {
		routes := map[uint64]uint64{} // of the series with timestamps of their own, by the hash of their labels
		for hash, t := range h.targets {
			for _, s := range t.timed {
				routes[s.hash] = hash
			}
			l := p.laneOf(hash)
			l.mu.Lock()
			l.history.keep(hash, t)
			l.mu.Unlock()
		}
		for _, s := range h.unbound.all {
			route, ok := routes[s.hash]
			if !ok {
				route = s.hash
			}
			l := p.laneOf(route)
			l.mu.Lock()
			to := l.history.unbound.of(s.hash, s.used, s.home)
			to.newest = max(to.newest, s.newest)
			l.mu.Unlock()
		}
	}
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}
