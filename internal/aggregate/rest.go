package aggregate

import (
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// past is what was known of a target's last good page before the present batch. The zero value: nothing.
type past struct {
	ids    []series.ID
	source *source // whose layout had ids; nil: was had them
	refs   []slotRef
	was    *former
	marked bool // no series that was sent as it was needs a marker now
}

// past returns what is known before a batch is taken.
func (s *source) past() past {
	switch {
	case s.layout != nil:
		return past{ids: s.layout.ids, refs: s.layout.refs, source: s, marked: true}
	case s.was != nil:
		return past{ids: s.was.ids, was: s.was}
	default:
		return past{marked: !s.again}
	}
}

// isRaw reports whether the sample of a row was sent as it was.
func (p *past) isRaw(row int) bool {
	if p.was != nil {
		return p.was.blocks[row] == nil || p.was.blocks[row].KeepRaw
	}
	return p.source.isSent(p.refs[row])
}

// rest fills to with the samples of b that are not summed, or whose block keeps them, and with the markers and report
// series behind them. Markers of series that were not sent are left out. A series that was sent as it is before, and is
// only summed now, gets a marker.
func (s *source) rest(to, b *series.Batch, before past) {
	to.Reset(b.Target, b.Time)
	to.Interval, to.Urgent, to.Origin = b.Interval, b.Urgent, b.Origin
	rows := rowMap{}
	if len(b.Times)+len(b.Starts)+len(b.Histograms)+len(b.Exemplars) > 0 {
		rows.to = make([]int32, b.Len())
	}
	page := b.Origin.Page
	for i := range page {
		if s.isSentRow(i) {
			rows.set(i, to.Add(b.Series[i], b.Values[i]))
		} else {
			rows.drop(i)
		}
	}
	to.Origin.Page = to.Len()
	find := finder{ids: before.ids}
	if b.Origin.Good && !before.marked {
		for i, id := range b.Series[:page] {
			if !s.isSentRow(i) && before.sent(&find, id) {
				to.Add(id, series.StaleMarker())
			}
		}
	}
	for i := page; i < b.Len(); i++ {
		if n := find.row(b.Series[i]); n >= 0 && !before.isRaw(n) {
			rows.drop(i)
			continue
		}
		rows.set(i, to.Add(b.Series[i], b.Values[i]))
	}
	rows.move(to, b)
}

// isSentRow reports whether the sample of a row of the present page is sent as it is: if no block sums series of the
// job any more, all are.
func (s *source) isSentRow(row int) bool { return s.feed == nil || s.isSent(s.layout.refs[row]) }

// isSent reports whether a sample is sent as it is.
func (s *source) isSent(ref slotRef) bool { return ref == 0 || s.feed.blocks[ref.group()-1].KeepRaw }

// sent reports whether a series that is on the present page was sent as it was. If nothing is known of the page before,
// it was: no block summed it.
func (p *past) sent(find *finder, id series.ID) bool {
	n := find.row(id)
	return n < 0 && p.ids == nil || n >= 0 && p.isRaw(n)
}

// rowMap says where rows of a batch have gone. It is empty if nothing refers to rows.
type rowMap struct{ to []int32 }

func (m rowMap) set(from, to int) {
	if m.to != nil {
		m.to[from] = int32(to)
	}
}

func (m rowMap) drop(from int) { m.set(from, -1) }

// move copies what refers to rows that are still there.
func (m rowMap) move(to, from *series.Batch) {
	for _, t := range from.Times {
		if n := m.to[t.Index]; n >= 0 {
			to.Times = append(to.Times, series.OwnTime{Index: int(n), Time: t.Time})
		}
	}
	for _, t := range from.Starts {
		if n := m.to[t.Index]; n >= 0 {
			to.Starts = append(to.Starts, series.Start{Index: int(n), Time: t.Time})
		}
	}
	for _, h := range from.Histograms {
		if n := m.to[h.Index]; n >= 0 {
			h.Index = int(n)
			to.Histograms = append(to.Histograms, h)
		}
	}
	for _, e := range from.Exemplars {
		if n := m.to[e.Index]; n >= 0 {
			e.Index = int(n)
			to.Exemplars = append(to.Exemplars, e)
		}
	}
}
