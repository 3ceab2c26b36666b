package main

import (
	"math"
	"runtime/debug"
	"testing"
)

func TestScrapeMemoryIsAQuarterOfTheLimit(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	for _, c := range []struct{ limit, asked, want int64 }{
		{400 << 20, 0, 100 << 20},
		{400 << 20, 8 << 20, 8 << 20},
		{math.MaxInt64, 0, 0},
		{math.MaxInt64, 8 << 20, 8 << 20},
	} {
		debug.SetMemoryLimit(c.limit)
		if got := scrapeMemory(c.asked); got != c.want {
			t.Errorf("%d asked for under a limit of %d: %d, want %d", c.asked, c.limit, got, c.want)
		}
	}
}
