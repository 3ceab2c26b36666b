package scrape

import "sync"

// releaser gives back what loops held: pages, series, connections. A large page takes too long for a caller that holds
// a lock, so the releaser works in a goroutine of its own, which ends when nothing is left. The zero value is ready.
type releaser struct {
	work sync.WaitGroup

	mu      sync.Mutex // guards the following
	waiting []func()
	running bool
}

// add has release called soon, after those that were added before.
func (r *releaser) add(release func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = append(r.waiting, release)
	if !r.running {
		r.running = true
		r.work.Go(r.run)
	}
}

// wait waits until nothing is left. No add may run meanwhile.
func (r *releaser) wait() { r.work.Wait() }

func (r *releaser) run() {
	for {
		r.mu.Lock()
		now := r.waiting
		r.waiting = nil
		r.running = len(now) > 0
		r.mu.Unlock()
		if len(now) == 0 {
			return
		}
		for _, release := range now {
			release()
		}
	}
}
