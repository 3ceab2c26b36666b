package scrape

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// maxAhead is how far in the future a page may date its samples.
const maxAhead = 10 * time.Minute

// loop is the state of a target between its scrapes. It has no goroutine of its own: the schedule calls scrape, and
// never twice at a time.
type loop struct {
	env    *env      // what all loops share
	pool   *pool     // of the job; set by Pools.start
	job    *jobState // the configuration; a reload that changes it makes a new loop
	target *target
	id     series.TargetID

	// The following belong to the goroutine of the scrape that runs, and otherwise to the schedule.
	scraped bool // at least once: otherwise there is nothing to mark
	handed  bool // another instance has the target; guarded by Pools.mu
	gap     bool // the next good page cannot be compared with those before, see series.Origin
	page    *exposition.Page
	live    exposition.Shown // series of the last page, good or not: they get markers when they are gone
	ages    ages
	report  report
	stamps  stamps
	traits  traits    // of the pages so far
	due     time.Time // due time of the running scrape, copied from life.due
	turns   pageTurns // which page is read next

	// The following are guarded by the schedule's lock.
	life        life
	heapIndex   int32 // in the heap of due times; -1: not there
	pageSamples int   // of the last page; 0: not known, or it could not be read

	source series.SourceID // of the batches; immutable once the loop has started
	viaAPI atomic.Bool     // it counts as a target that is scraped through the API server
	moved  atomic.Bool     // another instance got the target: the samples of a scrape that still runs must not wait

	mu     sync.Mutex // guards the following
	pace   pace       // at which turns the target is asked; its writer, the scrape that runs, reads it without mu
	status scrapeStatus
	found  foundTarget // the labels before relabeling, which may change while those after it stay
}

// scrapeStatus is what pages show of a target.
type scrapeStatus struct {
	health   Health
	last     time.Time
	duration time.Duration
	err      string
	counts   exposition.Counts
	since    time.Time // when health became what it is
	page     int64     // bytes of the page, uncompressed, as far as it was read
	wire     int64     // the same as it was sent
	failure  string    // as in TargetStatus
	failures int       // in a row
	traits   traits

	wholeBytes   int64 // as TargetStatus.Whole
	wholeSamples int32
	refused      refusal

	// The last page if it was good, otherwise zero. shown is not held: see lastPage.
	series int
	shown  exposition.Shown
}

// whole returns the size of the last good whole page.
func (s *scrapeStatus) whole() PageSize { return PageSize{s.wholeBytes, int(s.wholeSamples)} }

// pageSize are the sizes of a page, as far as it was read.
type pageSize struct {
	page, wire int64 // uncompressed, and as it was sent
	reported   int64 // the value of scrape_body_size_bytes
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
	lessons lessons
	seed    maphash.Seed // of the scopes of lessons
	panics  panics
	sources atomic.Uint32         // numbers given to loops so far
	forget  func(series.SourceID) // as Options.Forget; nil: none
}

func newLoop(e *env, job *jobState, t *target) *loop {
	id := e.table.AddTarget(t.labels)
	l := &loop{env: e, job: job, target: t, id: id, heapIndex: -1, status: scrapeStatus{health: HealthUnknown}}
	l.page = exposition.NewPage(e.layouts, l.newLearner(), job.pageOptionsOf(t))
	l.source = series.SourceID(e.sources.Add(1))
	job.fetcher.add(t)
	l.countViaAPI()
	l.report = openReport(e.table, id, t.labels, job.cfg.ExtraScrapeMetricsEnabled())
	return l
}

// inherit takes over the series of a loop whose target had the same labels: after a reload, or when a target came back
// before its markers were sent. The first scrape marks the series that old had and its page has not. A page under
// another URL is learned again, so that scrape_series_added counts all its series, as in Prometheus. release frees the
// rest. Call it without the schedule's lock, since that can be slow.
func (l *loop) inherit(old *loop) (release func()) {
	l.live, l.ages, l.stamps, l.scraped, l.traits = old.live, old.ages, old.stamps, old.scraped, old.traits
	l.inheritPace(old)
	left := old.page
	if l.job.seriesText == old.job.seriesText && l.target.hasPageOf(old.target) {
		left, l.page = l.page, old.page
		if l.job.filter.expr == old.job.filter.expr {
			l.turns = old.turns.inherited(l.job != old.job, uint8(l.job.filter.reloads.Load()))
		}
		l.page.Rebind(l.newLearner(), l.job.pageOptionsOf(l.target))
		l.gap = old.gap || old.moved.Load() // another instance may have scraped the target since
	} else {
		l.traits.learnAnew()
		l.gap = true
	}
	l.source, old.source = old.source, l.source
	old.mu.Lock()
	status := old.status
	old.mu.Unlock()
	l.mu.Lock() // pages already show l if old was being scraped
	l.status = status
	l.mu.Unlock()
	l.report.inherit(l.env.table, old.report)
	return func() {
		left.Forget()
		old.forgetSource()
		old.uncountViaAPI()
		old.job.fetcher.forget(old.target)
		l.env.table.ReleaseTarget(old.id)
	}
}

