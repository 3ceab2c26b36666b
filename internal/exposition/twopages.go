package exposition

import (
	"slices"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// A target may have two pages: the whole one, and a filtered one, on which it leaves out lines that rules would drop.
// The scrapes read the filtered page nearly always, and the whole one from time to time. Of both the layout is kept,
// so that neither page is learned again. An example, of which the rules keep a, b and c (- is a dropped line):
//
//	whole page     a - - b - -       layout W
//	filtered page  a b               layout F; no series is new, none vanished, since W has a and b too
//	filtered page  a c               F: b vanished, c is added
//	whole page     a - - c -         a and - are known by W, c by F; had it b, too, b would be added again
//
// Invariant: as long as pages are good, what counts as added, and what as vanished, is the same as if every page were
// whole. So when a page is turned, lines of kept series stay in the layout that comes only if the last good page has
// them (Turn), and lines of the last good page are known although the layout that comes lacks them (reading.search).

// Turn says which page of the target is read next. The scrapes of a target without a filter never call it.
func (p *Page) Turn(filtered bool) {
	if p.filtered == filtered {
		return
	}
	p.filtered = filtered
	if p.other == nil {
		p.other = &layout{users: 1}
	}
	p.layout, p.other = p.other, p.layout
	p.turned = !p.turned // twice without a good page between is not at all
	if p.turned && !p.layout.seriesWithin(p.other) {
		common := p.layout.withSeriesOf(p.other)
		p.replaceLayout(p.layouts.publish(common))
	}
}

// ForgetOther gives back what the page knows of the page that is not read next.
func (p *Page) ForgetOther() {
	p.layouts.release(p.other)
	p.other, p.turned = nil, false
}

// trimOther forgets lines of the other page that only failed pages have shown: the page just read was good.
func (p *Page) trimOther() {
	if l := p.other; l != nil && l.shown < l.len() {
		good := *l
		good.lines = lines{l.hashes[:l.shown], l.refs[:l.shown], l.lengths[:l.shown]}
		p.other = p.layouts.publish(&good)
		p.layouts.release(l)
	}
}

// seriesWithin reports whether the lines of l that are series are all in other, in the same order.
func (l *layout) seriesWithin(other *layout) bool {
	at := 0
	for i, ref := range l.refs[:l.shown] {
		if !ref.isSeries() {
			continue
		}
		for at < other.shown && other.hashes[at] != l.hashes[i] {
			at++
		}
		if at == other.shown {
			return false
		}
		at++
	}
	return true
}

// withSeriesOf returns l without those lines that are series and that other lacks. If a mark of l may depend on such a
// line, it returns an empty layout.
func (l *layout) withSeriesOf(other *layout) *layout {
	inOther := make(map[uint64]bool, other.shown)
	for i, ref := range other.refs[:other.shown] {
		if ref.isSeries() {
			inOther[other.hashes[i]] = true
		}
	}
	common := &layout{families: l.families}
	for i, ref := range l.refs[:l.shown] {
		switch {
		case ref.mark() != 0 || l.expected != l.shown:
			return &layout{}
		case !ref.isSeries() || inOther[l.hashes[i]]:
			common.append(l.hashes[i], ref, l.lengths[i])
		}
	}
	common.shown = common.len()
	common.expected = common.shown
	return common
}

// search returns the number of a known line. A line that only the last good page has, which was the target's other one,
// is learned from there.
func (r *reading) search(hash uint64) (n int, ok bool) {
	d := r.borrowDraft()
	if n, ok := d.known.find(hash); ok {
		return n, true
	}
	last := &d.lastGood
	if last.layout == nil {
		return 0, false
	}
	at, ok := last.find(hash)
	if !ok || at >= last.layout.shown {
		return 0, false
	}
	ref := last.at(at)
	switch ref.kind() {
	case refSeries:
		r.page.layouts.table.Retain(slices.Values([]series.ID{ref.id()}))
	case refFamily:
		ref = d.learnFamily(last.layout.families[ref.number()])
	}
	return d.known.learn(hash, ref, last.lengthOf(at)), true
}
