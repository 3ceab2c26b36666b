package aggregate

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// Run writes the aggregates at each tick, until ctx ends. Then it writes them once more, since what was scraped after
// the last tick would be lost. It must outlive the scrapes.
func (a *Aggregates) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			a.writeLast()
			return nil
		case <-a.wake:
		case <-timer.C:
		}
		timer.Stop()
		if wait, any := a.tickAll(a.clock()); any {
			timer.Reset(wait)
		}
	}
}

// tickAll writes every group whose tick is due. It returns how long to wait for the next tick; false: there is no
// group. The wait is never longer than an interval, since the clock may be set meanwhile.
func (a *Aggregates) tickAll(now time.Time) (wait time.Duration, any bool) {
	a.changing.RLock()
	defer a.changing.RUnlock()
	a.forgetYoung(now)
	behind := time.Duration(0)
	for _, g := range a.allGroups() {
		g.mu.Lock()
		a.tickIfDue(g, now)
		behind = max(behind, time.UnixMilli(g.ticked).Sub(now))
		untilNext, isEmpty := time.UnixMilli(g.next).Sub(now), len(g.byID) == 0
		untilNext = min(untilNext, g.interval)
		hasTicks := g.interval > 0
		g.mu.Unlock()
		if isEmpty {
			a.dropIfEmpty(g)
		}
		if hasTicks && (!any || untilNext < wait) {
			wait, any = untilNext, true
		}
	}
	a.tellBehind(behind)
	return max(wait, time.Millisecond), any
}

// minBehind is how far the clock must have been set back to be told.
const minBehind = time.Minute

// tellBehind logs that the clock was set back behind the last tick, and when it has passed that again.
func (a *Aggregates) tellBehind(by time.Duration) {
	isBehind := by >= minBehind
	if isBehind == a.toldBehind {
		return
	}
	if a.toldBehind = isBehind; isBehind {
		a.log.Warn("the clock was set back; aggregates are written again when it has passed their last tick, since "+
			"receivers refuse older samples", zap.Duration("in", by.Round(time.Second)))
	} else {
		a.log.Info("aggregates are written again")
	}
}

// tickIfDue writes the aggregates of a group if a tick is due. If several ticks have passed, it writes the last one.
// The caller has locked the group.
func (a *Aggregates) tickIfDue(g *group, now time.Time) {
	ms := now.UnixMilli()
	if g.interval == 0 || ms < g.next {
		return
	}
	every, due := g.interval.Milliseconds(), g.next
	a.write(g, tickAfter(ms, g.interval)-every)
	g.next = tickAfter(ms, g.interval)
	a.metrics.ticks.Inc()
	if ms-due > every/10 {
		a.metrics.lateTicks.Inc()
	}
}

// writeLast writes every group, at a time of its own instead of a tick. Aggregates that no tick has written begin with
// 0 here, and what they have is lost.
func (a *Aggregates) writeLast() {
	a.changing.RLock()
	defer a.changing.RUnlock()
	now := a.clock().UnixMilli()
	for _, g := range a.allGroups() {
		g.mu.Lock()
		a.write(g, now)
		g.mu.Unlock()
	}
}

// write hands on the aggregates of a group at a time, which must be newer than the one before. The caller has locked
// the group.
func (a *Aggregates) write(g *group, at int64) {
	if at <= g.ticked { // the clock was set back
		return
	}
	g.ticked = at
	b := a.batches.Get().(*series.Batch)
	defer a.batches.Put(b)
	freed := g.batchAt(b, at, &a.blocks)
	a.hand(g, b, freed)
}

// hand hands on a batch of a group, and gives back the references of aggregates that are gone.
func (a *Aggregates) hand(g *group, b *series.Batch, freed []series.ID) {
	if b.Len() > 0 {
		a.metrics.written.Add(float64(b.Len()))
		if err := a.next.Append(b); err != nil {
			a.log.Error("aggregates not taken", zap.Error(err), zap.Int("samples", b.Len()))
		}
	}
	if len(freed) > 0 {
		release(a.table, freed)
	}
}
