package cost

import (
	"runtime"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

const (
	// maxWork is about how many steps a report makes before it gives the table's lock back. A step is a series or a
	// label; a series with more labels than that is looked at in one go.
	maxWork = 1024
	// chunkLines is how many lines are collected before the lock is taken for them.
	chunkLines = 512
)

// tableReader reads the table of series in slices, so that scrapes never wait for a report.
type tableReader struct {
	table    *series.Table
	mostWork int           // the most steps under one hold of the lock
	longest  time.Duration // the longest hold of the lock
}

// sizes returns the lengths that arrays by Symbol and by StemID need for the series that are there now. Arrays are
// made without the lock.
func (r *tableReader) sizes() (symbols, stems int) {
	r.read(func(v series.View) int {
		symbols, stems = v.Symbols(), v.Stems()
		return 1
	})
	return symbols, stems
}

// read calls look under the table's lock. look returns how many steps it made, about maxWork at most. Afterwards
// goroutines that wait for a processor run first.
func (r *tableReader) read(look func(v series.View) (steps int)) {
	r.table.Read(func(v series.View) {
		began := time.Now()
		steps := look(v)
		r.longest = max(r.longest, time.Since(began))
		r.mostWork = max(r.mostWork, steps)
	})
	runtime.Gosched()
}
