package deliver

import (
	"sync"
	"time"
)

const logInterval = time.Minute // between two log lines of one kind

// LogLimit lets one log line of each kind through per minute. It is safe for concurrent use. The zero value is ready.
type LogLimit struct {
	mu   sync.Mutex // guards the following
	last map[string]time.Time
}

// Allow reports whether a line of a kind may be logged now.
func (l *LogLimit) Allow(kind string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at, ok := l.last[kind]; ok && time.Since(at) < logInterval {
		return false
	}
	if l.last == nil {
		l.last = map[string]time.Time{}
	}
	l.last[kind] = time.Now()
	return true
}
