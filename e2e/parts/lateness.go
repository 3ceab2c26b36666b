package parts

import (
	"sync"
	"time"
)

// Lateness is by how much this machine is late with what is due, from MeasureLateness to End: what a busy machine may take
// longer than an idle one for the same.
type Lateness struct {
	Worst time.Duration // of one wait of a hundredth of a second
	Total time.Duration // of all of them

	stop chan struct{}
	done sync.WaitGroup
}

const (
	latenessStep = 10 * time.Millisecond
	usualLate    = latenessStep // of a timer on an idle machine, at most
)

// MeasureLateness begins to measure. End must be called; only then the figures may be read.
func MeasureLateness() *Lateness {
	l := &Lateness{stop: make(chan struct{})}
	l.done.Go(func() {
		tick := time.NewTimer(latenessStep)
		defer tick.Stop()
		for begin := time.Now(); ; begin = time.Now() {
			select {
			case <-l.stop:
				return
			case <-tick.C:
			}
			late := max(0, time.Since(begin)-latenessStep-usualLate)
			l.Total += late
			l.Worst = max(l.Worst, late)
			tick.Reset(latenessStep)
		}
	})
	return l
}

// End ends the measurement. A second one does nothing.
func (l *Lateness) End() {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.done.Wait()
}
