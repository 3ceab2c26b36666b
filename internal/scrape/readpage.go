package scrape

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
	"github.com/envoy-scraper/envoy-scraper/internal/hashindex"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// pageRead is a page that was read, or why it was not.
type pageRead struct {
	filtered  bool
	batch     *series.Batch // nil: there was no page
	counts    exposition.Counts
	size      pageSize
	err       error
	unfetched bool // err is not about what the page says
}

// read fetches the page that is due, the whole one or the filtered one. If what comes speaks against the filter, it
// fetches the other page in its place, within the same timeout. The caller commits or abandons the page then.
func (l *loop) read(process context.Context, start, at time.Time) pageRead {
	ctx, cancel := context.WithTimeout(process, l.target.timeout)
	defer cancel()
	r := l.readPage(ctx, start, at, l.takesFilter() && l.turns.isFiltered())
	if missing, doubt := l.doubts(r); doubt {
		r = l.readOther(ctx, start, at, r, missing)
	}
	if r.unfetched && process.Err() == nil { // a scrape that the end of the process cut off is not logged
		l.job.failures.write(l.target.shown, errorText(r.err))
	}
	return r
}

// takesFilter reports whether the target may be asked with a filter now, as far as its job and its URL say.
func (l *loop) takesFilter() bool { return l.target.filters && l.job.filter.inForce() != "" }

// readPage fetches one page into a batch, which it takes from the pool when the page begins.
func (l *loop) readPage(ctx context.Context, start, at time.Time, filtered bool) (r pageRead) {
	r.filtered = filtered
	param := ""
	if filtered {
		param = l.job.filter.param
		l.job.metrics.filtered.Inc()
	}
	p, err := l.job.fetcher.get(ctx, l.target, param)
	if err != nil {
		r.err, r.unfetched = err, true
		return r
	}
	defer p.close()
	l.page.Turn(filtered)
	r.batch = l.batch(at)
	r.counts, r.err = l.page.Read(p.body, p.contentType, start.Add(maxAhead).UnixMilli(), r.batch)
	r.size = pageSize{page: p.body.n, wire: p.wireBytes(), reported: p.body.n}
	if r.unfetched = p.body.err != nil; r.unfetched {
		if r.size.reported = 0; errors.Is(r.err, errBodyLimit) {
			r.size.reported = -1
		}
	}
	return r
}

// doubts reports whether the other page must be read as well, because this one may be bad only for its filter, or only
// for lines that the filter leaves out, or because it lacks series that the filter may have lost. Some of those are in
// missing.
func (l *loop) doubts(r pageRead) (missing []series.ID, doubt bool) {
	switch {
	case r.err != nil && r.filtered:
		return nil, isAnswer(r.err)
	case r.err != nil:
		return nil, l.takesFilter() && l.turns.proven && l.turns.refusal == refusedNot && isAnswer(r.err)
	case r.filtered && (l.turns.whole || r.size.page == 0):
		missing = l.missingFrom(r.batch)
		return missing, len(missing) > 0
	default:
		return nil, false
	}
}

// isAnswer reports whether a scrape failed because of what the target answered, so that another request may succeed.
func isAnswer(err error) bool {
	if status := (*statusError)(nil); errors.As(err, &status) {
		switch status.code {
		case http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestTimeout, http.StatusTooManyRequests:
			return false
		}
		return status.code < http.StatusInternalServerError
	}
	switch reasonOf(err) {
	case "page", "body_size_limit", "growth_limit", "label_limit":
		return true
	default:
		return false
	}
}

// maxMissing is how many missing series are looked for on the other page.
const maxMissing = 64

// missingFrom returns live series that a batch lacks.
func (l *loop) missingFrom(b *series.Batch) (missing []series.ID) {
	var shown hashindex.Set
	shown.Reset(len(b.Series))
	for _, id := range b.Series {
		shown.Add(uint32(id))
	}
	for id := range l.live.Series() {
		if !shown.Has(uint32(id)) {
			if missing = append(missing, id); len(missing) == maxMissing {
				break
			}
		}
	}
	return missing
}

// readOther reads the other page in place of first. missing are series that first lacks.
func (l *loop) readOther(ctx context.Context, start, at time.Time, first pageRead, missing []series.ID) pageRead {
	if first.batch != nil {
		l.page.Abandon()
		l.env.batches.Put(first.batch)
	}
	l.job.metrics.pageBytes.Add(float64(first.size.page))
	l.job.metrics.wireBytes.Add(float64(first.size.wire))
	r := l.readPage(ctx, start, at, !first.filtered)
	switch {
	case r.err != nil: // the target is bad, whatever is asked
	case !first.filtered:
		l.job.metrics.filterFault(faultWhole)
		l.env.log.Debug("the whole page, which is read to check the filter, is bad; the filtered one is good",
			l.logFields(zap.String("error", errorText(first.err)))...)
	case first.err != nil:
		l.refuse(zap.String("error", errorText(first.err)))
	default:
		l.compare(first, r, missing)
	}
	return r
}

// refuse stops asking the target with a filter: it answered an error or nothing, but the whole page is good.
func (l *loop) refuse(why zap.Field) {
	l.turns.refusal = refusedAnswer
	l.job.metrics.filterFault(faultRefused)
	l.env.log.Warn("the target does not take the filter that is made of metric_relabel_configs; its pages are read "+
		"whole until another process answers", l.logFields(why)...)
}

// compare looks on a whole page for series that the filtered page lacked.
func (l *loop) compare(filtered, whole pageRead, missing []series.ID) {
	lost := l.firstShown(whole.batch, missing)
	switch {
	case lost == nil:
		l.turns.compared(false)
	case filtered.size.page == 0:
		l.refuse(zap.String("error", "the page is empty"))
	default:
		l.job.metrics.filterFault(faultLost)
		if l.turns.compared(true) && l.job.filter.stop(l.nameOf(*lost)) {
			l.env.log.Warn("the filter that is made of metric_relabel_configs loses a series that they keep; the "+
				"pages of the job are read whole until a reload. Please report it. push_down: off in "+
				"envoy_scraper.jobs switches filters off", l.logFields(zap.String("family", l.nameOf(*lost)),
				zap.String("filter", l.job.filter.expr))...)
		}
	}
}

// firstShown returns the first of some series that a batch has, or nil.
func (l *loop) firstShown(b *series.Batch, of []series.ID) *series.ID {
	for i := range of {
		for _, id := range b.Series {
			if id == of[i] {
				return &of[i]
			}
		}
	}
	return nil
}

// noteTurn keeps what a scrape says about the filter.
func (l *loop) noteTurn(r pageRead, restarted bool) {
	switch {
	case restarted:
		l.turns.otherProcess()
	case r.err != nil:
		reason := reasonOf(r.err)
		l.turns.bad(r.filtered, reason == "timeout", reason == "refused")
		return
	}
	compared := r.filtered && l.turns.whole
	l.turns.good(r.filtered, l.target.hash)
	if compared && savesLittle(r.counts.Scraped, int(l.status.wholeSamples)) { // nobody else writes the status
		l.turns.little()
	}
	if !r.filtered && !l.takesFilter() {
		l.page.ForgetOther()
	}
}

// nameOf returns the metric name of a series that the caller holds.
func (l *loop) nameOf(id series.ID) (name string) {
	l.env.table.Read(func(v series.View) {
		for _, pair := range v.Labels(nil, id, l.id) {
			if v.String(pair.Name) == model.MetricNameLabel {
				name = strings.Clone(v.String(pair.Value))
			}
		}
	})
	return name
}
