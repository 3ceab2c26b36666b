package pack

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/relabel"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

const (
	ruleSweep = time.Minute
	ruleIdle  = 5 * time.Minute // results that no batch needed for this time are forgotten
)

// rules applies the write_relabel_configs of an endpoint once for each series of each target, not once for each
// sample. Where rules can change labels, the result becomes a series of the table. It is encoded like any other
// series, and replicas share it. The zero value is ready.
//
// Cost: 24 bytes for each series of each target, and what the table needs for each result (see series.Table).
//
// Locks: mu is held alone. A ruledTarget.mu is taken before the lock of a lane or of the table, never after it.
type rules struct {
	mu      sync.Mutex              // guards the following
	targets map[uint64]*ruledTarget // by the stable hash of the target's labels: ids are reused
	swept   time.Time
	closed  bool // the endpoint has ended: nothing is kept any more
}

// ruledTarget is the results of the rules for the series of one target.
type ruledTarget struct {
	used time.Time // guarded by rules.mu
	born time.Time // immutable

	mu       sync.Mutex // guards the following; held while a batch of the target is appended
	gone     bool       // removed from rules.targets
	settings *Settings  // the results are of their rules
	results  []ruleResult
	pruned   time.Time
}

// ruleResult is the result of the rules for one series. A target has its results in ascending order of id:
//
//	{id: 17, result: 17}   the rules keep the series as it is
//	{id: 18, result: 0}    the rules drop the series
//	{id: 19, result: 3041} the rules change its labels to those of series 3041
type ruleResult struct {
	id, result series.ID
	gen        uint32 // of id
	used       uint32 // when a batch last needed it, in seconds since born
	hash       uint64 // of the labels of result; 0 where the rules cannot change labels
}

// ruledRow is the result for one row of a batch.
type ruledRow struct {
	series series.ID // 0: dropped
	hash   uint64
}

// ownsReference reports whether the result holds a reference of another series in the table.
func (r *ruleResult) ownsReference() bool { return r.result != 0 && r.result != r.id }

// lookUp puts the result of the rules of s for each row of a batch into out. Rules run only for series that have no
// result yet. hash is the stable hash of the labels of the target. The target is locked: the caller calls release
// after the batch is encoded.
func (x *rules) lookUp(
	table *series.Table, s *Settings, b *series.Batch, hash uint64, out *ruledRows,
) *ruledTarget {
	t := x.lock(hash)
	now := time.Now()
	if t.settings != s {
		t.forget(table)
		t.settings, t.pruned = s, now
	}
	t.fill(table, b, now, out)
	if len(out.missing) > 0 || now.Sub(t.pruned) > ruleIdle {
		t.applyMissing(table, s, b.Target, now, out.missing)
		t.fill(table, b, now, out)
	}
	return t
}

// lock returns the target, locked. It makes a new one if there is none.
func (x *rules) lock(hash uint64) *ruledTarget {
	for {
		x.mu.Lock()
		t := x.targets[hash]
		if t == nil {
			t = &ruledTarget{born: time.Now(), gone: x.closed}
			if !x.closed {
				if x.targets == nil {
					x.targets = map[uint64]*ruledTarget{}
				}
				x.targets[hash] = t
			}
		}
		t.used = time.Now()
		closed := x.closed
		x.mu.Unlock()
		if t.mu.Lock(); !t.gone || closed {
			return t
		}
		t.mu.Unlock()
	}
}

// release unlocks the target.
func (t *ruledTarget) release(table *series.Table) {
	if t.gone { // the endpoint has ended meanwhile
		t.forget(table)
	}
	t.mu.Unlock()
}

// ruledRows is the results for the rows of a batch.
type ruledRows struct {
	rows    []ruledRow  // parallel to the batch's
	missing []series.ID // series that have no result yet
}

func compareID(r ruleResult, id series.ID) int { return cmp.Compare(r.id, id) }

