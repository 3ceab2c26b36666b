package exposition

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/model/value"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// maxLineBytes bounds what is held of a page at once.
const maxLineBytes = 1 << 20

// chunkBytes is how much of a page is read at a time.
const chunkBytes = 64 << 10

// Errors of a page that are no parse errors. ErrSampleLimit and ErrBucketLimit fail the scrape after everything was
// counted, ErrGrowthLimit at once.
var (
	ErrSampleLimit = errors.New("sample limit exceeded")
	ErrBucketLimit = errors.New("histogram bucket limit exceeded")
	ErrGrowthLimit = errors.New("new series of one page take too much memory")
	errLongLine    = fmt.Errorf("a line is longer than %d bytes", maxLineBytes)
)

// ErrLabelTwice is a Learner's error for a series that has a label name twice. In Prometheus its storage finds that,
// behind the limits: a sample that they keep out does not fail the page for it.
var ErrLabelTwice = errors.New("label name is not unique")

// Learner decides what becomes of a series that a page shows for the first time.
type Learner interface {
	// Learn returns the id of the series made of the labels that the page printed, with a reference that the
	// page owns; keep is false for a series that relabeling dropped. An error fails the scrape. The strings of
	// l and m are the learner's only until it returns.
	Learn(l labels.Labels, m series.Meta) (id series.ID, keep bool, err error)

	// Late tells that a sample with a timestamp of its own (Unix milliseconds) is not newer than the last of its
	// series: it is left out, counted, and the series does not count as shown.
	Late(id series.ID, at int64) bool
}

// Options are what a scrape configuration says of reading a page. Zero limits are off.
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
	Added       int  // with a text not known before
	Duplicates  int  // of a series the page had already shown; the first wins
	OutOfBounds int  // timestamps too far in the future
	OutOfOrder  int  // timestamps not newer than that of the series' last sample
	Unchanged   bool // every line was the one expected: no series is new, none vanished
}

// Page reads the pages of one target, one after another. It belongs to the target's loop.
//
// Cost: half a kilobyte, and a share of its layout. It shrinks when a good page no longer shows a line.
type Page struct {
	layouts    *Layouts
	learner    Learner
	opts       Options
	spareLimit int // maxSpareLines, but in tests

	layout *layout // what is known of the lines; nobody else's to change

	contentType string // of the last page, and whether it is plain text
	plain       bool

	help      map[uint64]series.Meta // hash of a family -> HELP and UNIT; Envoy prints neither
	helpBytes int                    // of help

	// The page being read.
	batch     *series.Batch
	counts    Counts
	maxTime   int64
	cursor    int              // number of the line expected next
	draft     *draft           // nil as long as no line was out of place
	diverged  bool             // a line was not the one expected
	empty     bool             // the body had not one byte
	cut       bool             // the body could not be read to its end
	parseType model.MetricType // TYPE in force for the labels' normalisation
	family    family
	changed   bool // the page says of the family in force what it did not before
	appended  int  // samples that count for sample_limit
	limitErr  error
	spare     int // lines that no sample limit bounds: comments, dropped ones, repeated ones
	scanned   int // bytes looked at, those of a line that goes on more than once

	exemplars exemplars
	histogram histogramAtHand
	wasted    int // bytes of lines that repeat compared, and were others

	// repeatable is how many of the expected lines repeat may take: all, or none any more.
	repeatable int
}

// NewPage returns a page that knows no line yet.
func NewPage(layouts *Layouts, learner Learner, opts Options) *Page {
	return &Page{layouts: layouts, learner: learner, opts: opts, spareLimit: maxSpareLines, layout: &layout{refs: 1}}
}

var chunks = sync.Pool{New: func() any { b := make([]byte, chunkBytes); return &b }}

// putChunk keeps a buffer for the next page, unless a long line made it grow.
func putChunk(buf *[]byte) {
	if len(*buf) == chunkBytes {
		chunks.Put(buf)
	}
}

