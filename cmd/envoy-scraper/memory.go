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

// limitMemory lets Go's collector work within a share of the container's limit. Without pprof nobody can ask for the
// profile of allocations, so none is gathered.
func limitMemory(ratio float64, pprof bool, log *zap.Logger) {
	if !pprof {
		runtime.MemProfileRate = 0
	}
	if ratio <= 0 {
		return
	}
	_, err := memlimit.Set(memlimit.WithRatio(ratio), memlimit.WithLogger(slog.New(zapslog.NewHandler(log.Core()))))
	if err != nil {
		log.Debug("no memory limit taken from the container", zap.Error(err))
	}
}

// scrapeMemory returns the memory for pages that are being read, where the command line says nothing: a quarter of the
// limit that Go's collector works within. 0: there is no limit.
func scrapeMemory(asked int64) int64 {
	limit := debug.SetMemoryLimit(-1) // changes nothing
	if asked > 0 || limit == math.MaxInt64 {
		return asked
	}
	return limit / 4
}
