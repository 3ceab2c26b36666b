package aggregate

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// Sink takes batches: of scrapes, without the series that were summed, and of aggregates.
type Sink interface {
	Append(*series.Batch) error
	Flush()
}

// Aggregates sums the series that its blocks match. It is a scrape.Sink.
type Aggregates struct {
	table   *series.Table
	next    Sink
	log     *zap.Logger
	clock   func() time.Time // time.Now, except in tests
	steady  func() time.Time // the same, but differences are right even if the clock was set in between
	batches sync.Pool        // of *series.Batch
	metrics *metrics
	wake    chan struct{} // wakes Run: a group is new, or has another interval
	none    atomic.Bool   // there is no block, and nothing is left of earlier ones

	toldBehind bool // Run has logged that the clock was set back

	looking  sync.Mutex   // held while labels are made for people: those of a large group need 20 MB
	changing sync.RWMutex // held for reading while a batch or a tick is handled, for writing by Apply
	blocks   blockList    // guarded by changing

	mu      sync.Mutex // guards the following
	sources map[series.SourceID]*source
	feeds   map[feedKey]*feed
	groups  map[series.TargetID]*group
	numbers int                  // given to groups so far
	young   map[uint64]time.Time // see rememberYoung
}

// blockList are the blocks in force.
type blockList struct {
	all   []*block
	byJob map[string][]*block
}

// idleSeconds returns after how many seconds an aggregate of a block is taken away.
func (l *blockList) idleSeconds(number uint8) int64 {
	for _, b := range l.all {
		if b.number == number {
			return int64(b.Idle / time.Second)
		}
	}
	return 0
}

// New returns aggregates without a block: every batch goes to next as it is.
func New(table *series.Table, next Sink, log *zap.Logger, reg prometheus.Registerer) *Aggregates {
	a := &Aggregates{
		table: table, next: next, log: log, clock: time.Now, steady: time.Now, wake: make(chan struct{}, 1),
		metrics: newMetrics(reg),
		sources: map[series.SourceID]*source{}, feeds: map[feedKey]*feed{}, groups: map[series.TargetID]*group{},
		young: map[uint64]time.Time{},
	}
	a.batches.New = func() any { return new(series.Batch) }
	a.none.Store(true)
	if reg != nil {
		reg.MustRegister(newSizes(a))
	}
	return a
}

// Append implements scrape.Sink.
func (a *Aggregates) Append(b *series.Batch) error {
	if a.none.Load() || b.Origin.Source == 0 {
		return a.next.Append(b)
	}
	a.changing.RLock()
	defer a.changing.RUnlock()
	s := a.source(b)
	if s == nil {
		return a.next.Append(b)
	}
	rest := a.batches.Get().(*series.Batch)
	defer a.batches.Put(rest)
	if s.feed == nil { // no block sums series of its job any more
		s.rest(rest, b, s.past())
		a.dropIfSent(b)
		return a.next.Append(rest)
	}
	s.feed.lock()
	now := a.clock()
	for _, g := range s.feed.locks {
		a.tickIfDue(g, now) // a total has no page that was read after its tick
	}
	a.take(s, b, rest, now)
	s.feed.unlock()
	return a.next.Append(rest)
}

// take counts a batch of a source, and fills rest with what is not summed. The caller has locked the feed.
func (a *Aggregates) take(s *source, b, rest *series.Batch, now time.Time) {
	if b.Origin.Gap {
		a.forgetPages(s)
	}
	if s.lost != nil && !now.Before(s.lostTill) {
		s.forgetLost(a.table)
	}
	if s.interval != b.Interval { // also at the first batch
		for _, g := range s.feed.locks {
			g.join(s, b.Interval)
		}
		s.interval = b.Interval
		a.setIntervals(s.feed, now)
	}
	before, left := s.past(), s.layout
	if s.good = b.Origin.Good; s.good {
		a.takePage(s, b, now)
	}
	s.rest(rest, b, before)
	if left != nil && left != s.layout {
		s.feed.leave(left, a.table, now.UnixMilli())
	}
	if s.good {
		s.forgetFormer(a.table)
	}
}

