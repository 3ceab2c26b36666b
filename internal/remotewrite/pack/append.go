package pack

import (
	"cmp"
	"slices"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// Append packs a batch into requests. It keeps nothing of the batch.
//
// A series is bound if it has all labels of its target. It goes through the lane of its target, and one timestamp is
// remembered for all bound series of the target. Any other series is unbound, because two targets may have it: it
// goes through the lane of its own labels, and its own last timestamp is remembered. Where rules can change labels,
// every series is unbound: a rule may turn a series into another one that is on the page too. A series that would be
// bound, but comes with timestamps of its own, is unbound in the lane of its target: its earlier samples are there.
//
// The owner of the batch holds a reference of each of its series until Append returns.
func (p *Packer) Append(b *series.Batch) (t Tally) {
	for !p.appendBy(p.settings.Load(), b, &t) {
		// Once more: the settings were replaced while their rules were applied.
	}
	return t
}

// appendBy appends a batch under the settings s. If s is no longer in force, it does nothing and returns false.
func (p *Packer) appendBy(s *Settings, b *series.Batch, tally *Tally) bool {
	scratch, _ := p.scratch.Get().(*appendScratch)
	if scratch == nil {
		scratch = new(appendScratch)
	}
	defer p.free(scratch)
	var hash uint64
	p.table.Read(func(v series.View) { hash = v.TargetHash(b.Target) })
	var ruled []ruledRow
	if len(s.WriteRelabelConfigs) > 0 {
		t := p.rules.lookUp(p.table, s, b, hash, &scratch.ruled)
		defer t.release(p.table)
		ruled = scratch.ruled.rows
	}
	p.shape.RLock()
	defer p.shape.RUnlock()
	if s != p.settings.Load() {
		return false
	}
	p.appendBound(s, b, hash, ruled, &scratch.unbound, tally)
	if len(scratch.unbound.rows) > 0 {
		p.appendUnbound(s, b, hash, &scratch.unbound, tally)
	}
	return true
}

// appendScratch is the memory that one append needs.
type appendScratch struct {
	ruled   ruledRows
	unbound unboundRows
}

// maxScratch is the number of rows whose memory is kept for the next batch: those of a large page.
const maxScratch = 1 << 15

// free keeps the memory for the next batch. The garbage collector frees it if it is not used for a while.
func (p *Packer) free(s *appendScratch) {
	if cap(s.unbound.rows) > maxScratch || cap(s.ruled.rows) > maxScratch {
		return
	}
	clear(s.unbound.rows) // they refer to the batch
	s.unbound.rows = s.unbound.rows[:0]
	p.scratch.Put(s)
}

// appendBound appends the rows of bound series, and collects the other rows in unbound. ruled is parallel to the rows
// of the batch; it is nil if there are no rules.
func (p *Packer) appendBound(s *Settings, b *series.Batch, hash uint64, ruled []ruledRow, unbound *unboundRows,
	tally *Tally) {
	l := p.laneOf(hash)
	l.mu.Lock()
	defer l.mu.Unlock()
	p.table.Read(func(v series.View) {
		if !l.appendColumn(s, v, b, hash, ruled, tally) {
			p.appendBoundRows(l, s, v, b, hash, ruled, unbound, tally)
		}
	})
}

func (p *Packer) appendBoundRows(
	l *Lane, s *Settings, v series.View, b *series.Batch, hash uint64, ruled []ruledRow, unbound *unboundRows,
	tally *Tally,
) {
	t := l.history.target(hash)
	added := false
	src := source{view: v, target: b.Target}
	cursor := openRows(v, b)
	l.beginBatch(s, b, hash)
	for r := (row{}); cursor.next(&r); {
		var own uint64
		if ruled != nil {
			result := ruled[cursor.at-1]
			if result.series == 0 {
				tally.Relabelled++
				continue
			}
			if own = result.hash; result.series != r.id {
				r.become(v, result.series)
			}
		}
		if s.ConvertNHCBToClassic {
			have, taken := len(unbound.rows), false
			unbound.rows, taken = l.classics.expand(s, src, r, classicKey{hash, r.shown}, unbound.rows)
			more := len(unbound.rows) - have
			if taken {
				more-- // the row itself was counted with its batch
			}
			tally.Converted += more
			if taken {
				continue
			}
		}
		if r.Histogram != nil && !s.SendNativeHistograms {
			tally.Unsupported++
			continue
		}
		if s.rulesChangeLabels {
			unbound.rows = append(unbound.rows, unboundRow{row: r, hash: own, route: own})
			continue
		}
		switch {
		case r.ownTime || !v.Whole(r.Parts.Stem) || t.isTimed(v, r.id):
			l.pairs = v.Labels(l.pairs[:0], r.id, b.Target)
			own = hashSeries(v, l.pairs)
			route := own
			if v.Whole(r.Parts.Stem) {
				route = hash
				if r.ownTime {
					t.setTimed(v, r.id, b.Time, own)
				}
			}
			unbound.rows = append(unbound.rows, unboundRow{row: r, hash: own, route: route})
		case !t.accepts(v, r.id, b.Time):
			tally.NotNewer++
		default:
			added = l.add(s, src, &r, tally) || added
		}
	}
	l.finish(tally)
	t.batch(b.Time, added)
}

// appendUnbound appends each row through the lane of its route.
func (p *Packer) appendUnbound(s *Settings, b *series.Batch, hash uint64, unbound *unboundRows, tally *Tally) {
	all := p.Lanes()
	unbound.sort(len(all))
	for i, l := range all {
		own := unbound.order[unbound.starts[i]:unbound.starts[i+1]]
		if len(own) == 0 {
			continue
		}
		l.mu.Lock()
		p.table.Read(func(v series.View) {
			a := unboundAppend{lane: l, settings: s, view: v, batch: b, rows: unbound.rows, tally: tally,
				now: time.Now()}
			a.run(own, hash)
		})
		l.mu.Unlock()
	}
}

// unboundAppend appends unbound rows of a batch to one lane. The caller holds its mu.
type unboundAppend struct {
	lane     *Lane
	settings *Settings
	view     series.View
	batch    *series.Batch
	rows     []unboundRow
	tally    *Tally
	now      time.Time
	done     int // rows, to give up the table's lock now and then
}

// run appends the rows in order. A series goes through the stream of the target that had it first, its home, because
// its samples must stay in order whichever target has them. Nearly always that is the present target; the rows with
// another home come afterwards, home by home.
func (a *unboundAppend) run(order []int32, hash uint64) {
	l := a.lane
	l.history.sweep(a.now)
	l.beginBatch(a.settings, a.batch, hash)
	own := streamOf(hash)
	var away []int32 // rows whose home is another target
	for _, i := range order {
		h := a.historyOf(i, own)
		if h.home != own {
			away = append(away, i)
			continue
		}
		a.add(i, h)
	}
	l.finish(a.tally)
	if len(away) == 0 {
		return
	}
	slices.SortStableFunc(away, func(x, y int32) int {
		return cmp.Compare(a.historyOf(x, own).home, a.historyOf(y, own).home)
	})
	for len(away) > 0 {
		home := a.historyOf(away[0], own).home
		l.to = destination{home, l.dueOfMore(a.settings, a.batch, home, a.now)}
		for ; len(away) > 0; away = away[1:] {
			h := a.historyOf(away[0], own)
			if h.home != home {
				break
			}
			a.add(away[0], h)
		}
		l.finish(a.tally)
	}
}

func (a *unboundAppend) historyOf(i int32, own uint32) *unboundHistory {
	return a.lane.history.unbound.of(a.rows[i].hash, unixMinutes(a.now), own)
}

// add appends one row, unless a newer sample of its series was appended before.
func (a *unboundAppend) add(i int32, h *unboundHistory) {
	if a.done++; a.done%rowsPerLock == 0 {
		a.view.Pause()
	}
	l, r := a.lane, &a.rows[i]
	r.Parts.Meta = a.view.Parts(r.shown).Meta // another target may have changed it since
	if r.Time <= h.newest {
		a.tally.NotNewer++
		return
	}
	if h.request == uint32(l.number) {
		l.finish(a.tally) // no request holds two samples of a series
	}
	if l.add(a.settings, source{view: a.view, target: a.batch.Target, text: r.text}, &r.row, a.tally) {
		h.newest, h.request = r.Time, uint32(l.number)
	}
}