func (l *loop) newLearner() *learner {
	return &learner{
		table: l.env.table, target: l.id, labels: l.target.labels, cfg: l.job.cfg,
		scratch: &l.env.scratch, onLearn: l.report.noteNew,
		exceed: l.job.metrics.labelLimit.Inc, notice: l.traits.notice,
		late:    func(id series.ID, at int64) bool { return l.ages.late(l.live, id, at) },
		lessons: &l.env.lessons, scope: scopeOf(l.env.seed, l.job, l.target.labels),
	}
}

// release gives back everything that the loop holds. It is not used afterwards.
func (l *loop) release() {
	l.mu.Lock()
	l.job.metrics.series.Sub(float64(l.status.series))
	l.status.series, l.status.shown = 0, exposition.Shown{}
	l.mu.Unlock()
	l.releasePace()
	l.forgetSource()
	l.page.Forget()
	l.live.Release()
	l.ages.forget(l.env.table)
	l.report.release(l.env.table)
	l.env.table.ReleaseTarget(l.id)
	l.uncountViaAPI()
	l.job.fetcher.forget(l.target)
}

// forgetSource says that the sequence of the target's pages ends.
func (l *loop) forgetSource() {
	if l.env.forget != nil {
		l.env.forget(l.source)
	}
}

// countViaAPI counts the target if it is scraped through the API server.
func (l *loop) countViaAPI() {
	if l.target.pod != nil {
		l.viaAPI.Store(true)
		l.job.fetcher.pods.proxy.Add()
	}
}

// uncountViaAPI undoes countViaAPI as soon as the loop is about to leave: one that only waits for its markers is not
// scraped.
func (l *loop) uncountViaAPI() {
	if l.viaAPI.CompareAndSwap(true, false) {
		l.job.fetcher.pods.proxy.Remove()
	}
}

// scrape reads the target's page once and hands on the batch. forced, unless nil, makes the scrape fail without a
// request. A scrape that the end of ctx cut off yields nothing: no up=0, no marker.
func (l *loop) scrape(ctx context.Context, forced error) {
	start := time.Now()
	ts := l.stamps.scrape(start, l.due, l.target.interval)

	r := pageRead{err: forced}
	own := &scrapeContext{Context: ctx, deadline: start.Add(l.target.timeout), timer: answerTimer{began: start}}
	if forced == nil {
		r = l.readOrFail(own, start, ts)
		own.end()
		if r.err != nil && ctx.Err() != nil {
			if r.batch != nil {
				l.abandon()
				l.env.batches.Put(r.batch)
			}
			return
		}
	}
	b, read, err := r.batch, r.batch != nil, r.err
	if !read {
		b = l.batch(ts)
	}
	defer l.env.batches.Put(b)
	took := time.Since(start)
	shown := l.shownBeforeFailure(read, err)
	restarted := l.traits.note(b, err == nil)
	origin := l.origin(b, err == nil)
	origin.Partial = err == nil && r.counts.OutOfOrder+r.counts.OutOfBounds > 0
	if err == nil {
		l.page.Settle() // so that packing the samples of a large page takes memory in place of reading it
	}
	l.finishBatch(b, r.counts, took, r.size.reported, shown, err)
	b.Origin = origin
	if appendErr := l.env.sink.Append(b); appendErr != nil {
		l.env.log.Error("samples not taken", l.logFields(zap.Error(appendErr))...)
	}
	if l.moved.Load() {
		l.env.sink.Flush()
	}
	l.commit(b, read, shown, err)
	l.env.lessons.expire(start)
	if forced == nil {
		l.noteTurn(r, restarted)
	}
	l.notePace(&own.timer, took, err)
	l.remember(ts, took, r)
}

// batch takes an empty batch from the pool.
func (l *loop) batch(at time.Time) *series.Batch {
	b := l.env.batches.Get().(*series.Batch)
	b.Reset(l.id, at.UnixMilli())
	b.Interval = l.target.interval
	return b
}

// origin returns which scrape b is of. b has the samples of the page, and nothing else yet.
func (l *loop) origin(b *series.Batch, good bool) series.Origin {
	o := series.Origin{
		Source: l.source, Job: l.job.cfg.JobName, Good: good,
		Again: l.status.health == HealthUp, Gap: l.gap, Uptime: -1, // nothing else changes the status now
	}
	if good {
		o.Page, o.Uptime = b.Len(), l.traits.uptimeIn(b)
	}
	return o
}

// shownBeforeFailure returns the series that a failed page showed before the failure.
func (l *loop) shownBeforeFailure(read bool, err error) exposition.Shown {
	if err == nil || !read {
		return exposition.Shown{}
	}
	return l.page.ShownBeforeFailure()
}

