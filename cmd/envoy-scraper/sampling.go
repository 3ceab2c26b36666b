package main

import (
	"sync"
	"time"

	"go.uber.org/zap/zapcore"
)

// sampling writes, of the entries with the same level and message, the first 100 of a second and then every hundredth.
//
// It does what zap's sampler does with a count for each message that was logged, instead of 448 KiB of counts for all
// that could be.
type sampling struct {
	zapcore.Core
	counts *messageCounts
}

const (
	sampleEvery = 100
	sampleTick  = time.Second
	// maxMessages is for how many messages there are counts. Behind it all counts begin again.
	maxMessages = 1000
)

// messageCounts counts the entries of each message.
type messageCounts struct {
	mu        sync.Mutex // guards the following
	byMessage map[sampledMessage]*messageCount
}

type sampledMessage struct {
	level zapcore.Level
	text  string
}

type messageCount struct {
	until time.Time // then it begins again
	n     int
}

func newSampling(c zapcore.Core) zapcore.Core {
	return sampling{c, &messageCounts{byMessage: map[sampledMessage]*messageCount{}}}
}

// With implements zapcore.Core.
func (s sampling) With(fields []zapcore.Field) zapcore.Core {
	return sampling{s.Core.With(fields), s.counts}
}

// Check implements zapcore.Core.
func (s sampling) Check(e zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !s.Enabled(e.Level) || !s.counts.take(e) {
		return to
	}
	return s.Core.Check(e, to)
}

// take counts an entry and reports whether it is written.
func (c *messageCounts) take(e zapcore.Entry) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := sampledMessage{e.Level, e.Message}
	count := c.byMessage[m]
	switch {
	case count == nil:
		if len(c.byMessage) >= maxMessages {
			clear(c.byMessage)
		}
		count = &messageCount{}
		c.byMessage[m] = count
		fallthrough
	case !e.Time.Before(count.until):
		*count = messageCount{until: e.Time.Add(sampleTick)}
	}
	count.n++
	return count.n <= sampleEvery || count.n%sampleEvery == 0
}
