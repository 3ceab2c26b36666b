package simulate

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"sync"
	"time"
)

// Trace is what the world saw: a line for each event. Two runs of one seed have the same trace. It keeps a checksum,
// and the lines only if somebody wants them.
//
// The runtime decides which of two goroutines that are ready runs first, and no seed controls that. So two requests of
// one instant may change places, and with them a few nanoseconds. The trace has a form that does not show it: events
// with less than a millisecond between them are a group, whose lines are sorted, under a time in hundredths of a
// second.
type Trace struct {
	start time.Time
	keep  bool
	watch func(line string) // nil: nobody watches

	mu    sync.Mutex // guards the following
	group []string
	began time.Duration // of the group
	last  time.Duration // the last line of the group
	sum   hash.Hash
	lines []string
}

const (
	together = time.Millisecond
	rounding = 10 * time.Millisecond
)

func newTrace(o Options) *Trace {
	return &Trace{start: time.Now(), keep: o.KeepTrace, watch: o.Watch, sum: sha256.New()}
}

func (t *Trace) add(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	line, at := fmt.Sprintf(format, args...), time.Since(t.start)
	if t.watch != nil {
		t.watch(fmt.Sprint(at, " ", line))
	}
	if at > t.last+together {
		t.flush()
		t.began = at
	}
	t.group, t.last = append(t.group, line), at
}

// flush ends the group.
func (t *Trace) flush() {
	slices.Sort(t.group)
	for _, line := range t.group {
		line = fmt.Sprint(t.began.Round(rounding), " ", line)
		_, _ = t.sum.Write([]byte(line + "\n"))
		if t.keep {
			t.lines = append(t.lines, line)
		}
	}
	t.group = t.group[:0]
}

// Sum returns the checksum of all lines.
func (t *Trace) Sum() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flush()
	return hex.EncodeToString(t.sum.Sum(nil)[:8])
}

// Lines returns the lines, if they were kept.
func (t *Trace) Lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flush()
	return t.lines
}
