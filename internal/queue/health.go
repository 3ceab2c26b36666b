package queue

import (
	"time"

	"go.uber.org/zap"
)

// call is a kind of call of the file system.
type call int

const (
	writing      call = iota
	syncing           // of segments
	syncingNames      // of the directory and of positions
	removing
	positioning
	reading
	calls
)

func (c call) String() string {
	return [...]string{
		"write segment", "sync segment", "sync directory or position", "remove segment", "write position",
		"read segment",
	}[c]
}

// logInterval is the least time between two log lines about failures of one kind, so that calls that fail and work in
// turn do not fill the log.
const logInterval = time.Minute

// health records which kinds of calls fail at present. It logs a line when a kind begins to fail, and one when it works
// again. Guarded by FIFO.mu.
type health struct {
	log   *zap.Logger
	kinds [calls]kindHealth
}

type kindHealth struct {
	err     error // of the last call; nil: it works
	since   time.Time
	logged  bool
	nextLog time.Time
}

func (h *health) fails(c call, err error, fields ...zap.Field) {
	k, now := &h.kinds[c], time.Now()
	if k.err == nil {
		k.since = now
	}
	k.err = err
	if !k.logged && !now.Before(k.nextLog) {
		k.logged, k.nextLog = true, now.Add(logInterval)
		h.log.Error(c.String()+" fails", append(fields, zap.Error(err))...)
	}
}

func (h *health) works(c call) {
	k := &h.kinds[c]
	if k.logged {
		h.log.Info(c.String()+" works again", zap.Duration("after", time.Since(k.since)))
	}
	k.err, k.logged = nil, false
}

func (h *health) failing(c call) bool { return h.kinds[c].err != nil }

// storageError returns the error of calls that keep samples safe on disk and the disk within its limit, or nil if they
// all work.
func (h *health) storageError() error {
	for _, c := range []call{writing, syncing, syncingNames, removing} {
		if err := h.kinds[c].err; err != nil {
			return err
		}
	}
	return nil
}
