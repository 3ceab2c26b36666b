// Package footprint gives back memory that the process needed only for a while. Starting runs the init functions
// of every library that is linked in (Kubernetes' API types, three clouds' authentication) and learning a mesh
// makes garbage; without help both stay resident for as long as the process lives. Likewise, more than one
// processor is needed while a mesh is learned, and seldom afterwards.
package footprint

import (
	"context"
	"runtime/debug"
	"time"

	"go.uber.org/zap"
)

const (
	settled = 20 * time.Second // after the start: informers have listed, most targets were scraped for the first time
	period  = 5 * time.Minute
)

// Run gives memory back once the start is over, and what came to be unused of the program's file every few minutes
// from then on, until ctx ends. What is given back too early costs a minor fault to have again.
func Run(ctx context.Context, log *zap.Logger) error {
	timer := time.NewTimer(settled)
	defer timer.Stop()
	for first := true; ; first = false {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		if first {
			debug.FreeOSMemory()
		}
		if err := dropProgram(); err != nil {
			log.Debug("the program's file stays resident", zap.Error(err))
			return nil
		}
		timer.Reset(period)
	}
}
