package exposition

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// A layout costs as much as 14 bytes a line, whatever the line says, and a line can be as short as two bytes. What
// sample_limit bounds has its bound there. The rest of a page (comments, lines that relabeling drops, lines that the
// page has shown already) is learned up to a number that no page of a mesh reaches; what comes after that is read and
// counted like the rest, but looked at anew each time.

const (
	// maxSpareLines is how many lines of a page that no sample limit bounds are learned.
	maxSpareLines = 1 << 19
	// maxHelpBytes bounds what a page keeps of HELP and UNIT lines, over all of its readings.
	maxHelpBytes = 4 << 20
	// helpEntryBytes is what an entry costs without its texts.
	helpEntryBytes = 100
)

// withinGrowth returns an error if the new series of the page take more memory than they may. It is asked after each
// chunk of a page.
func (p *Page) withinGrowth() error {
	d := p.draft
	if d == nil || p.opts.GrowthLimit == 0 {
		return nil
	}
	if grown := p.layouts.table.Grown(p.batch.Target) - d.grownBefore; grown > p.opts.GrowthLimit {
		return fmt.Errorf("%w: more than %d bytes; print fewer series or shorter labels, or raise body_size_limit",
			ErrGrowthLimit, p.opts.GrowthLimit)
	}
	return nil
}

// spent tells that the page has had its share of lines that no sample limit bounds.
func (p *Page) spent() bool { return p.spare > p.spareLimit }

// unlearnable tells that a sample not known before is not worth learning: it is beyond sample_limit.
func (p *Page) unlearnable() bool { return errors.Is(p.limitErr, ErrSampleLimit) }

// repeats counts a sample without a timestamp of its own that the page has shown before, and appends nothing. False: it
// has not.
func (p *Page) repeats(n int) bool {
	d := p.diverge()
	if !d.met(n) {
		return false
	}
	at := d.at(n)
	p.counts.Scraped++
	p.spare++
	if at.kind() != placeDropped {
		p.counts.Kept++
		p.counts.Duplicates++
	}
	return true
}

// readAll is io.ReadAll, but that a body which turns out too long was never held more than once.
func readAll(body io.Reader) ([]byte, error) {
	const most = 4 << 20
	var parts [][]byte
	for size := chunkBytes; ; size = min(2*size, most) {
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
