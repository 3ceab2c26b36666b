package scrape

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// maxAhead is how far in the future a page may date its samples.
const maxAhead = 10 * time.Minute

// loop is a target between its scrapes. It has no goroutine of its own: the schedule calls scrape, one at a
// time.
type loop struct {
	env    *env      // what all loops share
	job    *jobState // of the loop's configuration; a reload makes a new loop
	target *target
	id     series.TargetID

	// The following belong to whoever runs the loop: the schedule, one scrape at a time.
	page    *exposition.Page
	live    exposition.Shown // by the last page, good or not: what is marked stale when it is gone
	ages    ages
	report  report
	stamps  stamps
	due     time.Time // of the scrape that runs; the schedule sets it before
	scraped bool      // at least once: else there is nothing to mark stale

	turn turn // the schedule's

	mu     sync.Mutex // guards the following
	status scrapeStatus
	found  foundTarget // the latest: what discovery says of these labels may change meanwhile
}

// scrapeStatus is what people ask of a target.
type scrapeStatus struct {
	health   Health
	last     time.Time
	duration time.Duration
	err      string
	counts   exposition.Counts
	since    time.Time // of the present health
}

// env is what all loops of a process share.
type env struct {
	table   *series.Table
	layouts *exposition.Layouts
	sink    Sink
	log     *zap.Logger
	metrics *metrics
	batches sync.Pool // of *series.Batch
	scratch sync.Pool // of *scratch
	panics  panics
}

func newLoop(e *env, job *jobState, t *target) *loop {
	id := e.table.AddTarget(t.labels)
	l := &loop{env: e, job: job, target: t, id: id, status: scrapeStatus{health: HealthUnknown}}
	l.page = exposition.NewPage(e.layouts, l.newLearner(), job.pageOptionsOf(t))
	job.fetcher.add(t)
	l.report = openReport(e.table, id, t.labels, job.cfg.ExtraScrapeMetricsEnabled())
	return l
}

// inherit takes over from a loop whose target had the same labels: after a reload, or when a target came back before it
// was marked stale. What old showed last and this loop's first scrape does not is marked there. A page under another URL
// is learned again, so that scrape_series_added counts all its series, as in Prometheus. The caller calls release for
// what was not taken over, without the schedule's lock: a large page takes longer than others should wait.
func (l *loop) inherit(old *loop) (release func()) {
	l.live, l.ages, l.stamps, l.scraped = old.live, old.ages, old.stamps, old.scraped
	left := old.page
	if l.job.series == old.job.series && l.target.url == old.target.url && l.target.socket == old.target.socket {
		left, l.page = l.page, old.page
		l.page.Rebind(l.newLearner(), l.job.pageOptionsOf(l.target))
	}
	old.mu.Lock()
	l.status = old.status
	old.mu.Unlock()
	l.report.inherit(l.env.table, old.report)
	return func() {
		left.Forget()
		old.job.fetcher.forget(old.target)
		l.env.table.ReleaseTarget(old.id)
	}
}

func (l *loop) newLearner() *learner {
	return &learner{
		table: l.env.table, target: l.id, labels: l.target.labels, cfg: l.job.cfg,
		scratch: &l.env.scratch, onLearn: l.report.met,
		exceed: l.job.metrics.labelLimit.Inc,
		late:   func(id series.ID, at int64) bool { return l.ages.late(l.live, id, at) },
	}
}

// release gives back everything that the loop holds. It is not used afterwards.
func (l *loop) release() {
	l.page.Forget()
	l.live.Release()
	l.ages.forget(l.env.table)
	l.report.release(l.env.table)
	l.env.table.ReleaseTarget(l.id)
	l.job.fetcher.forget(l.target)
}

// scrape reads the target once and hands on what that yields. A scrape that the end of ctx cut off yields
// nothing: no up=0, no marker.
func (l *loop) scrape(ctx context.Context, forced error) {
	start := time.Now()
	ts := l.stamps.scrape(start, l.due, l.target.interval)

	counts, size, err := exposition.Counts{}, int64(0), forced
	var b *series.Batch
	if forced == nil {
		b, counts, size, err = l.readOrFail(ctx, start, ts)
		if err != nil && ctx.Err() != nil {
			if b != nil {
				l.page.Abandon()
				l.env.batches.Put(b)
			}
			return
		}
	}
	read := b != nil
	if !read {
		b = l.batch(ts)
	}
	defer l.env.batches.Put(b)
	took := time.Since(start)
	shown := l.failed(read, err)
	l.conclude(b, counts, took, size, shown, err)
	if appendErr := l.env.sink.Append(b); appendErr != nil {
		l.env.log.Error("samples not taken", zap.String("job", l.job.cfg.JobName), zap.String("target", l.target.shown), zap.Error(appendErr))
	}
	l.settle(b, read, shown, err)
	l.remember(ts, took, counts, err)
}

// batch borrows an empty batch.
func (l *loop) batch(at time.Time) *series.Batch {
	b := l.env.batches.Get().(*series.Batch)
	b.Reset(l.id, at.UnixMilli())
	return b
}

// read fetches the page into a batch, which it borrows when the page begins. A page that began must be committed or
// abandoned; if none did, the batch is nil.
func (l *loop) read(process context.Context, start, at time.Time) (b *series.Batch, c exposition.Counts, size int64, err error) {
	ctx, cancel := context.WithTimeout(process, l.target.timeout)
	defer cancel()
	p, err := l.job.fetcher.get(ctx, l.target)
	if err != nil {
		l.logFailure(process, err)
		return nil, c, 0, err
	}
	defer p.close()
	b = l.batch(at)
	c, err = l.page.Read(p.body, p.contentType, start.Add(maxAhead).UnixMilli(), b)
	size = p.body.n
	if p.body.err != nil {
		l.logFailure(process, err)
		if size = 0; errors.Is(err, errBodyLimit) {
			size = -1
		}
	}
	return b, c, size, err
}

