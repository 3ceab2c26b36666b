package pack

import (
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/hashindex"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

const (
	historySweep = 10 * time.Minute
	historyIdle  = 3 * time.Hour
	layoutIdle   = 10 * time.Minute // a layout is about as large as a scrape
	maxHistory   = 1 << 20          // entries of one other kind per lane
	maxUnbound   = 4 << 20          // unbound series per lane

	// disorderMemory is how long, in the time of samples, a target remembers that its batches came out of order, and
	// the timestamps of series that were in no batch.
	disorderMemory = 30 * time.Minute
)

// history is what a lane remembers of samples that it has packed, so that no sample is sent that a receiver would
// refuse as out of order: one newest timestamp for all bound series of a target, and one for each unbound series. If
// an entry is forgotten, only the check is lost. Guarded by Lane.mu.
type history struct {
	targets map[uint64]*targetHistory // by the stable hash of the labels: ids are reused
	unbound unboundHistories
	holds   holds
	swept   time.Time
}

type targetHistory struct {
	newest int64
	used   time.Time
	// timed are the series that came with timestamps of their own, by id and generation. They stay unbound, so that a
	// staleness marker without a timestamp is compared with their own last timestamps. Usually nil.
	timed map[uint64]timedSeries
	// perSeries is the newest timestamp of each series, by id and generation. It is kept after a batch that was not
	// newer than the one before: two targets that differ only in their address share their labels, and their scrapes
	// may end in another order than they began. A series that is not in it is as old as since. Nil as long as batches
	// come in order.
	perSeries map[uint64]int64
	since     int64
	disorder  int64 // value of newest when the last late batch came
	pruned    int64 // time of the batch at which vanished series were forgotten last

	rows pageRows // of the last scrape (column.go)
}

// target returns the history of a target. It makes a new one if there is none.
func (h *history) target(hash uint64) *targetHistory {
	now := time.Now()
	h.sweep(now)
	t := h.targets[hash]
	if t == nil {
		t = &targetHistory{newest: minTime}
		h.keep(hash, t)
	}
	t.used = now
	return t
}

// keep stores a history that another lane had.
func (h *history) keep(hash uint64, t *targetHistory) {
	if h.targets == nil {
		h.targets = map[uint64]*targetHistory{}
	}
	h.targets[hash] = t
}

// accepts reports whether a sample is newer than the last one of its series. It remembers its timestamp in perSeries.
func (t *targetHistory) accepts(v series.View, id series.ID, at int64) bool {
	if t.perSeries == nil {
		return at > t.newest
	}
	key := idKey(v, id)
	last, ok := t.perSeries[key]
	if !ok {
		last = t.since
	}
	if at <= last {
		return false
	}
	if len(t.perSeries) >= maxHistory {
		clear(t.perSeries)
		t.since = t.newest
	}
	t.perSeries[key] = at
	return true
}

// batch notes that a batch is packed.
func (t *targetHistory) batch(at int64, added bool) {
	if at <= t.newest {
		t.disorder = t.newest
		if t.perSeries == nil {
			t.perSeries, t.since = map[uint64]int64{}, t.newest
		}
	}
	if added {
		t.newest = max(t.newest, at)
	}
	t.prune(at)
}

// prune forgets series that were in no batch for a while. Once batches come in order again, it forgets all of
// perSeries.
func (t *targetHistory) prune(at int64) {
	span := disorderMemory.Milliseconds()
	if t.perSeries == nil && len(t.timed) == 0 || at-t.pruned <= span {
		return
	}
	t.pruned = at
	oldest := at - span
	for key, s := range t.timed {
		if s.last < oldest {
			delete(t.timed, key)
		}
	}
	if t.perSeries == nil {
		return
	}
	if t.disorder < oldest {
		t.perSeries = nil
		return
	}
	t.since = max(t.since, oldest)
	left := make(map[uint64]int64, len(t.perSeries)) // a map does not shrink
	for key, last := range t.perSeries {
		if last > t.since {
			left[key] = last
		}
	}
	t.perSeries = left
}

// minTime is older than every sample.
const minTime = -1 << 63

// sweep forgets idle targets and series every ten minutes. If that does not make room, it forgets everything.
func (h *history) sweep(now time.Time) {
	full := len(h.unbound.all) >= maxUnbound || len(h.targets) >= maxHistory
	if !full && now.Sub(h.swept) < historySweep {
		return
	}
	h.swept = now
	for k, t := range h.targets {
		switch idle := now.Sub(t.used); {
		case idle > historyIdle:
			delete(h.targets, k)
		case idle > layoutIdle:
			t.rows = pageRows{}
		}
	}
	h.unbound.forget(now.Add(-historyIdle))
	h.holds.forget(now.Add(-historyIdle))
	if len(h.unbound.all) >= maxUnbound {
		h.unbound = unboundHistories{}
	}
	if len(h.targets) >= maxHistory {
		clear(h.targets)
	}
}

func idKey(v series.View, id series.ID) uint64 { return uint64(id)<<32 | uint64(v.Gen(id)) }

// isTimed reports whether a series came with a timestamp of its own lately.
func (t *targetHistory) isTimed(v series.View, id series.ID) bool {
	if t.timed == nil {
		return false
	}
	_, ok := t.timed[idKey(v, id)]
	return ok
}

// timedSeries is a series of a target that came with a timestamp of its own.
type timedSeries struct {
	last int64  // time of the last batch that had it
	hash uint64 // of its labels
}

// setTimed notes that a series came with a timestamp of its own.
func (t *targetHistory) setTimed(v series.View, id series.ID, batch int64, hash uint64) {
	if t.timed == nil {
		t.timed = map[uint64]timedSeries{}
	}
	if len(t.timed) >= maxHistory {
		clear(t.timed)
	}
	t.timed[idKey(v, id)] = timedSeries{batch, hash}
}

// unboundHistories are the histories of unbound series, found by the stable hash of their labels.
//
// Cost: 32 bytes per series, and about 7 for the index.
type unboundHistories struct {
	all   []unboundHistory
	index hashindex.Index // of all
	next  uint32          // index after the last result: a page has its series in the same order at each scrape
}

type unboundHistory struct {
	hash    uint64
	newest  int64
	request uint32 // low bits of the number of the request that has it
	used    uint32 // when, in minutes since 1970
	home    uint32 // stream of the target that had the series first
}

func (h *unboundHistories) hashOf(n uint32) uint64 { return h.all[n].hash }

// of returns the history of a series. It makes a new one with this home if there is none. The result is valid until the
// next call.
func (h *unboundHistories) of(hash uint64, nowMinutes, home uint32) *unboundHistory {
	n, ok := h.next, true
	if int(n) >= len(h.all) || h.all[n].hash != hash {
		n, ok = h.index.Find(hash, func(n uint32) bool { return h.all[n].hash == hash })
	}
	if !ok {
		n = uint32(len(h.all))
		h.all = append(h.all, unboundHistory{hash: hash, newest: minTime, home: home})
		h.index.Add(hash, n, h.hashOf)
	}
	h.next = n + 1
	h.all[n].used = nowMinutes
	return &h.all[n]
}

// forget drops series that were last used before then.
func (h *unboundHistories) forget(then time.Time) {
	before := unixMinutes(then)
	var left unboundHistories
	for _, s := range h.all {
		if s.used >= before {
			left.all = append(left.all, s)
		}
	}
	if len(left.all) == len(h.all) {
		return
	}
	left.index.Reset(len(left.all))
	for n, s := range left.all {
		left.index.Add(s.hash, uint32(n), left.hashOf)
	}
	*h = left
}

func unixMinutes(t time.Time) uint32 { return uint32(t.Unix() / 60) }
