package queue

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// Config bounds the queue of one endpoint, and says whom it tells what.
type Config struct {
	// MaxBytes on disk: when it is exceeded, the oldest segments go. Of a queue in memory: at most this much, and
	// never more than 64 MiB.
	MaxBytes int64
	// MaxMemory is for requests of which the disk has everything (kept, so that they need not be read) or nothing
	// yet; four times of it while the disk is only slow. Requests open or in flight are kept in any case.
	MaxMemory int64
	// MaxAge drops segments whose newest sample is older; 0: none is too old.
	MaxAge time.Duration
	// FsyncInterval bounds what a power cut takes; 0: sync after each write.
	FsyncInterval time.Duration

	// Lost is told what is lost outside Append and Close; for a queue on disk, of all that is.
	Lost func(Reason, Loss) `yaml:"-"`
	// Wake is called when Next, which gave nothing, may give something without an Append or a Seal; -1: of any lane.
	Wake func(lane int) `yaml:"-"`
	// Alloc gives an empty slice with room for n bytes of a record that is read from disk; nil: make.
	Alloc func(n int) []byte `yaml:"-"`
	// Free takes the data of records that are no longer in memory and were not given to a reader. It is called
	// with the queue locked.
	Free func([]byte) `yaml:"-"`
	// Log may be nil.
	Log *zap.Logger `yaml:"-"`

	segment int64 // tests: the size of a segment
}

// DefaultConfig is the only place where the queue's defaults are written down.
func DefaultConfig() Config {
	return Config{MaxBytes: 1 << 30, MaxMemory: 16 << 20, MaxAge: 7 * 24 * time.Hour, FsyncInterval: time.Second}
}

const (
	maxMemoryOnly   = 64 << 20 // of a queue without a disk
	minSegmentBytes = 64 << 10
	maxSegmentBytes = 16 << 20
	minMemoryBytes  = 1 << 20 // a few requests: with less, what waits a moment is read back, and a failing disk loses at once
)

// FieldError is a value that a field of Config cannot have.
type FieldError struct{ Key, Value, Why string } // Key as in a configuration file

func (e *FieldError) Error() string { return fmt.Sprintf("%s: %s: %s", e.Key, e.Value, e.Why) }

// Validate reports every problem at once, each a *FieldError.
func (c Config) Validate() error {
	errs := c.impossible()
	if c.MaxMemory < minMemoryBytes {
		errs = append(errs, &FieldError{"max_memory", fmt.Sprint(c.MaxMemory), fmt.Sprintf("less than a few requests take, %d bytes", minMemoryBytes)})
	}
	return errors.Join(errs...)
}

// impossible are the values that a queue cannot run with at all; what is merely unwise is for Validate.
func (c Config) impossible() (errs []error) {
	bad := func(is bool, key string, value any, why string) {
		if is {
			errs = append(errs, &FieldError{key, fmt.Sprint(value), why})
		}
	}
	bad(c.MaxBytes < minSegmentBytes, "max_bytes", c.MaxBytes, fmt.Sprintf("less than one segment, %d bytes", minSegmentBytes))
	bad(c.MaxAge < 0, "max_age", c.MaxAge, "negative")
	bad(c.FsyncInterval < 0, "fsync_interval", c.FsyncInterval, "negative")
	return errs
}

// segmentBytes is when the next request begins a new segment.
func (c Config) segmentBytes() int64 {
	if c.segment > 0 {
		return c.segment
	}
	return max(minSegmentBytes, min(maxSegmentBytes, c.MaxBytes/64))
}
