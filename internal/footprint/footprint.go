// Package footprint gives back memory that only the start needed. The init functions of the linked libraries
// (Kubernetes' API types, the authentication of three clouds) and the first scrape of every target leave garbage.
// Without help the Go runtime keeps that memory for a long time.
package footprint

import (
	"context"
	"runtime/debug"
	"time"
)

// startTime is how long the start takes: discovery has listed the pods and most targets were scraped once.
const startTime = 20 * time.Second

// Run waits until the start is over and then returns the free memory to the operating system, once.
func Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case <-time.After(startTime):
		debug.FreeOSMemory()
	}
	return nil
}