// Read adds the samples of one page to b. contentType is the response's. Samples with a timestamp of their
// own after maxTime (Unix milliseconds) are left out and counted.
//
// A failure to read the body yields no counts, as in Prometheus, which reads before it parses; any other
// error yields what was counted so far. After an error b holds what must not be used. Read must be followed
// by Commit or Abandon.
func (p *Page) Read(body io.Reader, contentType string, maxTime int64, b *series.Batch) (Counts, error) {
	p.start(maxTime, b)

	buf := chunks.Get().(*[]byte)
	defer putChunk(buf)
	n, err := io.ReadAtLeast(body, *buf, 1)
	if err == io.EOF { // an empty page needs no content type
		p.empty = true
		return p.finish()
	}
	if err != nil {
		return p.unread(err)
	}
	if err := p.negotiate(contentType); err != nil {
		return p.failed(body, err)
	}
	if !p.plain {
		return p.readWhole(io.MultiReader(bytes.NewReader(bytes.Clone((*buf)[:n])), body), contentType)
	}
	return p.stream(body, buf, n)
}

func (p *Page) start(maxTime int64, b *series.Batch) {
	p.batch, p.maxTime = b, maxTime
	p.counts, p.cursor, p.diverged, p.empty, p.cut = Counts{}, 0, false, false, false
	p.parseType, p.family, p.changed = "", family{}, false
	p.appended, p.limitErr = 0, nil
	p.spare, p.scanned, p.wasted, p.repeatable = 0, 0, 0, p.layout.expected
	if p.helpBytes > maxHelpBytes {
		p.help, p.helpBytes = nil, 0
	}
	p.exemplars.begin()
}

