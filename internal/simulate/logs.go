package simulate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logs keeps the first errors that agents log, with their fields. A week of messages is too long to keep.
type logs struct {
	mu     sync.Mutex // guards errors
	errors []string
}

// logger returns a logger whose errors are kept here.
func (l *logs) logger() *zap.Logger { return zap.New(&logCore{logs: l}) }

// logCore is a zapcore.Core that keeps errors.
type logCore struct {
	*logs
	fields []zapcore.Field
}

func (c *logCore) Enabled(level zapcore.Level) bool { return level >= zapcore.InfoLevel }

func (c *logCore) With(fields []zapcore.Field) zapcore.Core {
	return &logCore{c.logs, append(c.fields[:len(c.fields):len(c.fields)], fields...)}
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
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.Level >= zapcore.ErrorLevel && len(c.errors) < maxErrors {
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
