package exposition

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"io"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// maxLineBytes bounds how long a line may be, and so how much of a plain text page is in memory at once.
const maxLineBytes = 1 << 20

// Errors of a page besides those of its text. ErrSampleLimit and ErrBucketLimit fail the scrape after everything was
// counted, ErrGrowthLimit at once.
var (
	ErrSampleLimit = errors.New("sample limit exceeded")
	ErrBucketLimit = errors.New("histogram bucket limit exceeded")
	ErrGrowthLimit = errors.New("new series of one page take too much memory")
	errLongLine    = fmt.Errorf("a line is longer than %d bytes", maxLineBytes)
)

// reading is one page while it is read.
type reading struct {
	page    *Page
	layout  *layout      // the page's, which stays the same while the page is read; if settled, what it becomes
	seed    maphash.Seed // of the hashes of lines
	batch   *series.Batch
	maxTime int64 // of samples with a timestamp of their own, in Unix milliseconds
	counts  Counts

	cursor    cursor
	draft     *draft // nil as long as no line had to be searched or learned, and after Settle
	family    familyInForce
	limits    limits
	histogram histogramCheck

	empty   bool // the body had not one byte
	cut     bool // the body could not be read to its end
	settled bool // Settle has made the layout, and Commit has not taken it
}

// cursor is the position of a page in the layout.
//
// Invariant: while diverged is false, the lines so far are the first next lines of the layout, and no draft has to
// collect them. If the layout has lines a, b, c and the page is b, c, the page diverges at b. The draft then has the
// lines so far, and next is the line that followed the last one on the page before: c is expected after b.
type cursor struct {
	next     int // number of the line expected next
	diverged bool

	// Invariant of the fast path: the bytes hashed without a match never exceed the bytes read. A page of blank lines
	// where one long line is expected is therefore not hashed again and again.
	fast   int // expectedLine takes the lines before this number: all those expected, or none any more
	read   int // bytes of the page; those of a line that goes on in the next chunk count more than once
	missed int // bytes that expectedLine has hashed without a match
}

// begin returns the reading of the next page.
func (p *Page) begin(maxTime int64, b *series.Batch) *reading {
	p.reading = reading{
		page: p, layout: p.layout, seed: p.layouts.seed, batch: b, maxTime: maxTime,
		cursor: cursor{fast: p.layout.expected},
	}
	p.texts.begin()
	p.exemplars.begin()
	return &p.reading
}

// stream reads a plain text page in pieces, of which text is the first.
func (r *reading) stream(in Pieces, text []byte) (Counts, error) {
	for eof := false; ; {
		r.cursor.read += len(text)
		rest, end, err := r.lines(text, eof)
		if err == nil {
			err = r.checkGrowth()
		}
		if err != nil || end {
			return r.drain(in, err)
		}
		if eof {
			return r.finish()
		}
		if len(rest) > maxLineBytes {
			return r.drain(in, errLongLine)
		}
		// A line that goes on is looked at again from its beginning, so only when it is twice as long.
		text, err = in.More(len(rest), max(1, len(rest)))
		switch {
		case err == io.EOF:
			eof = true
		case err != nil:
			return r.cutOff(err)
		}
	}
}

// lines takes every whole line of text and returns what is left. At eof the last line needs no newline. end reports
// that the page ended before its text did, as textparse ends it at a NUL.
//
// A line is taken in the first way that fits: as the known line expected next (expectedLine), as a known line elsewhere
// or a new line in Envoy's form (sampleLine, knownComment), or as anything else (slowLine).
func (r *reading) lines(text []byte, eof bool) (rest []byte, end bool, err error) {
	for len(text) > 0 {
		n := r.expectedLine(text)
		if n == 0 {
			n = blankLines(text)
		}
		if n == 0 {
			if n, end, err = r.otherLine(text, eof); err != nil || end {
				return nil, end, err
			}
			if n == 0 {
				return text, false, nil
			}
		}
		text = text[n:]
	}
	return nil, false, nil
}

// otherLine takes the line that text begins with, and returns its length; 0: text does not have all of the line.
func (r *reading) otherLine(text []byte, eof bool) (n int, end bool, err error) {
	newline := bytes.IndexByte(text, '\n')
	if newline < 0 {
		if !eof {
			return 0, false, nil
		}
		newline = len(text)
	}
	line := text[:newline]
	var taken bool
	switch {
	case isBlank(line): // the page's last
		taken = true
	case line[0] == '#':
		taken = r.knownComment(line) || newline < len(text) && r.envoyTypeLine(line)
	default:
		taken, err = r.sampleLine(line)
	}
	if taken || err != nil {
		return min(newline+1, len(text)), false, err
	}
	n, whole := logicalLine(text)
	if !whole && !eof {
		return 0, false, nil
	}
	end, err = r.slowLine(text[:n], n <= newline+1)
	return n, end, err
}

// sampleLine takes a line that is a sample without a timestamp and is either known or in Envoy's form. If it is not,
// the line is for slowLine.
func (r *reading) sampleLine(line []byte) (taken bool, err error) {
	text, number := cutValue(line)
	v, ok := parseValue(number)
	if !ok {
		return false, nil
	}
	hash := r.hashSeries(text)
	if r.isNext(hash) {
		r.expectedSample(v)
		return true, nil
	}
	if n, known := r.find(hash); known {
		r.knownSample(n, text, v)
		return true, nil
	}
	return r.newSample(hash, text, v)
}

// borrowDraft returns the draft of the page, which it gets at the first call.
func (r *reading) borrowDraft() *draft {
	if r.draft == nil {
		r.draft = r.page.layouts.drafts.Get().(*draft)
		var lastGood *layout
		if r.page.turned {
			lastGood = r.page.other
		}
		r.draft.open(r.layout, lastGood)
		if r.page.opts.GrowthLimit > 0 {
			r.draft.grown = r.page.layouts.table.Grown(r.batch.Target)
		}
	}
	return r.draft
}

// diverge makes the draft collect the lines of the page, which is not, or no longer, the one expected.
func (r *reading) diverge() *draft {
	d := r.borrowDraft()
	if c := &r.cursor; !c.diverged {
		c.diverged, c.fast = true, 0
		d.begin(c.next, r.batch)
	}
	return d
}

// finish ends a page that was read to its end.
func (r *reading) finish() (Counts, error) {
	if r.limits.exceeded != nil {
		return r.counts, r.limits.exceeded
	}
	if r.cursor.next < r.layout.shown {
		r.diverge() // the page ended early
	}
	r.counts.Unchanged = !r.cursor.diverged
	return r.counts, nil
}

// drain ends a page that cannot be good any more or, with a nil error, one that a NUL ended early. The body is still
// read to its end: if that fails, Prometheus would report that error.
func (r *reading) drain(in Pieces, err error) (Counts, error) {
	for {
		if _, readErr := in.More(0, 1); readErr == io.EOF {
			break
		} else if readErr != nil {
			return r.cutOff(readErr)
		}
	}
	if err != nil {
		return r.counts, err
	}
	return r.finish()
}

// cutOff ends a page whose body could not be read to its end. Nothing that it has counted counts, but the lines that it
// taught stay known.
func (r *reading) cutOff(err error) (Counts, error) {
	r.cut = true
	if r.draft != nil {
		r.draft.added.reset()
	}
	return Counts{}, err
}
