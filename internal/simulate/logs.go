package simulate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logs counts the lines that agents log, by message, and keeps the first errors with their fields. A week of lines is
// too long to keep; messages are few, since what varies is in the fields.
type logs struct {
	mu     sync.Mutex // guards the following
	lines  map[string]int
	failed map[string]int // those of level error
	errors []string
}

// logger returns the logger of a process. Its lines are counted here until the process is killed.
func (l *logs) logger(killed *atomic.Bool) *zap.Logger {
	return zap.New(&logCore{logs: l, killed: killed})
}

// messages returns how often each message was logged, and how often each at level error.
func (l *logs) messages() (all, failed map[string]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.lines), maps.Clone(l.failed)
}

// logCore is a zapcore.Core that counts lines and keeps errors.
type logCore struct {
	*logs
	killed *atomic.Bool // the process logs no more, though its goroutines have not ended
	fields []zapcore.Field
}

func (c *logCore) Enabled(level zapcore.Level) bool { return level >= zapcore.InfoLevel }

func (c *logCore) With(fields []zapcore.Field) zapcore.Core {
	return &logCore{c.logs, c.killed, append(c.fields[:len(c.fields):len(c.fields)], fields...)}
}

func (c *logCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// maxErrors is enough to see what agents complained of.
const maxErrors = 50

func (c *logCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	if c.killed.Load() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lines == nil {
		c.lines, c.failed = map[string]int{}, map[string]int{}
	}
	c.lines[e.Message]++
	if e.Level < zapcore.ErrorLevel {
		return nil
	}
	c.failed[e.Message]++
	if len(c.errors) < maxErrors {
		enc := zapcore.NewMapObjectEncoder()
		for _, f := range append(c.fields[:len(c.fields):len(c.fields)], fields...) {
			f.AddTo(enc)
		}
		c.errors = append(c.errors, e.Time.UTC().Format("02 15:04:05.000 ")+e.Message+" "+fieldText(enc.Fields))
	}
	return nil
}

func (c *logCore) Sync() error { return nil }

// fieldText returns the fields of a message, sorted by name: "endpoint=a error=refused ".
func fieldText(fields map[string]any) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		fmt.Fprintf(&b, "%s=%v ", name, fields[name])
	}
	return b.String()
}
