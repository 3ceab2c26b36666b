package exposition

import (
	"io"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	"github.com/envoy-scraper/envoy-scraper/internal/hashindex"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// Learner decides what becomes of a series that a page shows for the first time.
type Learner interface {
	// Learn returns the id of the series made of the labels that the page printed, with a reference that the
	// page owns; keep is false for a series that relabeling dropped. An error fails the scrape. Learn must not keep
	// the strings of l and m. Lines whose hash text is the same, and not 0, have the same labels.
	Learn(text uint64, l labels.Labels, m series.Meta) (id series.ID, keep bool, err error)

	// Recall does what Learn would do for a line that was learned before, from a page of any target, with this text. It
	// is ok only if the Learner knows that Learn would return the same without an error.
	Recall(text uint64, m series.Meta) (id series.ID, keep, ok bool)

	// Late reports whether a sample with a timestamp of its own (Unix milliseconds) is not newer than the last one of
	// its series. Such a sample is left out and counted, and its series does not count as shown.
	Late(id series.ID, at int64) bool
}

// Options are what a scrape configuration says about reading a page. A limit of 0 is off.
type Options struct {
	SampleLimit        int
	GrowthLimit        int // bytes that the new series of a page may take in the table
	HonorTimestamps    bool
	TrackTimestamps    bool   // staleness follows series with timestamps of their own too
	Fallback           string // media type for a missing or unknown Content-Type; empty: refuse the page
	NativeHistograms   bool
	ClassicToo         bool // classic series beside native ones
	ToCustomBuckets    bool // convert classic histograms to custom buckets
	BucketLimit        int
	MaxHistogramSchema int32
}

// Counts is what a page held, in the terms of Prometheus' report series.
type Counts struct {
	Scraped     int  // samples on the page
	Kept        int  // left by metric relabeling
	Added       int  // with a line not known before
	Duplicates  int  // of a series that the page had already shown; the first sample wins
	OutOfBounds int  // timestamps too far in the future
	OutOfOrder  int  // timestamps not newer than that of the series' last sample
	Unchanged   bool // every line was the one expected: no series is new, none vanished
}

// Page reads the pages of one target, one after another. It keeps what they have taught. It belongs to the target's
// loop.
//
// Cost: half a kilobyte, and a share of its layout. The layout shrinks when a good page no longer shows a line.
type Page struct {
	layouts   *Layouts
	learner   Learner
	opts      Options
	maxExempt int32 // maxExemptLines, except in tests
	filtered  bool  // layout is that of the filtered page
	turned    bool  // the last good page was the other one

	layout    *layout       // the lines of the page that is read next
	other     *layout       // the lines of the target's other page, see twopages.go; nil: it has one page
	format    format        // of the last page
	texts     familyTexts   // HELP and UNIT
	exemplars sentExemplars // so that each is sent once

	reading reading // the page being read, from Read to Commit or Abandon
}

// NewPage returns a page that knows no line yet.
func NewPage(layouts *Layouts, learner Learner, opts Options) *Page {
	return &Page{
		layouts: layouts, learner: learner, opts: opts, maxExempt: maxExemptLines, layout: &layout{users: 1},
	}
}

// Read adds the samples of one page to b. If body implements Pieces, the page is not copied. contentType is the
// response's. Samples with a timestamp of their own after maxTime (Unix milliseconds) are left out and counted.
//
// A failure to read the body yields no counts, as in Prometheus, which reads before it parses; any other
// error yields what was counted so far. After an error b must not be used. Read must be followed by Commit or Abandon.
func (p *Page) Read(body io.Reader, contentType string, maxTime int64, b *series.Batch) (Counts, error) {
	in, ok := body.(Pieces)
	if !ok {
		c := copierOf(body)
		defer c.close()
		in = c
	}
	text, err := in.More(0, 1)
	if len(text) == 0 {
		r := p.begin(maxTime, b)
		if err == io.EOF { // an empty page needs no content type
			r.empty = true
			return r.finish()
		}
		return r.cutOff(err)
	}
	unknownFormat := p.setFormat(contentType)
	r := p.begin(maxTime, b)
	switch {
	case unknownFormat != nil:
		return r.drain(in, unknownFormat)
	case p.format.plain:
		return r.stream(in, text)
	default:
		return r.whole(&pieceReader{in, text, err}, contentType)
	}
}

// format is what the content type of a page means. The zero format is that of no page.
type format struct {
	contentType string
	plain       bool // text that is read line by line
}

// setFormat finds out what the content type means. It asks textparse only if the type differs from that of the last
// page. If the same text may mean something else now, the page forgets its lines.
func (p *Page) setFormat(contentType string) error {
	if p.format.contentType == contentType && contentType != "" {
		return nil
	}
	parser, err := textparse.New(nil, contentType, nil, textparse.ParserOptions{
		ConvertClassicHistogramsToNHCB: p.opts.ToCustomBuckets,
		FallbackContentType:            p.opts.Fallback,
	})
	if parser == nil {
		return err
	}
	_, plain := parser.(*textparse.PromParser)
	if p.format.contentType != "" && plain != p.format.plain {
		p.Forget()
	}
	p.format = format{contentType, plain}
	return nil
}

// Settle makes the layout of a good page, and gives back the memory that only reading the page needed: on a first page
// three times as much as the layout. The lines expected stay the same until Commit, which must follow when the samples
// of the page have been handed on.
func (p *Page) Settle() {
	r := &p.reading
	changed := r.cursor.diverged || p.layout.shown < p.layout.len()
	if r.settled || !changed || r.empty && !p.filtered {
		return
	}
	r.diverge()
	r.layout, r.settled = p.layoutRead(), true
	p.returnDraft()
}

// Commit ends a good page. Its lines are the ones expected on the next page; lines that it did not show are forgotten.
// before is what the last good page showed, or the zero Shown. Commit releases it and returns what this page showed.
//
// An empty page ends every series but teaches nothing: the lines stay known. An empty filtered page is one on which the
// rules would have dropped every line.
func (p *Page) Commit(before Shown) Shown {
	p.Settle()
	r := &p.reading
	empty := r.empty && !p.filtered
	if r.settled {
		p.replaceLayout(r.layout)
	}
	p.exemplars.commit()
	p.end()
	p.trimOther()
	p.turned = false
	now := Shown{p.layouts, p.layout}
	if empty {
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

// layoutRead returns the layout of the page just read, which was good.
func (p *Page) layoutRead() *layout {
	d := p.reading.draft
	d.numberFamilies()
	d.expected, d.shown = d.lines.len(), d.lines.len()
	if d.timed {
		// With timestamps of its own a page may show a series twice, so the order of its lines predicts nothing.
		d.expected = 0
		d.markDuplicates()
	}
	if d.layout.same(p.layout) {
		p.layouts.retain(p.layout)
		return p.layout
	}
	return p.layouts.publish(&d.layout)
}

// Abandon leaves everything as it was before the page just read, except that its lines stay known until a good page
// does not show them. Lines of a page that was turned to are forgotten.
func (p *Page) Abandon() {
	r := &p.reading
	if d := r.draft; r.cursor.diverged && !p.turned && (d.known.learned.len() > 0 || p.layout.len() > p.layout.shown) {
		good := p.layout.shown
		d.copyFrom(&p.layout.lines, good)
		d.addExtras()
		d.numberFamilies()
		d.expected, d.shown = p.layout.expected, good
		p.replaceLayout(p.layouts.own(&d.layout))
	}
	p.end()
}

// end drops what only a page being read needs.
func (p *Page) end() {
	p.returnDraft()
	p.reading = reading{}
}

// returnDraft gives the draft of the page being read back, if it has one.
func (p *Page) returnDraft() {
	d := p.reading.draft
	if d == nil {
		return
	}
	p.reading.draft = nil
	p.layouts.table.Release(d.known.learned.series())
	d.known.layout, d.lastGood.layout = nil, nil
	if !d.tooLarge() {
		p.layouts.drafts.Put(d)
	}
}

// ShownBeforeFailure returns the series that the page just read showed before it failed. Their samples are lost. These
// series get no marker now. A series gets one when the next page lacks it, as in Prometheus. Example: with sample_limit
// 4, a page with the series a to f fails: a to d count as shown, e and f do not. A body that could not be read showed
// nothing.
func (p *Page) ShownBeforeFailure() Shown {
	r := &p.reading
	if r.cut {
		return Shown{}
	}
	var seen hashindex.Set
	seen.Reset(len(r.batch.Series))
	own := r.batch.Times
	return p.layouts.Show(func(yield func(series.ID) bool) {
		for i, id := range r.batch.Series {
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

// Shows reports whether the page just read, if it was Unchanged, showed exactly the series of s.
func (p *Page) Shows(s Shown) bool { return !p.reading.empty && s.layout == p.layout }

// Knows reports whether one of the lines that the page knows is of a series. It looks at each line.
func (p *Page) Knows(id series.ID) bool {
	for _, l := range []*layout{p.layout, p.other} {
		if l != nil && slices.ContainsFunc(l.refs, func(r lineRef) bool { return r.isSeries() && r.id() == id }) {
			return true
		}
	}
	return false
}

// Forget gives back everything that the page knows: the target is gone, or prints another format now.
func (p *Page) Forget() {
	p.replaceLayout(&layout{users: 1})
	p.ForgetOther()
	p.exemplars = sentExemplars{}
	p.texts = familyTexts{}
}

// Rebind gives a page to a loop whose configuration leaves every series as it is. So the page keeps the lines it knows.
func (p *Page) Rebind(learner Learner, opts Options) {
	p.learner, p.opts, p.format.contentType = learner, opts, ""
}

// replaceLayout gives the page a layout of which the caller is a user.
func (p *Page) replaceLayout(l *layout) {
	p.layouts.release(p.layout)
	p.layout = l
}
