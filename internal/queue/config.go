package queue

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

// Config has the limits of the queue of one endpoint, and the functions that it calls.
type Config struct {
	// MaxBytes limits the bytes on disk: when they exceed it, the oldest segments are dropped. A queue in memory holds
	// at most MaxBytes, and never more than 64 MiB.
	MaxBytes int64
	// MaxMemory limits the memory for the data of two kinds of requests: those that are written completely but kept for
	// speed, and those that are not written yet. A layout counts once in a lane. The limit is four times as high
	// while the disk is only slow. Open requests and those in flight are kept in any case. A lane also has about 200
	// bytes for each of up to 8,192 requests that wait.
	MaxMemory int64
	// MaxAge is the age at which whole segments are dropped, counted from their newest sample. Older samples beside
	// newer ones stay. 0: never.
	MaxAge time.Duration
	// FsyncInterval limits what a power cut takes: the records of that time. 0: sync after each write.
	FsyncInterval time.Duration

	// A queue in memory calls Lost with the losses that neither Append nor Close returns. A queue on disk calls it with
	// all losses except those that Close returns.
	Lost func(Reason, Loss) `yaml:"-"`
	// Wake is called when Next may return a request after it returned none, without an Append or a Seal; -1: of any
	// lane.
	Wake func(lane int) `yaml:"-"`
	// Alloc returns an empty slice with capacity for n bytes of a record that is read from disk; nil: make.
	Alloc func(n int) []byte `yaml:"-"`
	// Free receives the data of records that left memory without having been returned by Next. It is called with the
	// queue locked.
	Free func([]byte) `yaml:"-"`
	// Log may be nil.
	Log *zap.Logger `yaml:"-"`

	segment  int64 // tests: the size of a segment
	requests int   // tests: maxRequests
}

// DefaultConfig returns the defaults of the program. The Helm chart has its own: queue in its values.yaml, and
// templates/_size.tpl.
func DefaultConfig() Config {
	return Config{MaxBytes: 1 << 30, MaxMemory: 16 << 20, MaxAge: 7 * 24 * time.Hour, FsyncInterval: time.Second}
}

const (
	maxMemoryOnly   = 64 << 20 // of a queue without a disk
	minSegmentBytes = 64 << 10
	maxSegmentBytes = 16 << 20 // where a segment ends at the latest; a file may be one request longer
	layoutsGrow     = 4        // how many times larger a segment with many layouts may become
	minMemoryBytes  = 1 << 20  // a few requests: with less, each is read back, and a failing disk loses samples at once
)

// FieldError is a value that a field of Config cannot have.
type FieldError struct{ Key, Value, Why string } // Key as in a configuration file

func (e *FieldError) Error() string { return fmt.Sprintf("%s: %s: %s", e.Key, e.Value, e.Why) }

// Validate reports every problem at once, each a *FieldError.
func (c Config) Validate() error {
	errs := c.impossible()
	if c.MaxMemory < minMemoryBytes {
		why := fmt.Sprintf("less than a few requests take, %d bytes", minMemoryBytes)
		errs = append(errs, &FieldError{"max_memory", fmt.Sprint(c.MaxMemory), why})
	}
	return errors.Join(errs...)
}

// impossible returns the fields with which a queue cannot run at all. Validate also rejects unwise ones.
func (c Config) impossible() (errs []error) {
	bad := func(is bool, key string, value any, why string) {
		if is {
			errs = append(errs, &FieldError{key, fmt.Sprint(value), why})
		}
	}
	tooSmall := fmt.Sprintf("less than one segment, %d bytes", minSegmentBytes)
	bad(c.MaxBytes < minSegmentBytes, "max_bytes", c.MaxBytes, tooSmall)
	bad(c.MaxAge < 0, "max_age", c.MaxAge, "negative")
	bad(c.FsyncInterval < 0, "fsync_interval", c.FsyncInterval, "negative")
	return errs
}

// segmentBytes returns the size from which on a segment gets no further request: the next one begins a new file. A
// segment with many layouts ends at most bytes instead, so that more records use each of them.
func (c Config) segmentBytes() (size, most int64) {
	if c.segment > 0 {
		return c.segment, c.segment
	}
	size = max(minSegmentBytes, min(maxSegmentBytes, c.MaxBytes/64))
	return size, max(size, min(layoutsGrow*maxSegmentBytes, c.MaxBytes/64*layoutsGrow))
}
