package simulate

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"sync"
	"time"
)

// Trace is what the world saw, a line for each event, with its time in nanoseconds. Two runs of one seed have the same
// trace. It keeps a checksum, and the lines only if somebody wants them.
type Trace struct {
	start time.Time
	keep  bool
	watch func(line string) // nil: nobody watches

	mu    sync.Mutex // guards the following
	sum   hash.Hash
	lines []string
	count int
}

func newTrace(o Options) *Trace {
	return &Trace{start: time.Now(), keep: o.KeepTrace, watch: o.Watch, sum: sha256.New()}
}

func (t *Trace) add(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	line := fmt.Sprintf("%d ", time.Since(t.start)) + fmt.Sprintf(format, args...)
	_, _ = t.sum.Write([]byte(line + "\n"))
	t.count++
	if t.watch != nil {
		t.watch(line)
	}
	if t.keep {
		t.lines = append(t.lines, line)
	}
}

// Sum returns the checksum of all lines.
func (t *Trace) Sum() string { return hex.EncodeToString(t.sum.Sum(nil)[:8]) }

// Lines returns the lines, if they were kept.
func (t *Trace) Lines() []string { return t.lines }