// logFailure writes a page that could not be had to scrape_failure_log_file. One that could not be understood is not
// written there, as in Prometheus, nor is one that the end of the process cut off.
func (l *loop) logFailure(process context.Context, err error) {
	if process.Err() == nil {
		l.job.failures.write(l.target.shown, errorText(err))
	}
}

// failed returns what a failed page showed before it failed: a page that was not begun, nothing.
func (l *loop) failed(read bool, err error) exposition.Shown {
	if err == nil || !read {
		return exposition.Shown{}
	}
	return l.page.Failed()
}

// conclude completes the batch: staleness markers, then the report. Of a failed scrape shown is what its page had
// shown before it failed.
func (l *loop) conclude(b *series.Batch, c exposition.Counts, took time.Duration, size int64, shown exposition.Shown, err error) {
	health := 1.0
	if err != nil {
		health = 0
		b.Reset(b.Target, b.Time)
		markMissing(b, l.live, shown)
	} else if !c.Unchanged || !l.page.Shows(l.live) {
		markVanished(b, l.live, l.job.cfg.TrackTimestampsStaleness)
	}
	l.report.add(b, [8]float64{
		health, took.Seconds(), float64(c.Scraped), float64(c.Kept), float64(c.Added),
		l.target.timeout.Seconds(), float64(l.job.cfg.SampleLimit), float64(size),
	}, err == nil && c.Scraped > 0 && c.OutOfOrder == 0 && c.OutOfBounds == 0)
}

// settle lets the page learn from a good scrape, after its batch was handed on: markers needed the references. Of a
// failed scrape shown is what its page had shown.
func (l *loop) settle(b *series.Batch, read bool, shown exposition.Shown, err error) {
	l.ages.note(l.env.table, b, err == nil)
	if err == nil {
		l.live = l.page.Commit(l.live)
	} else {
		if read {
			l.page.Abandon()
		}
		l.live.Release()
		l.live = shown
	}
	l.report.settle(l.env.table)
	l.scraped = true
}

// end marks everything stale that the target showed: it is gone. missed is when its first scrape since was due.
func (l *loop) end(missed time.Time) {
	if l.scraped {
		b := l.env.batches.Get().(*series.Batch)
		b.Reset(l.id, l.stamps.gone(time.Now(), missed))
		markAll(b, l.live)
		l.report.end(b)
		if err := l.env.sink.Append(b); err != nil {
			l.env.log.Error("staleness markers not taken", zap.String("job", l.job.cfg.JobName), zap.String("target", l.target.shown), zap.Error(err))
		}
		l.env.batches.Put(b)
	}
	l.release()
}

// remember keeps what people ask of the target, counts, and logs a change of its health.
func (l *loop) remember(start time.Time, took time.Duration, c exposition.Counts, err error) {
	m := l.job.metrics
	m.scrapes.Inc()
	m.samples.Add(float64(c.Scraped))
	m.duration.Observe(took.Seconds())
	m.droppedByRules.Add(float64(c.Scraped - c.Kept))
	m.duplicates.Add(float64(c.Duplicates))
	m.outOfBounds.Add(float64(c.OutOfBounds))
	m.outOfOrder.Add(float64(c.OutOfOrder))

	health, text := HealthUp, ""
	if err == nil {
		l.target.silent.Store(false)
	} else {
		health, text = HealthDown, errorText(err)
		reason := reasonOf(err)
		m.failed(reason)
		if reason != "emfile" { // which says nothing about the target
			l.target.silent.Store(reason == "timeout")
		}
		m.lost.Add(float64(c.Kept))
	}
	l.mu.Lock()
	before := l.status
	now := before.since
	if before.health != health {
		now = start
	}
	l.status = scrapeStatus{health: health, last: start, duration: took, err: text, counts: c, since: now}
	l.mu.Unlock()

	fields := []zap.Field{zap.String("job", l.job.cfg.JobName), zap.String("target", l.target.shown)}
	switch {
	case health == HealthDown && before.health != HealthDown:
		l.env.log.Warn("target down", append(fields, zap.String("error", text))...)
	case health == HealthUp && before.health == HealthDown:
		l.env.log.Info("target up", append(fields, zap.Duration("after", start.Sub(before.since)))...)
	}
	if c.Duplicates > 0 && l.env.log.Core().Enabled(zap.DebugLevel) {
		l.env.log.Debug("page shows a series twice; the first wins", append(fields, zap.Int("samples", c.Duplicates))...)
	}
}

// rediscovered notes what discovery says now of the target: its labels did not change.
func (l *loop) rediscovered(found foundTarget) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.found = found
}

func (l *loop) asStatus() TargetStatus {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, s, cfg, found := l.target, l.status, l.job.cfg, l.found
	return TargetStatus{
		Job: cfg.JobName, URL: t.shown, Labels: t.labels,
		Discovered: func() labels.Labels { return discovered(cfg, found.own, found.group) },
		Health:     s.health, LastScrape: s.last, Duration: s.duration, Err: s.err,
		Interval: t.interval, Timeout: t.timeout, Samples: s.counts.Scraped, Kept: s.counts.Kept,
	}
}
