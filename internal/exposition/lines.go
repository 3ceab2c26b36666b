package exposition

import (
	"slices"

	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

type lineKind uint8

const (
	lineSeries lineKind = iota
	lineDropped
	lineComment
	lineType
	lineHelp
)

// Marks of a place in the order: the page had shown the series before (duplicate), with this very text
// (repeated).
const (
	duplicateBit = 1 << 31
	repeatedBit  = 1 << 30
	placeMask    = repeatedBit - 1
)

// commentSalt keeps a comment from being taken for a series, typeSalt a text under one TYPE from one under
// another, which may mean other labels.
const commentSalt = 0x9e3779b97f4a7c15

func typeSalt(t model.MetricType) uint64 {
	switch t {
	case model.MetricTypeHistogram:
		return 0xd6e8feb86659fd93
	case model.MetricTypeSummary:
		return 0xa0761d6478bd642f
	default:
		return 0
	}
}

// line is what is known of one text.
type line struct {
	hash  uint64
	extra uint64 // of a TYPE or HELP line: hash of the family's name
	id    series.ID
	seen  uint32 // iteration of the last page that was not as expected and showed it
	pos   uint32 // where the order had it last
	kind  lineKind
	typ   uint8
}

func (l *line) family() uint64 { return l.extra }

// parseTypes are the types that the text format has, by their number in a line.
func parseTypes() [6]model.MetricType {
	return [6]model.MetricType{"", model.MetricTypeCounter, model.MetricTypeGauge, model.MetricTypeHistogram, model.MetricTypeSummary, model.MetricTypeUnknown}
}

func (l *line) metricType() model.MetricType { return parseTypes()[l.typ] }

func typeNumber(t model.MetricType) uint8 {
	types := parseTypes()
	if i := slices.Index(types[:], t); i >= 0 {
		return uint8(i)
	}
	return uint8(len(types) - 1)
}

// lines are the texts that a target has shown. A text not on a good page is forgotten with it.
type lines struct {
	entries   []line
	free      []uint32
	index     map[uint64]uint32 // hash -> place in entries
	iteration uint32            // of the page being read
	good      int               // how many there were after the last good page
}

func newLines() lines { return lines{index: map[uint64]uint32{}} }

// find looks for a text, first where it is expected.
func (k *lines) find(hash uint64, order []uint32, cursor int) (at uint32, ok bool) {
	if cursor < len(order) {
		at = order[cursor] & placeMask
		if k.entries[at].hash == hash {
			return at, true
		}
	}
	at, ok = k.index[hash]
	return at, ok
}

func (k *lines) add(l line) uint32 {
	l.seen = 0
	var at uint32
	if n := len(k.free); n > 0 {
		at, k.free = k.free[n-1], k.free[:n-1]
		k.entries[at] = l
	} else {
		at = uint32(len(k.entries))
		k.entries = append(k.entries, l)
	}
	k.index[l.hash] = at
	return at
}

// mark notes that the page being read shows a text; false: it had shown it before.
func (k *lines) mark(at uint32) bool {
	if k.entries[at].seen == k.iteration {
		return false
	}
	k.entries[at].seen = k.iteration
	return true
}

// forget drops every text that the page just read has not shown, and returns their series.
func (k *lines) forget() (ids []series.ID) {
	for at := range k.entries {
		l := &k.entries[at]
		if l.seen == k.iteration || l.hash == 0 {
			continue
		}
		if l.kind == lineSeries {
			ids = append(ids, l.id)
		}
		delete(k.index, l.hash)
		*l = line{}
		k.free = append(k.free, uint32(at))
	}
	return ids
}

// expect moves the cursor past a known line. It returns the marks of its place in the order, which hold only
// while the page is the one expected.
func (p *Page) expect(at uint32) (expected bool, marks uint32) {
	if !p.diverged && p.cursor < len(p.order) && p.order[p.cursor]&placeMask == at {
		marks = p.order[p.cursor] &^ placeMask
		p.cursor++
		return true, marks
	}
	p.diverge()
	p.resume(at)
	p.follow(at)
	return false, 0
}

// resume puts the cursor after the place where the last page had a line: what follows there is likely next.
func (p *Page) resume(at uint32) {
	if pos := int(p.known.entries[at].pos); pos < len(p.order) && p.order[pos]&placeMask == at {
		p.cursor = pos + 1
	}
}

// follow appends a line to the order that this page will leave.
func (p *Page) follow(at uint32) {
	l := &p.known.entries[at]
	if l.kind != lineSeries {
		p.known.mark(at)
	}
	p.next = append(p.next, at)
}

// diverge begins the order anew: the page is no longer the one expected.
func (p *Page) diverge() {
	if p.diverged {
		return
	}
	p.diverged = true
	p.next = append(p.next[:0], p.order[:p.cursor]...)
	for _, at := range p.next {
		p.known.mark(at & placeMask)
	}
	if p.seen == nil {
		p.seen = make(map[series.ID]struct{}, len(p.batch.Series))
	}
	for _, id := range p.batch.Series {
		p.seen[id] = struct{}{}
	}
}

// first tells whether the page shows a series for the first time. Only of a page that diverged.
func (p *Page) first(id series.ID) bool {
	if _, ok := p.seen[id]; ok {
		return false
	}
	p.seen[id] = struct{}{}
	return true
}

// Commit makes the page just read the one expected next, and forgets what it no longer showed. The series of
// its batch keep their references at least until here.
//
// An empty page ends every series but teaches nothing: what was known stays so.
func (p *Page) Commit() {
	if p.diverged && !p.empty {
		p.order, p.next = p.next, p.order[:0]
		for pos, at := range p.order {
			p.known.entries[at&placeMask].pos = uint32(pos)
		}
		p.learner.Release(p.known.forget()...)
		if len(p.batch.Times) > 0 {
			// With timestamps of its own a series may stand on a page twice: no line tells what to expect next.
			p.order = p.order[:0]
		}
	}
	if !p.empty {
		p.known.good = len(p.known.index)
	}
	p.end()
}

// Abandon leaves everything as it was before the page just read, except that its texts stay known, as long as
// failing pages do not teach ever new ones.
func (p *Page) Abandon() {
	if len(p.known.index) > 2*p.known.good+1000 {
		p.order = p.order[:0]
		p.learner.Release(p.known.forget()...)
		p.known.good = len(p.known.index)
	}
	p.end()
}

// end drops what only a page being read needs.
func (p *Page) end() {
	p.batch, p.seen = nil, nil
	if cap(p.cold) > chunkBytes {
		p.cold = nil
	}
	if p.diverged && cap(p.next) > 2*len(p.order)+1000 {
		p.next = nil
	}
}

// Forget gives back every series that the page knows: the target is gone.
func (p *Page) Forget() {
	p.known.iteration++
	p.learner.Release(p.known.forget()...)
	p.order, p.next = nil, nil
}

// Rebind gives a page to a loop whose configuration leaves every series as it is: what it knows stays true.
func (p *Page) Rebind(learner Learner, opts Options) {
	p.learner, p.opts, p.contentType = learner, opts, ""
}
