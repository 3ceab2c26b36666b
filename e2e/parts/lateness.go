package parts

import (
	"sync"
	"time"
)

// Lateness is how late timers fire on this machine between MeasureLateness and End. Tests add it to their time limits,
// because a busy machine may take that much longer than an idle one.
type Lateness struct {
	Worst time.Duration // the latest timer
	Total time.Duration // sum over all timers

	stop chan struct{}
	done sync.WaitGroup
}

const (
	latenessStep = 10 * time.Millisecond
	usualLate    = latenessStep // the latest that a timer fires on an idle machine
)

// MeasureLateness starts the measurement. The figures may be read only after End.
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

// End ends the measurement. Calling it again has no effect.
func (l *Lateness) End() {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.done.Wait()
}
