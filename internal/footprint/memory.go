// Package footprint lowers what the Go runtime itself costs: memory that only the start needed (memory.go), and threads
// that look for work (processors.go).
package footprint

import (
	"context"
	"runtime/debug"
	"time"
)

// startTime is how long the start takes: discovery has listed the pods and most targets were scraped once.
const startTime = 20 * time.Second

// ReleaseMemory waits until the start is over and then returns the free memory to the operating system, once. The init
// functions of the linked libraries (Kubernetes' API types, the authentication of three clouds) and the first scrape of
// every target leave garbage, and the Go runtime would keep that memory for a long time.
func ReleaseMemory(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case <-time.After(startTime):
		debug.FreeOSMemory()
	}
	return nil
}