// takePage counts a good page.
func (a *Aggregates) takePage(s *source, b *series.Batch, now time.Time) {
	page, values, o := b.Series[:b.Origin.Page], b.Values[:b.Origin.Page], &b.Origin
	steady := a.steady()
	isOther := s.hasRestarted(o.Uptime, steady)
	if isOther { // another process, which has never had the series that were lost
		s.forgetLost(a.table)
	}
	turned := s.layout == nil || !slices.Equal(s.layout.ids, page)
	if turned {
		a.turnPage(s, b, now, isOther)
	}
	if s.restarted(values, o.Uptime, isOther) {
		clear(s.last)
		a.metrics.restarts.Inc()
	}
	s.countReturned()
	if s.mayHaveReset(values) {
		a.metrics.resets.Add(float64(s.resetHistograms(a.table, values)))
	}
	if turned {
		s.countNew()
	}
	if s.partial = o.Partial; o.Uptime >= 0 {
		s.uptime, s.read = o.Uptime, steady
	}
	s.noUptime = o.Uptime < 0
	a.metrics.resets.Add(float64(s.count(values)))
	a.metrics.summed.Add(float64(s.layout.summed))
}

// turnPage gives a source the layout of a page that is not like the one before. isOther says that it is of another
// process, by its uptime.
func (a *Aggregates) turnPage(s *source, b *series.Batch, now time.Time, isOther bool) {
	f, page := s.feed, b.Series[:b.Origin.Page]
	hash := hashOf(page)
	l := f.find(page, hash)
	if l == nil {
		known := s.layout
		if known == nil {
			known = f.newest
		}
		var disagree []string
		l, disagree = f.learn(a.table, s.target, page, hash, known)
		f.keep(l)
		a.tellBounds(s, disagree)
	}
	f.use(l)
	isFirst := s.layout == nil && s.was == nil
	young := func(of *block) bool {
		return !s.wasYoung && isYoung(b.Origin.Uptime, b.Interval, now.Sub(of.since))
	}
	if s.layout == nil && (s.was == nil || s.was.all == nil) { // there is no page that this one can be compared with
		s.uptime = -1
	}
	if !isFirst && !isOther {
		s.lose(l, b.Origin.Partial, a.table, now)
	}
	born := s.carry(l, s.partial || b.Origin.Partial || s.lackedEnvoy(&b.Origin, b.Interval), young)
	a.metrics.births.Add(float64(born))
	switch {
	case isFirst && slices.ContainsFunc(f.blocks, young):
		a.metrics.youngPages.Inc()
	case isFirst:
		a.metrics.firstPages.Inc()
	}
}

// tellBounds logs histograms whose bounds differ from those of other pages.
func (a *Aggregates) tellBounds(s *source, names []string) {
	if len(names) == 0 {
		return
	}
	a.metrics.bounds.Add(float64(len(names)))
	var target labels.Labels
	a.table.Read(func(v series.View) { target = v.TargetLabels(s.target) })
	slices.Sort(names)
	a.log.Warn("histograms have other bounds than those of other targets; they are summed apart, with the label "+
		BoundsLabel, zap.String("job", s.job), zap.Stringer("target", target),
		zap.Strings("histograms", firstFew(slices.Compact(names))))
}

// maxNamesLogged bounds a line of the log.
const maxNamesLogged = 5

func firstFew(names []string) []string { return names[:min(len(names), maxNamesLogged)] }

// Flush implements scrape.Sink.
func (a *Aggregates) Flush() { a.next.Flush() }

// Forget takes note that a sequence of pages has ended, as scrape.Options.Forget. What its series have contributed
// stays.
func (a *Aggregates) Forget(id series.SourceID) {
	if a.none.Load() {
		return
	}
	a.changing.RLock()
	defer a.changing.RUnlock()
	a.mu.Lock()
	s := a.sources[id]
	delete(a.sources, id)
	a.mu.Unlock()
	if s == nil {
		return
	}
	if s.feed != nil {
		s.feed.lock()
		a.detach(s)
		a.setIntervals(s.feed, a.clock())
		s.feed.unlock()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.leaveFeed(s)
	a.rememberYoung(s)
	a.drop(s)
}

// drop gives up what a source without a feed still holds.
func (a *Aggregates) drop(s *source) {
	s.forgetFormer(a.table)
	s.forgetLost(a.table)
	a.table.ReleaseTarget(s.target)
}

// forgetPages forgets with what the next page of a source would be compared. It keeps which series were sent as they
// were. The caller has locked the feed.
func (a *Aggregates) forgetPages(s *source) {
	a.keepFormer(s)
	if s.was != nil {
		s.was.isOther()
	}
	if s.layout != nil {
		a.detach(s)
		s.interval = 0
	}
	s.forgetLost(a.table)
}

// detach takes a source out of its groups. What it has contributed stays. The caller has locked the feed.
func (a *Aggregates) detach(s *source) {
	if s.layout != nil {
		s.feed.leave(s.layout, a.table, a.clock().UnixMilli())
		s.layout, s.last = nil, nil
	}
	for _, g := range s.feed.locks {
		g.leave(s)
	}
}
