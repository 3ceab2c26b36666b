package main

import (
	"log/slog"
	"math"
	"runtime"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"go.uber.org/zap"
	"go.uber.org/zap/exp/zapslog"
)

// limitMemory sets Go's memory limit to a share of the container's limit. Without pprof, nobody can read the profile of
// allocations, so it is off.
func limitMemory(ratio float64, pprof bool, log *zap.Logger) {
	if !pprof {
		runtime.MemProfileRate = 0
	}
	if ratio <= 0 {
		return
	}
	_, err := memlimit.Set(memlimit.WithRatio(ratio), memlimit.WithLogger(slog.New(zapslog.NewHandler(log.Core()))))
	if err != nil {
		log.Debug("the container has no memory limit that can be read", zap.Error(err))
	}
}

// scrapeMemory returns the memory for pages that are read concurrently: the flag's value, else a quarter of Go's memory
// limit, else 0.
func scrapeMemory(flag int64) int64 {
	limit := debug.SetMemoryLimit(-1) // a negative value only reads the limit
	if flag > 0 || limit == math.MaxInt64 {
		return flag
	}
	return limit / 4
}