// negotiate finds out what the content type means, once for each that a target sends.
func (p *Page) negotiate(contentType string) error {
	if p.contentType == contentType && contentType != "" {
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
	if p.contentType != "" && plain != p.plain {
		p.Forget() // the same text may mean something else
	}
	p.plain = plain
	p.contentType = contentType
	return nil
}

// stream reads a plain text page in chunks. The first n bytes of *buf are its beginning.
func (p *Page) stream(body io.Reader, buf *[]byte, n int) (Counts, error) {
	text, eof := (*buf)[:n], false
	for {
		p.scanned += len(text)
		rest, end, err := p.lines(text, eof)
		if err == nil {
			err = p.withinGrowth()
		}
		if err != nil || end {
			return p.failed(body, err)
		}
		if eof {
			break
		}
		if len(rest) > maxLineBytes {
			return p.failed(body, errLongLine)
		}
		if len(rest) > len(*buf)/2 {
			*buf = append(make([]byte, 0, 2*len(*buf)), rest...)[:2*len(*buf)] // a long line, rare
		} else {
			copy(*buf, rest)
		}
		// A line that goes on is looked at again from its beginning, so only when it is twice as long.
		read, err := readAtLeast(body, (*buf)[len(rest):], max(1, len(rest)))
		text = (*buf)[:len(rest)+read]
		switch {
		case err == io.EOF:
			eof = true
		case err != nil:
			return p.unread(err)
		}
	}
	return p.finish()
}

// readAtLeast is io.ReadAtLeast, but for the end of the body: that stays io.EOF however much was read before.
func readAtLeast(body io.Reader, buf []byte, least int) (n int, err error) {
	for n < least && err == nil {
		var read int
		read, err = body.Read(buf[n:])
		n += read
	}
	return n, err
}

// failed ends a page that cannot be good any more (or, with a nil error, one that a NUL ended early): the
// body is still read to its end, since a failure to read it is what Prometheus would report.
func (p *Page) failed(body io.Reader, err error) (Counts, error) {
	if _, readErr := io.Copy(io.Discard, body); readErr != nil {
		return p.unread(readErr)
	}
	if err != nil {
		return p.counts, err
	}
	return p.finish()
}

// unread ends a page that could not be read: it counts for nothing.
func (p *Page) unread(err error) (Counts, error) {
	p.cut = true
	if p.draft != nil {
		p.draft.appended = 0
	}
	return Counts{}, err
}

func (p *Page) finish() (Counts, error) {
	if p.limitErr != nil {
		return p.counts, p.limitErr
	}
	if p.cursor < p.layout.shown {
		p.diverge() // the page ended early
	}
	p.counts.Unchanged = !p.diverged
	return p.counts, nil
}

// lines takes every whole line of text and returns what is left. At eof the last line needs no newline.
// end tells that the page ended before its text did.
func (p *Page) lines(text []byte, eof bool) (rest []byte, end bool, err error) {
	for len(text) > 0 {
		if n := p.repeat(text); n > 0 {
			text = text[n:]
			continue
		}
		if n := blankLines(text); n > 0 {
			text = text[n:]
			continue
		}
		nl := bytes.IndexByte(text, '\n')
		if nl < 0 {
			if !eof {
				return text, false, nil
			}
			nl = len(text)
		}
		line := text[:nl]
		taken := len(bytes.TrimLeft(line, " \t")) == 0 // the page's last
		if !taken {
			if taken, err = p.hit(line); err != nil {
				return nil, false, err
			}
		}
		if taken {
			text = text[min(nl+1, len(text)):]
			continue
		}
		n, whole := logicalLine(text)
		if !whole && !eof {
			return text, false, nil
		}
		if end, err = p.readCold(text[:n], n <= nl+1); end || err != nil {
			return nil, end, err
		}
		text = text[n:]
	}
	return nil, false, nil
}

// comment takes a known comment line: a TYPE or HELP moves the family in force.
func (p *Page) comment(at place, families []family) {
	p.spare++
	if at.kind() != placeFamily {
		return
	}
	if f := families[at.number()]; f.help {
		p.family = p.family.moved(f.hash)
	} else {
		p.family, p.parseType = f, f.typ.Model()
	}
}

// sample takes a sample without a timestamp of its own in the place where it is expected.
func (p *Page) sample(at place, v float64) {
	p.counts.Scraped++
	if at.kind() == placeDropped {
		p.spare++
		return
	}
	p.counts.Kept++
	if at&repeatedBit != 0 {
		p.spare++
		p.counts.Duplicates++
		return
	}
	if !p.countSample() {
		return
	}
	if at&duplicateBit != 0 {
		p.counts.Duplicates++
		return
	}
	p.batch.Add(at.id(), canonical(v))
}

// sampleAgain takes a sample without a timestamp of its own, known from elsewhere.
func (p *Page) sampleAgain(n int, v float64) {
	if p.spent() && p.repeats(n) {
		return
	}
	fresh := p.again(n)
	at := p.draft.last()
	if at.kind() == placeSeries {
		if !fresh {
			*at |= duplicateBit | repeatedBit
		} else if !p.draft.seen.Add(uint32(at.id())) {
			*at |= duplicateBit
		}
	}
	p.sample(*at, v)
}

// again appends a known line to a page that is not the one expected, and expects next what followed it last
// time. It tells whether the page shows the line for the first time.
func (p *Page) again(n int) (fresh bool) {
	d := p.diverge()
	if n < p.layout.expected {
		p.cursor = n + 1
	}
	d.follow(n)
	return d.mark(n)
}

// canonical gives every NaN of a page the same bits, so that none is taken for a staleness marker.
func canonical(v float64) float64 {
	if math.IsNaN(v) {
		return math.Float64frombits(value.NormalNaN)
	}
	return v
}

// countSample counts towards sample_limit and tells whether the sample is within.
func (p *Page) countSample() bool {
	p.appended++
	if p.opts.SampleLimit > 0 && p.appended > p.opts.SampleLimit {
		p.limitErr = ErrSampleLimit
		return false
	}
	return true
}
