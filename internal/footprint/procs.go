package footprint

import (
	"context"
	"os"
	"runtime"
	"time"

	"go.uber.org/zap"
)

// RunProcs lets Go code run on one processor while one is enough, and on all that the process may use while it is
// not, until ctx ends. Whenever work comes up, Go's scheduler wakes a thread for every idle processor to help with
// it; for work of some milliseconds, every fifty, the waking costs as much as the work. GOMAXPROCS in the
// environment has the last word.
func RunProcs(ctx context.Context, log *zap.Logger) error {
	if _, asked := os.LookupEnv("GOMAXPROCS"); asked || runtime.GOMAXPROCS(0) == 1 {
		return nil
	}
	used, known := cpuTime()
	if !known {
		return nil
	}
	tick := time.NewTicker(procsTick)
	defer tick.Stop()
	p := procs{many: true}
	at := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		nowUsed, _ := cpuTime()
		now := time.Now()
		if load := float64(nowUsed-used) / float64(now.Sub(at)); p.decide(load) {
			if p.many {
				runtime.SetDefaultGOMAXPROCS()
			} else {
				runtime.GOMAXPROCS(1)
			}
			log.Debug("processors for Go code", zap.Int("processors", runtime.GOMAXPROCS(0)), zap.Float64("used", load))
		}
		used, at = nowUsed, now
	}
}

const (
	procsTick  = 5 * time.Second
	muchLoad   = 0.6 // of one processor: more may be needed
	littleLoad = 0.3
	calmTicks  = 3 // so many in a row with little load before one processor is enough
)

// procs decides whether many processors are needed.
type procs struct {
	many bool
	calm int // ticks with little load
}

// decide takes the load of one tick, in processors, and tells whether many changed.
func (p *procs) decide(load float64) (changed bool) {
	before := p.many
	if p.calm++; load >= littleLoad {
		p.calm = 0
	}
	switch {
	case load > muchLoad:
		p.many = true
	case p.calm >= calmTicks:
		p.many = false
	}
	return p.many != before
}
