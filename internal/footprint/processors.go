package footprint

import (
	"context"
	"os"
	"runtime"
	"time"
)

// RunProcessors sets GOMAXPROCS until ctx ends: to 1 while the process uses little CPU, else to Go's default. It does
// nothing if GOMAXPROCS is in the environment, or where the CPU time of the process is not known.
//
// Reason: when a goroutine becomes runnable, Go's scheduler wakes a thread for each idle processor, to look for work.
// The scrapes of one second take some milliseconds of CPU, and waking the threads costs a tenth of that
// (docs/decisions/0035-processors-by-load.md).
func RunProcessors(ctx context.Context) error {
	before, known := cpuTime()
	if _, set := os.LookupEnv("GOMAXPROCS"); set || !known || runtime.GOMAXPROCS(0) == 1 {
		return nil
	}
	tick := time.NewTicker(loadInterval)
	defer tick.Stop()
	var one oneProcessor
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now, _ := cpuTime()
		was := one.enough
		if one.observe(float64(now-before) / float64(loadInterval)); one.enough && !was {
			runtime.GOMAXPROCS(1)
		} else if was && !one.enough {
			runtime.SetDefaultGOMAXPROCS()
		}
		before = now
	}
}

const (
	loadInterval   = 5 * time.Second
	highLoad       = 0.6 // of one processor
	lowLoad        = 0.3
	lowLoadsNeeded = 3
)

// oneProcessor decides whether one processor is enough: after three loads below 0.3 in a row, until a load above 0.6.
type oneProcessor struct {
	enough   bool
	lowLoads int // in a row
}

// observe takes the load of an interval: CPU seconds per second.
func (p *oneProcessor) observe(load float64) {
	if p.lowLoads++; load >= lowLoad {
		p.lowLoads = 0
	}
	p.enough = load <= highLoad && (p.enough || p.lowLoads >= lowLoadsNeeded)
}
