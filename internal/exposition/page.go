package exposition

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
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

// Errors of a page that are no parse errors. Both fail the scrape after everything was counted.
var (
	ErrSampleLimit = errors.New("sample limit exceeded")
	ErrBucketLimit = errors.New("histogram bucket limit exceeded")
	errLongLine    = fmt.Errorf("a line is longer than %d bytes", maxLineBytes)
)

// Learner decides what becomes of a series that a page shows for the first time.
type Learner interface {
	// Learn returns the id of the series made of the labels that the page printed, with a reference that the
	// page owns; keep is false for a series that relabeling dropped. An error fails the scrape. The strings of
	// l and m are the learner's only until it returns.
	Learn(l labels.Labels, m series.Meta) (id series.ID, keep bool, err error)
	// Release gives references back.
	Release(ids ...series.ID)
}

// Options are what a scrape configuration says of reading a page. Zero limits are off.
type Options struct {
	SampleLimit        int
	HonorTimestamps    bool
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
	Unchanged   bool // every line was the one expected: no series is new, none vanished
}

// Page reads the pages of one target, one after another. It belongs to the target's loop.
//
// Cost a line: 24 bytes in lines, 4 in order, some 30 in index. It shrinks when a good page no longer shows a
// line.
type Page struct {
	seed    maphash.Seed
	learner Learner
	opts    Options

	known lines
	order []uint32 // the lines of the last good page, in order, as places in known; topmost bits: marks
	next  []uint32 // the same of the page being read, once it differs

	contentType string // of the last page, and whether it is plain text
	plain       bool

	help map[uint64]series.Meta // hash of a family -> HELP and UNIT; Envoy prints neither

	// The page being read.
	batch     *series.Batch
	counts    Counts
	maxTime   int64
	cursor    int              // place in order of the line expected next
	diverged  bool             // a line was not the one expected
	empty     bool             // the body had not one byte
	parseType model.MetricType // TYPE in force for the labels' normalisation
	family    family
	seen      map[series.ID]struct{} // series of this page, once it diverged
	appended  int                    // samples that count for sample_limit
	limitErr  error
	cold      []byte
}

// NewPage returns a page that knows no line yet.
func NewPage(learner Learner, opts Options) *Page {
	return &Page{seed: maphash.MakeSeed(), learner: learner, opts: opts, known: newLines()}
}

var chunks = sync.Pool{New: func() any { b := make([]byte, chunkBytes); return &b }}

// Read adds the samples of one page to b. contentType is the response's. Samples with a timestamp of their
// own after maxTime (Unix milliseconds) are left out and counted.
//
// A failure to read the body yields no counts, as in Prometheus, which reads before it parses; any other
// error yields what was counted so far. After an error b holds what must not be used. Read must be followed
// by Commit or Abandon.
func (p *Page) Read(body io.Reader, contentType string, maxTime int64, b *series.Batch) (Counts, error) {
	p.start(maxTime, b)

	buf := chunks.Get().(*[]byte)
	defer chunks.Put(buf)
	n, err := io.ReadAtLeast(body, *buf, 1)
	if err == io.EOF { // an empty page needs no content type
		p.empty = true
		return p.finish()
	}
	if err != nil {
		return Counts{}, err
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
	p.counts, p.cursor, p.diverged, p.empty = Counts{}, 0, false, false
	p.parseType, p.family = "", family{}
	p.appended, p.limitErr = 0, nil
	p.known.iteration++
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
	_, p.plain = parser.(*textparse.PromParser)
	p.contentType = contentType
	return nil
}

// stream reads a plain text page in chunks. The first n bytes of *buf are its beginning.
func (p *Page) stream(body io.Reader, buf *[]byte, n int) (Counts, error) {
	text, eof := (*buf)[:n], false
	for {
		rest, end, err := p.lines(text, eof)
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
		read, err := body.Read((*buf)[len(rest):])
		text = (*buf)[:len(rest)+read]
		switch {
		case err == io.EOF:
			eof = true
		case err != nil:
			return Counts{}, err
		}
	}
	return p.finish()
}

// failed ends a page that cannot be good any more (or, with a nil error, one that a NUL ended early): the
// body is still read to its end, since a failure to read it is what Prometheus would report.
func (p *Page) failed(body io.Reader, err error) (Counts, error) {
	if _, readErr := io.Copy(io.Discard, body); readErr != nil {
		return Counts{}, readErr
	}
	if err != nil {
		return p.counts, err
	}
	return p.finish()
}

func (p *Page) finish() (Counts, error) {
	if p.limitErr != nil {
		return p.counts, p.limitErr
	}
	if p.cursor < len(p.order) {
		p.diverge() // the page ended early
	}
	p.counts.Unchanged = !p.diverged
	return p.counts, nil
}

// lines takes every whole line of text and returns what is left. At eof the last line needs no newline.
// end tells that the page ended before its text did.
func (p *Page) lines(text []byte, eof bool) (rest []byte, end bool, err error) {
	for len(text) > 0 {
		nl := bytes.IndexByte(text, '\n')
		if nl < 0 {
			if !eof {
				return text, false, nil
			}
			nl = len(text)
		}
		line := text[:nl]
		if len(line) == 0 || p.hit(line) {
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

// hit takes a line whose text is known: the repeat path.
func (p *Page) hit(line []byte) bool {
	if line[0] == '#' {
		at, ok := p.known.find(maphash.Bytes(p.seed, line)^commentSalt, p.order, p.cursor)
		if ok {
			p.comment(at)
		}
		return ok
	}
	text, number := cutValue(line)
	v, ok := parseValue(number)
	if !ok {
		return false
	}
	at, ok := p.known.find(maphash.Bytes(p.seed, text)^typeSalt(p.parseType), p.order, p.cursor)
	if ok {
		p.sample(at, v)
	}
	return ok
}

// cutValue splits `series value` from the right.
func cutValue(line []byte) (text, number []byte) {
	i := len(line) - 1
	for i >= 0 && line[i] != ' ' && line[i] != '\t' {
		i--
	}
	number = line[i+1:]
	for i >= 0 && (line[i] == ' ' || line[i] == '\t') {
		i--
	}
	return line[:i+1], number
}

// comment takes a known comment line: a TYPE or HELP moves the family in force.
func (p *Page) comment(at uint32) {
	p.expect(at)
	switch l := &p.known.entries[at]; l.kind {
	case lineType:
		p.parseType = l.metricType()
		p.family = family{hash: l.family(), typ: l.metricType()}
	case lineHelp:
		p.family = p.family.moved(l.family())
	}
}

// sample takes a sample without a timestamp of its own whose text is known.
func (p *Page) sample(at uint32, v float64) {
	expected, marks := p.expect(at)
	p.counts.Scraped++
	l := &p.known.entries[at]
	if l.kind == lineDropped {
		return
	}
	p.counts.Kept++
	if !expected {
		if !p.known.mark(at) {
			marks = duplicateBit | repeatedBit
		} else if !p.first(l.id) {
			marks = duplicateBit
		}
		p.next[len(p.next)-1] |= marks
	}
	if marks&repeatedBit != 0 {
		p.counts.Duplicates++
		return
	}
	if !p.countSample() {
		return
	}
	if marks&duplicateBit != 0 {
		p.counts.Duplicates++
		return
	}
	p.batch.Add(l.id, canonical(v))
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
