package remotewrite

import (
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

const (
	historySweep = 10 * time.Minute
	historyIdle  = 3 * time.Hour
	maxHistory   = 1 << 20 // entries of one kind in a lane
)

// history is what a lane remembers of what it was given, so that nothing goes out that storage would refuse as
// out of order: the newest time of each target's label set, whose series all share it, and of each series that
// goes its own way (loose). Forgetting costs the check, nothing else. Guarded by the lane.
type history struct {
	targets map[uint64]*targetHistory // by the stable hash of the labels: ids are reused
	loose   map[uint64]looseHistory   // by the stable hash of the final labels
	swept   time.Time
}

type targetHistory struct {
	newest  int64
	request uint64 // number of the request that has it
	used    time.Time
	// timed are the series, by id and generation, that came with timestamps of their own: they stay loose for
	// good, so that a marker without one cannot overtake them in another lane. Usually nil.
	timed map[uint64]struct{}
	// each is the newest time of each series, by id and generation, once two targets that differ in nothing but
	// their address were seen to share the labels: their scrapes may end in another order than they began.
	// Series not in it are as old as since. Nil as long as every batch was newer than the one before.
	each  map[uint64]int64
	since int64
}

type looseHistory struct {
	newest  int64
	request uint64
	used    time.Time
}

// target returns the history of a target, new if need be.
func (h *history) target(hash uint64) *targetHistory {
	t := h.targets[hash]
	now := time.Now()
	if t == nil {
		h.sweep(now)
		if h.targets == nil {
			h.targets = map[uint64]*targetHistory{}
		}
		t = &targetHistory{newest: minTime}
		h.targets[hash] = t
	}
	t.used = now
	return t
}

// keep takes over what another lane remembered.
func (h *history) keep(hash uint64, t *targetHistory) {
	if h.targets == nil {
		h.targets = map[uint64]*targetHistory{}
	}
	h.targets[hash] = t
}

func (h *history) keepLoose(hash uint64, s looseHistory) {
	if h.loose == nil {
		h.loose = map[uint64]looseHistory{}
	}
	h.loose[hash] = s
}

// takes tells whether a sample is newer than the last one of its series, and remembers it where that is kept.
func (t *targetHistory) takes(v series.View, id series.ID, at int64) bool {
	if t.each == nil {
		return at > t.newest
	}
	key := idKey(v, id)
	last, ok := t.each[key]
	if !ok {
		last = t.since
	}
	if at <= last {
		return false
	}
	if len(t.each) >= maxHistory {
		clear(t.each)
		t.since = t.newest
	}
	t.each[key] = at
	return true
}

// batch notes that a batch is through; request is the number of the one that has its last sample.
func (t *targetHistory) batch(at int64, added bool, request uint64) {
	if at <= t.newest && t.each == nil {
		t.each, t.since = map[uint64]int64{}, t.newest
	}
	if added {
		t.newest, t.request = max(t.newest, at), request
	}
}

// minTime is older than every sample.
const minTime = -1 << 63

// series returns the history of a loose series; put stores it back.
func (h *history) series(hash uint64) looseHistory {
	if s, ok := h.loose[hash]; ok {
		return s
	}
	return looseHistory{newest: minTime}
}

func (h *history) put(hash uint64, s looseHistory) {
	s.used = time.Now()
	if h.loose == nil {
		h.loose = map[uint64]looseHistory{}
	}
	if len(h.loose) >= maxHistory {
		h.sweep(s.used)
	}
	h.loose[hash] = s
}

// sweep forgets what was idle, now and then; and everything when that is not enough.
func (h *history) sweep(now time.Time) {
	full := len(h.loose) >= maxHistory || len(h.targets) >= maxHistory
	if !full && now.Sub(h.swept) < historySweep {
		return
	}
	h.swept = now
	for k, t := range h.targets {
		if now.Sub(t.used) > historyIdle {
			delete(h.targets, k)
		}
	}
	for k, s := range h.loose {
		if now.Sub(s.used) > historyIdle {
			delete(h.loose, k)
		}
	}
	if len(h.loose) >= maxHistory {
		clear(h.loose)
	}
	if len(h.targets) >= maxHistory {
		clear(h.targets)
	}
}

func idKey(v series.View, id series.ID) uint64 { return uint64(id)<<32 | uint64(v.Gen(id)) }

// isTimed tells whether a series has ever come with a timestamp of its own.
func (t *targetHistory) isTimed(v series.View, id series.ID) bool {
	if t.timed == nil {
		return false
	}
	_, ok := t.timed[idKey(v, id)]
	return ok
}

func (t *targetHistory) setTimed(v series.View, id series.ID) {
	if t.timed == nil {
		t.timed = map[uint64]struct{}{}
	}
	if len(t.timed) >= maxHistory {
		clear(t.timed)
	}
	t.timed[idKey(v, id)] = struct{}{}
}
