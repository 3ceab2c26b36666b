package exposition

import (
	"github.com/envoy-scraper/envoy-scraper/internal/hashindex"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// borrow lends the page a draft, unless it has one.
func (p *Page) borrow() *draft {
	if p.draft == nil {
		p.draft = p.layouts.drafts.Get().(*draft)
		p.draft.open(p.layout)
		if p.opts.GrowthLimit > 0 {
			p.draft.grownBefore = p.layouts.table.Grown(p.batch.Target)
		}
	}
	return p.draft
}

// diverge begins the layout anew: the page is not, or no longer, the one expected.
func (p *Page) diverge() *draft {
	d := p.borrow()
	if !p.diverged {
		p.diverged, p.repeatable = true, 0
		d.begin(p.cursor, p.batch)
	}
	return d
}

// Commit makes the page just read the one expected next, and forgets what it no longer showed. before is what
// the last good page showed, or the zero Shown; what this one did takes its place, with its references.
//
// An empty page ends every series but teaches nothing: what was known stays so.
func (p *Page) Commit(before Shown) Shown {
	if !p.empty && (p.diverged || p.layout.shown < len(p.layout.hashes)) {
		p.diverge()
		p.exchange(p.laidOut())
	}
	p.exemplars.commit()
	p.end()
	now := Shown{p.layouts, p.layout}
	if p.empty {
		now = Shown{}
	}
	if now.layout != before.layout {
		if now.layout != nil {
			p.layouts.retain(now.layout)
		}
		before.Release()
	}
	return now
}

// Failed returns what the page just read, which failed, had shown before it did. Its samples are gone, but staleness
// goes by them all the same, as in Prometheus: what they showed is not marked now, but when it is gone from the next
// page. A body that could not be read showed nothing.
func (p *Page) Failed() Shown {
	if p.cut {
		return Shown{}
	}
	var seen hashindex.Set
	seen.Reset(len(p.batch.Series))
	own := p.batch.Times
	return p.layouts.Show(func(yield func(series.ID) bool) {
		for i, id := range p.batch.Series {
			timed := len(own) > 0 && own[0].Index == i
			if timed {
				own = own[1:]
			}
			if (!timed || p.opts.TrackTimestamps) && seen.Add(uint32(id)) && !yield(id) {
				return
			}
		}
	})
}

// Shows tells that the page just read, if it was Unchanged, showed just this.
func (p *Page) Shows(s Shown) bool { return !p.empty && s.layout == p.layout }

// laidOut returns the layout of the page just read, which was good.
func (p *Page) laidOut() *layout {
	d := p.draft
	d.number()
	d.expected, d.shown = len(d.hashes), len(d.hashes)
	if d.timed {
		d.expected = 0 // a series may stand on the page twice: no line tells what to expect next
		d.followOnce()
	}
	if d.layout.same(p.layout) {
		p.layouts.retain(p.layout)
		return p.layout
	}
	return p.layouts.publish(&d.layout)
}

// Abandon leaves everything as it was before the page just read, except that its texts stay known, until a good
// page does not show them.
func (p *Page) Abandon() {
	if d := p.draft; p.diverged && (len(d.learned.hashes) > 0 || len(p.layout.hashes) > p.layout.shown) {
		good := p.layout.shown
		d.take(p.layout, good)
		d.addExtras(p.cut)
		d.number()
		d.expected, d.shown = p.layout.expected, good
		p.exchange(p.layouts.own(&d.layout))
	}
	p.end()
}

// exchange puts a layout, and its reference, in the place of the page's.
func (p *Page) exchange(l *layout) {
	p.layouts.release(p.layout)
	p.layout, p.repeatable = l, 0
}

// end drops what only a page being read needs.
func (p *Page) end() {
	p.batch, p.diverged = nil, false
	d := p.draft
	if d == nil {
		return
	}
	p.draft = nil
	p.layouts.table.Release(d.learned.series())
	d.known = nil
	if !d.tooLarge() {
		p.layouts.drafts.Put(d)
	}
}

// Forget gives back everything that the page knows: the target is gone, or speaks another language now.
func (p *Page) Forget() {
	p.exchange(&layout{refs: 1})
	p.exemplars = exemplars{}
	p.help, p.helpBytes = nil, 0
}

// Rebind gives a page to a loop whose configuration leaves every series as it is: what it knows stays true.
func (p *Page) Rebind(learner Learner, opts Options) {
	p.learner, p.opts, p.contentType = learner, opts, ""
}
