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

// trace is what the world saw: a line for each event. Two runs of one seed have the same trace. It keeps a checksum,
// and the lines only if keep is set.
//
// The runtime decides which of two goroutines that are ready runs first, and no seed controls that. So two requests of
// one instant may change places, and with them a few nanoseconds. The trace has a form that does not show it: events
// with less than a millisecond between them are a group, whose lines are sorted, under a time in hundredths of a
// second.
type trace struct {
	start time.Time
	keep  bool
	watch func(line string) // nil: not called

	mu    sync.Mutex // guards the following
	group []string
	began time.Duration // of the group
	last  time.Duration // time of the latest event, since start
	sum   hash.Hash
	lines []string
}

const (
	together = time.Millisecond      // events closer than this form a group
	rounding = 10 * time.Millisecond // precision of a group's time
)

func newTrace(o options) *trace {
	return &trace{start: time.Now(), keep: o.KeepTrace, watch: o.Watch, sum: sha256.New()}
}

func (t *trace) add(format string, args ...any) {
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
func (t *trace) flush() {
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
func (t *trace) Sum() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flush()
	return hex.EncodeToString(t.sum.Sum(nil)[:8])
}

// Lines returns the lines, if they were kept.
func (t *trace) Lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flush()
	return t.lines
}
