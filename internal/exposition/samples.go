package exposition

import (
	"errors"
	"fmt"
	"slices"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/model/value"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// ErrLabelTwice is a Learner's error for a series that has a label name twice. Prometheus finds this only when it
// stores a sample. So a sample that a limit leaves out does not fail the page.
var ErrLabelTwice = errors.New("label name is not unique")

var errTooMany = fmt.Errorf("more than %d series in this process", numberMask)

// newSample takes a sample of a line that is not known, without a timestamp of its own. If the line is not in Envoy's
// form, it is for slowLine.
func (r *reading) newSample(hash uint64, text []byte, v float64) (taken bool, err error) {
	over := r.overSampleLimit()
	n, recalled := 0, false
	if !over {
		n, recalled, err = r.recall(hash, text)
	}
	if !recalled {
		lset, ok := r.borrowDraft().envoy.parse(text, r.family.parseType)
		switch {
		case !ok:
			return false, nil
		case over:
			return true, r.leaveOut(lset, nil)
		}
		r.diverge()
		n, err = r.learn(hash, hash, lset, lengthOf(text), nil)
	}
	if err != nil || n < 0 {
		r.counts.Scraped++
		return true, err
	}
	r.addSample(n, true, nil, canonical(v))
	return true, nil
}

// recall is learn for a line in Envoy's form of which the Learner knows what it becomes, for example because a replica
// has printed it. Only such lines are learned with the hash of their text.
func (r *reading) recall(hash uint64, text []byte) (n int, ok bool, err error) {
	id, keep, ok := r.page.learner.Recall(hash, r.meta(printedName(text)))
	if !ok {
		return 0, false, nil
	}
	r.diverge()
	n, err = r.learned(hash, id, keep, lengthOf(text), nil)
	return n, true, err
}

// parsedSample takes one sample that textparse found, and learns its line if it is new. It returns the index of the
// sample in the batch, or -1 if it is not there.
func (r *reading) parsedSample(parser textparse.Parser, text []byte, own *int64, v float64) (index int, err error) {
	if !r.page.opts.HonorTimestamps {
		own = nil
	}
	d := r.diverge()
	d.timed = d.timed || own != nil

	hash := r.hashSeries(text)
	n, known := r.search(hash)
	isNew := !known || d.isNew(n)
	if known && r.family.changed {
		var lset labels.Labels
		parser.Labels(&lset)
		r.updateMeta(n, lset.Get(model.MetricNameLabel))
	}
	over := r.histogram.overBuckets != nil
	if !known || isNew && (over || own != nil && r.isRefused(d.known.at(n), *own)) {
		var lset labels.Labels
		parser.Labels(&lset)
		if known || over || own != nil && *own > r.maxTime || r.overSampleLimit() {
			return -1, r.leaveOut(lset, own)
		}
		if n, err = r.learn(hash, 0, lset, lengthOf(text), own); err != nil || n < 0 {
			r.counts.Scraped++
			return -1, err
		}
	}
	return r.addSample(n, isNew, own, v), nil
}

// isRefused reports whether a storage would refuse a sample because of its own timestamp.
func (r *reading) isRefused(ref lineRef, own int64) bool {
	return own > r.maxTime || ref.isSeries() && r.page.learner.Late(ref.id(), own)
}

// learn asks the Learner what becomes of a series, and returns the number that its line has from now on. It returns -1
// if the line is not learned: the page has dropped too many, or the sample's own timestamp is out of order. text is the
// hash of a line in Envoy's form, else 0.
func (r *reading) learn(hash, text uint64, lset labels.Labels, length uint16, own *int64) (n int, err error) {
	id, keep, err := r.page.learner.Learn(text, lset, r.meta(lset.Get(model.MetricNameLabel)))
	if err != nil {
		return -1, r.unlessLimited(err, own)
	}
	return r.learned(hash, id, keep, length, own)
}

// learned gives a line a number, as learn.
func (r *reading) learned(hash uint64, id series.ID, keep bool, length uint16, own *int64) (n int, err error) {
	p := r.page
	switch {
	case !keep && r.tooManyExempt():
		return -1, nil
	case !keep:
		return r.draft.known.learn(hash, refDropped, length), nil
	case id > series.ID(numberMask):
		p.layouts.table.Release(slices.Values([]series.ID{id}))
		return 0, errTooMany
	case own != nil && p.learner.Late(id, *own):
		p.layouts.table.Release(slices.Values([]series.ID{id}))
		r.countLeftOut(own)
		return -1, nil
	}
	return r.draft.known.learn(hash, refSeries|lineRef(id), length), nil
}

// addSample counts one sample of a known line, and adds it to the batch. It returns its index there, or -1 if it is not
// there. isNew: no earlier page counted the line. Compare fresh: this page shows the line for the first time.
func (r *reading) addSample(n int, isNew bool, own *int64, v float64) (index int) {
	d := r.draft
	if own == nil && r.tooManyExempt() && r.countRepeated(n) {
		return -1
	}
	r.counts.Scraped++
	fresh := r.show(n)
	ref := d.last()
	if ref.kind() == refDropped {
		r.limits.exemptLines++
		return -1
	}
	r.counts.Kept++
	if !fresh && own == nil {
		r.limits.exemptLines++
		r.counts.Duplicates++
		*ref |= markRepeated
		return -1
	}
	// Protobuf can hold a staleness marker, which no limit counts.
	if marker := !isNew && value.IsStaleNaN(v); !marker && !r.withinLimits() {
		return -1
	}
	id := ref.id()
	if own != nil && !r.page.opts.TrackTimestamps {
		*ref |= markDuplicate // staleness does not follow it
	}
	if own != nil && *own > r.maxTime {
		r.counts.OutOfBounds++
		*ref |= markDuplicate
		return -1
	}
	if r.histogram.invalid != nil {
		r.histogram.refused = r.histogram.invalid
		return -1
	}
	if own != nil && r.page.learner.Late(id, *own) {
		r.counts.OutOfOrder++
		*ref |= markDuplicate
		return -1
	}
	if isNew && fresh {
		r.countAdded(n)
	}
	if own == nil && !d.onSeries.Add(uint32(id)) {
		r.counts.Duplicates++
		*ref |= markDuplicate
		return -1
	}
	index = r.batch.Add(id, v)
	if own != nil {
		r.batch.Times = append(r.batch.Times, series.OwnTime{Index: index, Time: *own})
	}
	return index
}

// leaveOut counts a sample of a new series that is not taken: because of its own timestamp, because the page has too
// many samples, or because its histogram has too many buckets. The line stays unknown.
func (r *reading) leaveOut(lset labels.Labels, own *int64) error {
	r.counts.Scraped++
	id, keep, err := r.page.learner.Learn(0, lset, r.meta(lset.Get(model.MetricNameLabel)))
	switch {
	case err != nil:
		return r.unlessLimited(err, own)
	case !keep:
		return nil
	}
	r.page.layouts.table.Release(slices.Values([]series.ID{id}))
	r.countLeftOut(own)
	return nil
}

// countLeftOut counts a sample that passed the rules and is not taken.
func (r *reading) countLeftOut(own *int64) {
	r.counts.Kept++
	switch {
	case !r.withinLimits() || own == nil:
	case *own > r.maxTime:
		r.counts.OutOfBounds++
	case r.histogram.invalid != nil:
		r.histogram.refused = r.histogram.invalid
	default:
		r.counts.OutOfOrder++
	}
}

// unlessLimited returns the error of a new series, which fails the page, unless a limit keeps its sample out.
func (r *reading) unlessLimited(err error, own *int64) error {
	if !errors.Is(err, ErrLabelTwice) {
		return err
	}
	limited := !r.withinLimits()
	if tooFar := own != nil && *own > r.maxTime; tooFar && !limited {
		r.counts.OutOfBounds++
		limited = true
	}
	if !limited {
		return err
	}
	r.counts.Kept++
	return nil
}