// finishBatch adds staleness markers to the batch, then the report. shown is the result of shownBeforeFailure.
//
// If a page exceeds sample_limit, a live series beyond the limit gets its marker now, and a series within the limit,
// live or new, gets it at the next page that lacks the series. A new series beyond the limit never gets one.
func (l *loop) finishBatch(
	b *series.Batch, c exposition.Counts, took time.Duration, size int64, shown exposition.Shown, err error,
) {
	up := 1.0
	if err != nil {
		up = 0
		b.Reset(b.Target, b.Time)
		b.Interval = l.target.interval
		markMissing(b, l.live, shown)
		b.Urgent = b.Len() > 0
	} else if !c.Unchanged || !l.page.Shows(l.live) {
		markVanished(b, l.live, l.job.cfg.TrackTimestampsStaleness)
	}
	l.report.add(b, reportValues{
		up: up, durationSeconds: took.Seconds(), samplesScraped: float64(c.Scraped), samplesKept: float64(c.Kept),
		seriesAdded: float64(c.Added), timeoutSeconds: l.target.timeout.Seconds(),
		sampleLimit: float64(l.job.cfg.SampleLimit), bodySizeBytes: float64(size),
	}, err == nil && c.Scraped > 0 && c.OutOfOrder == 0 && c.OutOfBounds == 0)
}

// commit has the page keep what a good scrape learned. It follows Append, since markers need the references until then.
// shown is the result of shownBeforeFailure.
func (l *loop) commit(b *series.Batch, read bool, shown exposition.Shown, err error) {
	l.ages.note(l.env.table, b, err == nil)
	if err == nil {
		l.gap = false
		l.mu.Lock() // so that lastPage finds either this page or the one before
		l.live = l.page.Commit(l.live)
		l.status.shown = l.live
		l.mu.Unlock()
	} else {
		if read {
			l.abandon()
		}
		l.live.Release()
		l.live = shown
	}
	l.report.releaseMarked(l.env.table)
	l.scraped = true
}

// abandon leaves the page just read, which failed. The page may forget lines that only failed pages have shown.
func (l *loop) abandon() {
	l.page.Abandon()
	if l.traits.hasUptime && !l.page.Knows(l.traits.uptime) {
		l.traits.forgetSeries()
	}
}

// end sends a marker for every series of the target, which is gone. missed is the due time of the first
// scrape that did not happen.
func (l *loop) end(missed time.Time) {
	if l.scraped {
		b := l.env.batches.Get().(*series.Batch)
		b.Reset(l.id, l.stamps.markers(time.Now(), missed))
		b.Interval, b.Urgent, b.Origin = l.target.interval, true, l.origin(b, false)
		markAll(b, l.live)
		l.report.end(b)
		if err := l.env.sink.Append(b); err != nil {
			l.env.log.Error("staleness markers not taken", l.logFields(zap.Error(err))...)
		}
		l.env.batches.Put(b)
	}
	l.release()
}

// remember keeps the status of the target, counts, and logs a change of its health.
func (l *loop) remember(start time.Time, took time.Duration, r pageRead) {
	m, c, size, err := l.job.metrics, r.counts, r.size, r.err
	m.scrapes.Inc()
	m.samples.Add(float64(c.Scraped))
	m.pageBytes.Add(float64(size.page))
	m.duration.Observe(took.Seconds())
	m.droppedByRules.Add(float64(c.Scraped - c.Kept))
	m.duplicates.Add(float64(c.Duplicates))
	m.outOfBounds.Add(float64(c.OutOfBounds))
	m.outOfOrder.Add(float64(c.OutOfOrder))
	m.wireBytes.Add(float64(size.wire))

	health, text, reason := HealthUp, "", ""
	if err == nil {
		l.target.silent.Store(false)
	} else {
		health, text, reason = HealthDown, errorText(err), reasonOf(err)
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
	failures := 0
	if err != nil {
		failures = before.failures + 1
	}
	l.status = scrapeStatus{health: health, last: start, duration: took, err: text, counts: c, since: now,
		page: size.page, wire: size.wire, failure: reason, failures: failures, traits: l.traits,
		wholeBytes: before.wholeBytes, wholeSamples: before.wholeSamples, refused: l.turns.refusal}
	if err == nil {
		l.status.series, l.status.shown = c.Kept-c.Duplicates, l.live
		if !r.filtered {
			l.status.wholeBytes, l.status.wholeSamples = size.page, int32(c.Scraped)
		}
	}
	m.series.Add(float64(l.status.series - before.series))
	l.mu.Unlock()

	switch {
	case health == HealthDown && before.health != HealthDown:
		l.env.log.Warn("target down", l.logFields(zap.String("error", text))...)
	case health == HealthUp && before.health == HealthDown:
		l.env.log.Info("target up", l.logFields(zap.Duration("after", start.Sub(before.since)))...)
	}
	if c.Duplicates > 0 && l.env.log.Core().Enabled(zap.DebugLevel) {
		l.env.log.Debug("page shows a series twice; the first wins", l.logFields(zap.Int("samples", c.Duplicates))...)
	}
}

// logFields returns the fields of a log message about the loop.
func (l *loop) logFields(more ...zap.Field) []zap.Field {
	return append([]zap.Field{zap.String("job", l.job.cfg.JobName), zap.String("target", l.target.shown)}, more...)
}

// rediscovered replaces the labels before relabeling. Those after it did not change.
func (l *loop) rediscovered(found foundTarget) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.found = found
}

// discoveredAs returns the labels of the target before relabeling.
func (l *loop) discoveredAs() foundTarget {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.found
}
