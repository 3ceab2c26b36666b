package scrape

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
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

	// This whole page was read in place of a filtered one, and lacks the same series.
	vanished bool
	instead  int // samples of that filtered page

	both bool // the other page was bad, too
}

// read fetches the page that is due, the whole one or the filtered one. If what comes speaks against the filter, it
// fetches the other page in its place, within the same timeout. The caller commits or abandons the page then.
func (l *loop) read(ctx *scrapeContext, start, at time.Time) pageRead {
	l.turns.follow(uint8(l.job.filter.reloads.Load()))
	r := l.readPage(ctx, start, at, l.takesFilter() && l.turns.isFiltered())
	if missing, doubt := l.doubts(ctx, r); doubt {
		r = l.readOther(ctx, start, at, r, missing)
	}
	if r.unfetched && ctx.Context.Err() == nil { // a scrape that the end of the process cut off is not logged
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
	r.counts, r.err = l.page.Read(p.body.reader(), p.contentType, start.Add(maxAhead).UnixMilli(), r.batch)
	r.size = pageSize{page: p.body.n, wire: p.wireBytes(), reported: p.body.n}
	if r.unfetched = p.body.err != nil; !r.unfetched {
		r.err = p.explain(r.err)
	} else {
		if r.size.reported = 0; errors.Is(r.err, errBodyLimit) {
			r.size.reported = -1
		}
	}
	return r
}

// doubts reports whether the other page must be read as well, because this one may be bad only for its filter, or only
// for lines that the filter leaves out, or because it lacks series that the filter may have lost. Some of those are in
// missing. A good page is not doubted if half of the timeout is over: the other page may not be read in time.
func (l *loop) doubts(ctx context.Context, r pageRead) (missing []series.ID, doubt bool) {
	deadline, _ := ctx.Deadline()
	late := time.Until(deadline) < l.target.timeout/2
	empty := r.size.page == 0
	switch {
	case r.err != nil && r.filtered:
		return nil, isAnswer(r.err)
	case r.err != nil:
		return nil, l.takesFilter() && l.turns.proven && l.turns.refusal == refusedNot && isAnswer(r.err)
	case r.filtered && (l.turns.whole || empty) && !late:
		missing = l.missingFrom(r.batch)
		return missing, len(missing) > 0 || empty && l.status.failures > 0
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
	shown := shownIn(b, l.job.cfg.TrackTimestampsStaleness)
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
	case r.err != nil: // the target is bad, whatever is asked, unless the filtered page was good
		r.both = first.err != nil
	case !first.filtered:
		l.job.metrics.filterFault(faultWhole)
		l.env.log.Debug("the whole page, which is read to check the filter, is bad; the filtered one is good",
			l.logFields(zap.String("error", errorText(first.err)))...)
	case first.err != nil:
		l.refuse(zap.String("error", errorText(first.err)))
	default:
		r.vanished, r.instead = l.compare(first, r, missing), first.counts.Scraped
	}
	return r
}

// refuse stops asking the target with a filter: it answered an error or nothing, but the whole page is good.
func (l *loop) refuse(why zap.Field) {
	l.turns.refusal = refusedAnswer
	l.job.metrics.filterFault(faultRefused)
	level := zap.DebugLevel
	if l.job.filter.mayWarn(time.Now()) {
		level = zap.WarnLevel
	}
	l.env.log.Log(level, "the target does not take the filter that is made of metric_relabel_configs; its pages are "+
		"read whole until another process answers", l.logFields(why)...)
}

// compare looks on a whole page for series that the filtered page lacked. It reports whether they have vanished.
func (l *loop) compare(filtered, whole pageRead, missing []series.ID) (vanished bool) {
	lost := slices.IndexFunc(missing, func(id series.ID) bool { return slices.Contains(whole.batch.Series, id) })
	switch {
	case lost < 0:
		return true
	case filtered.size.page == 0:
		l.refuse(zap.String("error", "the page is empty"))
	default:
		l.job.metrics.filterFault(faultLost)
		if l.turns.compared(true) && l.job.filter.stop(l.nameOf(missing[lost])) {
			l.env.log.Warn("the filter that is made of metric_relabel_configs loses a series that they keep; the "+
				"pages of the job are read whole until a reload. Please report it. push_down: off in "+
				"envoy_scraper.jobs switches filters off", l.logFields(zap.String("family", l.nameOf(missing[lost])),
				zap.String("filter", l.job.filter.expr))...)
		}
	}
	return false
}

// noteTurn keeps what a scrape says about the filter.
func (l *loop) noteTurn(r pageRead, restarted bool) {
	switch {
	case restarted:
		l.turns.otherProcess()
	case r.both:
		l.turns.bothBad()
		return
	case r.err != nil:
		switch reason := reasonOf(r.err); {
		case isOwnFailure(reason), reason == "sample_limit", reason == "bucket_limit": // whatever page is asked for
		default:
			l.turns.bad(r.filtered, reason == "timeout", reason == "refused")
		}
		return
	}
	filtered, whole := r.counts.Scraped, int(l.status.wholeSamples) // nobody else writes the status
	compared := r.vanished || r.filtered && l.turns.whole
	if r.vanished {
		filtered, whole = r.instead, r.counts.Scraped
		l.turns.rightly()
	} else if failed := l.turns.good(r.filtered, l.target.hash); failed {
		l.job.metrics.filterFault(faultFailed)
		l.env.log.Warn("scrapes with the filter that is made of metric_relabel_configs fail, and those without do "+
			"not; the pages of the target are read whole until a reload", l.logFields()...)
	}
	if compared {
		l.turns.compared(false)
		if SavesLittle(filtered, whole) {
			l.turns.little()
		}
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
