package exposition

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// sample_limit counts samples only. maxExemptLines is the maximum number of lines of a page that are learned although
// sample_limit does not count them.
const maxExemptLines = 1 << 19

// limits counts what is limited on a page. A layout costs 14 bytes per line, and a line can be as short as two bytes.
// sample_limit limits samples. Comments, dropped series and repeated lines are exempt from it. They have a limit of
// their own, maxExemptLines, which no page of a mesh reaches. Lines behind it are read and counted like the others, but
// not learned.
//
// Samples beyond sample_limit fail the page and are not in the batch. Which of their series get a staleness marker, and
// when: Page.ShownBeforeFailure, and finishBatch in package scrape.
type limits struct {
	samples     int   // that count for sample_limit
	exceeded    error // ErrSampleLimit or ErrBucketLimit: fails the page when everything was counted
	exemptLines int   // lines that sample_limit does not count
}

// countSample counts towards sample_limit and reports whether the sample is within.
func (r *reading) countSample() bool {
	r.limits.samples++
	if most := r.page.opts.SampleLimit; most > 0 && r.limits.samples > most {
		r.limits.exceeded = ErrSampleLimit
		return false
	}
	return true
}

// withinLimits checks the bucket limit if the sample is a histogram, then the sample limit.
func (r *reading) withinLimits() bool {
	switch err := r.histogram.overBuckets; {
	case err == nil:
		return r.countSample()
	case !errors.Is(err, ErrBucketLimit):
		r.histogram.refused = err
	case r.limits.exceeded == nil:
		r.limits.exceeded = err
	}
	return false
}

// overSampleLimit reports whether the page is beyond sample_limit. New lines are no longer learned then.
func (r *reading) overSampleLimit() bool { return errors.Is(r.limits.exceeded, ErrSampleLimit) }

// tooManyExempt reports whether the page is beyond maxExemptLines.
func (r *reading) tooManyExempt() bool { return r.limits.exemptLines > int(r.page.maxExempt) }

// countRepeated counts a sample without a timestamp of its own whose line the page has shown before, and leaves it out
// of the draft. If the page has not shown the line, countRepeated does nothing and returns false.
func (r *reading) countRepeated(n int) bool {
	d := r.diverge()
	if !d.onPage.has(n) {
		return false
	}
	ref := d.known.at(n)
	r.counts.Scraped++
	r.limits.exemptLines++
	if ref.kind() != refDropped {
		r.counts.Kept++
		r.counts.Duplicates++
	}
	return true
}

// checkGrowth returns an error if the new series of the page take more memory than they may. It is called after each
// chunk of a page.
func (r *reading) checkGrowth() error {
	d, most := r.draft, r.page.opts.GrowthLimit
	if d == nil || most == 0 {
		return nil
	}
	if r.page.layouts.table.Grown(r.batch.Target)-d.grown > most {
		return fmt.Errorf("%w: more than %d bytes; print fewer series or shorter labels, or raise body_size_limit",
			ErrGrowthLimit, most)
	}
	return nil
}

// readAll is io.ReadAll, except that a body which turns out too long is never held more than once.
func readAll(body io.Reader) ([]byte, error) {
	const maxPart = 4 << 20
	var parts [][]byte
	for size := chunkBytes; ; size = min(2*size, maxPart) {
		part := make([]byte, size)
		n, err := readAtLeast(body, part, len(part))
		parts = append(parts, part[:n])
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	if len(parts) == 1 {
		return parts[0], nil
	}
	return bytes.Join(parts, nil), nil
}