// fill fills out with the results that are known.
func (t *ruledTarget) fill(table *series.Table, b *series.Batch, now time.Time, out *ruledRows) {
	seconds := t.age(now)
	rows, missing := slices.Grow(out.rows[:0], b.Len()), out.missing[:0]
	table.Read(func(v series.View) {
		next := 0 // a page has its series in the same order at each scrape
		for i, id := range b.Series {
			if i > 0 && i%rowsPerLock == 0 {
				v.Pause()
			}
			found := next < len(t.results) && t.results[next].id == id
			if !found {
				next, found = slices.BinarySearchFunc(t.results, id, compareID)
			}
			if !found || t.results[next].gen != v.Gen(id) {
				missing = append(missing, id)
				rows = append(rows, ruledRow{})
				continue
			}
			r := &t.results[next]
			r.used = seconds
			rows = append(rows, ruledRow{r.result, r.hash})
			next++
		}
	})
	out.rows, out.missing = rows, missing
}

// applyMissing applies the rules to series that have no result, and forgets results that were idle.
func (t *ruledTarget) applyMissing(
	table *series.Table, s *Settings, target series.TargetID, now time.Time, missing []series.ID,
) {
	seconds := t.age(now)
	var w labelMaker
	slices.Sort(missing)
	fresh := make([]ruleResult, 0, len(missing))
	for _, id := range slices.Compact(missing) {
		r := applyRules(table, &w, s, id, target)
		r.used = seconds
		fresh = append(fresh, r)
	}
	kept := make([]ruleResult, 0, len(t.results)+len(fresh))
	var left []series.ID
	for _, r := range t.results {
		for len(fresh) > 0 && fresh[0].id < r.id {
			kept, fresh = append(kept, fresh[0]), fresh[1:]
		}
		replaced := len(fresh) > 0 && fresh[0].id == r.id
		if idle := time.Duration(seconds-r.used) * time.Second; !replaced && idle <= ruleIdle {
			kept = append(kept, r)
		} else if r.ownsReference() {
			left = append(left, r.result)
		}
	}
	t.results, t.pruned = slices.Clip(append(kept, fresh...)), now
	table.Release(slices.Values(left))
}

// forget releases the series that the results hold.
func (t *ruledTarget) forget(table *series.Table) {
	var left []series.ID
	for i := range t.results {
		if r := &t.results[i]; r.ownsReference() {
			left = append(left, r.result)
		}
	}
	t.results = nil
	table.Release(slices.Values(left))
}

// sweep forgets targets that were idle. It runs at most once per ruleSweep.
func (x *rules) sweep(table *series.Table, now time.Time) {
	x.mu.Lock()
	var idle []*ruledTarget
	if now.Sub(x.swept) >= ruleSweep {
		x.swept = now
		for hash, t := range x.targets {
			if now.Sub(t.used) > ruleIdle {
				delete(x.targets, hash)
				idle = append(idle, t)
			}
		}
	}
	x.mu.Unlock()
	retire(table, idle)
}

// clear forgets all results, because the rules change. last: the endpoint has ended, and nothing is kept any more.
func (x *rules) clear(table *series.Table, last bool) {
	x.mu.Lock()
	var all []*ruledTarget
	for _, t := range x.targets {
		all = append(all, t)
	}
	x.targets = nil
	x.closed = x.closed || last
	x.mu.Unlock()
	retire(table, all)
}

func retire(table *series.Table, all []*ruledTarget) {
	for _, t := range all {
		t.mu.Lock()
		t.gone = true
		t.forget(table)
		t.mu.Unlock()
	}
}

func (t *ruledTarget) age(now time.Time) uint32 { return uint32(now.Sub(t.born) / time.Second) }

// applyRules applies the rules of s to one series. If the result is another series, it holds one more reference of
// that series in the table.
func applyRules(table *series.Table, w *labelMaker, s *Settings, id series.ID, target series.TargetID) ruleResult {
	r := ruleResult{id: id}
	table.Read(func(v series.View) {
		r.gen = v.Gen(id)
		w.make(v, id, target, s.external)
	})
	if !relabel.ProcessBuilder(w.builder, s.WriteRelabelConfigs...) {
		return r
	}
	if !s.rulesChangeLabels {
		r.result = id
		return r
	}
	after := w.builder.Labels()
	if after.IsEmpty() {
		return r // nothing is left to send; Prometheus drops it, too
	}
	r.result, r.hash = table.Intern(target, after), hashLabels(after)
	if r.result == id {
		table.Release(slices.Values([]series.ID{id})) // the batch's owner holds a reference
	}
	return r
}
