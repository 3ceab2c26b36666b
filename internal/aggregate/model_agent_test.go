package aggregate

import (
	"context"
	"math"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// simIdle is how long an aggregate without a source is written.
const simIdle = 5 * time.Minute

// simAgent is a process that scrapes pods and sums their series. Its samples are checked as they are sent.
type simAgent struct {
	w      *world
	number int

	// The following are of one life of the process.
	a          *Aggregates
	table      *series.Table
	stop       func()
	skew       atomic.Int64 // of its clock, nanoseconds
	isSet      bool         // its clock has been set
	isDead     bool         // what it sends is lost
	isStopping bool
	sources    map[*simSource]bool
	ids        series.SourceID // given away so far
	blocks     [2]simBlock
	versions   int
	outs       map[string]*simOut   // aggregates that are to be written, by keyOf
	ticked     map[string]time.Time // by app: the last batch, in true time
	raw        map[string]bool      // raw series that were sent; false: and have a marker
	expect     []simRow             // of the page that is handed over: rows that are not summed
	mayMark    bool                 // its other rows may have been sent before, as far as the agent knows
}

// simBlock is a block of an agent's configuration.
type simBlock struct {
	version int // 0: there is none. Another number: it was changed meanwhile
	idle    time.Duration
	skips   bool // births
}

// simOut is an aggregate of an agent.
type simOut struct {
	app     string
	block   int
	pending simBounds // what it may have increased by since the last sample
	shown   bool      // a sample was sent
	last    float64   // of the last sample
	at      int64     // of the last sample, milliseconds
	sources int
	idle    time.Time // since when it has no source, by the agent's clock
	ending  bool      // its block is being changed
}

func newSimAgent(w *world, number int) *simAgent { return &simAgent{w: w, number: number} }

func (a *simAgent) clock() time.Time { return time.Now().Add(time.Duration(a.skew.Load())) }

// start begins a life of the process.
func (a *simAgent) start() {
	a.table = series.NewTable()
	a.a = New(a.table, a, zap.NewNop(), prometheus.NewRegistry())
	a.a.clock = a.clock
	a.isSet, a.isDead, a.isStopping, a.ids = false, false, false, 0
	a.sources, a.outs, a.raw = map[*simSource]bool{}, map[string]*simOut{}, map[string]bool{}
	a.ticked = map[string]time.Time{}
	a.blocks = [2]simBlock{}
	a.change(0, simBlock{idle: simIdle})
	a.a.Apply(a.configured())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	life := a.a
	go func() { done <- life.Run(ctx) }()
	a.stop = func() {
		a.isStopping = true
		cancel()
		a.w.call(func() { <-done })
	}
	for _, tg := range a.w.targets {
		if tg.agent == a {
			tg.feed = a.newSource(tg, tg.feed.due)
		}
	}
}

// restart ends the process, in half of all cases by a crash, and starts it again.
func (a *simAgent) restart() {
	a.isDead = a.w.chance(50)
	a.w.note("agent %d restarts, by a crash: %v", a.number, a.isDead)
	a.stop()
	for s := range a.sources {
		s.ended = true
	}
	a.start()
}

// configured returns the agent's blocks.
func (a *simAgent) configured() (blocks []Block) {
	for n, match := range []string{"^(?s:istio_.*)$", "^(?s:envoy_.*)$"} {
		if b := a.blocks[n]; b.version > 0 {
			blocks = append(blocks, Block{Jobs: []string{"envoy"}, Match: regexp.MustCompile(match),
				Without: []string{"instance", "pod"}, As: labels.FromStrings("instance", a.name()), Gauges: GaugesRaw,
				Idle: b.idle, SkipFirst: b.skips})
		}
	}
	return blocks
}

func (a *simAgent) name() string { return "agent-" + string(rune('0'+a.number)) }

// reload applies the same blocks, or changes one, adds it, or takes one or all away.
func (a *simAgent) reload() { a.reloadAs(a.w.random.IntN(6)) }

func (a *simAgent) reloadAs(how int) {
	before := a.blocks
	switch how {
	case 0: // all stay as they are
	case 1:
		a.change(0, simBlock{idle: max(a.blocks[0].idle, simIdle), skips: !a.blocks[0].skips})
	case 2:
		a.change(a.w.random.IntN(2), simBlock{idle: simIdle + time.Duration(a.w.random.IntN(100))*time.Second})
	case 3:
		a.change(1, simBlock{idle: simIdle, skips: a.w.chance(50)})
	case 4:
		a.blocks[1] = simBlock{}
	case 5:
		a.blocks = [2]simBlock{}
	}
	a.w.note("agent %d: blocks %v, before %v", a.number, a.blocks, before)
	for _, out := range a.outs {
		out.ending = a.blocks[out.block] != before[out.block]
	}
	a.w.call(func() { a.a.Apply(a.configured()) })
	for key, out := range a.outs {
		if out.ending {
			if out.shown {
				a.w.t.Errorf("%s of a changed block has no marker", key)
			}
			delete(a.outs, key)
		}
	}
	for app := range a.ticked {
		if !a.writes(app) {
			delete(a.ticked, app)
		}
	}
	if a.blocks != before {
		for s := range a.sources {
			s.isOut = true
		}
		a.recount()
	}
}

// change gives an agent another block.
func (a *simAgent) change(n int, b simBlock) {
	b.version = a.blocks[n].version
	if a.blocks[n] != b || b.version == 0 {
		a.versions++
		b.version = a.versions
	}
	a.blocks[n] = b
}

// stepClock sets the clock. It does nothing between a change of the blocks and the next good pages, when aggregates
// have no source: an hour later by the clock they would be idle, and end.
func (a *simAgent) stepClock() {
	for s := range a.sources {
		if s.isOut {
			return
		}
	}
	by := time.Duration(a.w.random.IntN(6*int(a.w.interval/time.Millisecond))) * time.Millisecond
	by = pick(a.w, []time.Duration{by, by, -by, -by, time.Hour, -time.Hour})
	a.w.note("agent %d: its clock is set by %v", a.number, by)
	a.isSet = true
	a.w.call(func() {
		a.a.changing.Lock()
		defer a.a.changing.Unlock()
		for _, b := range a.a.blocks.all { // Go's times differ by the time that has passed, whatever the clock says
			b.since = b.since.Add(by)
		}
		for _, s := range a.a.sources {
			s.lostTill = s.lostTill.Add(by)
		}
		a.skew.Add(int64(by))
	})
}

// simSource is a sequence of pages of a target at an agent.
type simSource struct {
	tg     *simTarget
	agent  *simAgent
	id     series.SourceID
	target series.TargetID
	due    time.Time           // of the next scrape
	last   *simPage            // the last good one
	uptime time.Duration       // the last that a page has shown; negative: none has
	lost   map[string]*simLost // lines that vanished when much of a page did, by key
	isOld  bool                // a batch of the target was sent before
	isGood bool                // and the last one was of a good page
	hasGap bool                // its next good page cannot be compared with those before
	live   []series.ID
	ended  bool
	isRaw  bool // its last good page was read without a block, so that the agent knows nothing of it
	isOut  bool // the blocks have changed since its last good page
}

// joinAgent lets an agent scrape the target from its first due time after a time on.
func (tg *simTarget) joinAgent(a *simAgent, after time.Time) {
	tg.agent = a
	if tg.feed == nil {
		after = after.Add(time.Duration(tg.w.random.Int64N(int64(tg.w.interval))))
	}
	if a.a == nil { // the world begins: start takes the target over
		tg.feed = &simSource{due: after}
		return
	}
	tg.feed = a.newSource(tg, after)
}

func (a *simAgent) newSource(tg *simTarget, due time.Time) *simSource {
	a.ids++
	s := &simSource{tg: tg, agent: a, id: a.ids, target: a.table.AddTarget(tg.labels()), due: due,
		uptime: -1, lost: map[string]*simLost{}}
	a.sources[s] = true
	a.w.plan(due, s.scrape)
	return s
}

func (tg *simTarget) labels() labels.Labels {
	return labels.FromStrings("app", tg.app, "instance", tg.pod+":15090", "job", "envoy", "pod", tg.pod)
}

// scrape reads the page, or fails, or is cut off, and plans the next scrape.
func (s *simSource) scrape() {
	w := s.tg.w
	if s.ended {
		return
	}
	s.due = s.due.Add(w.interval)
	w.plan(s.due, s.scrape)
	took := time.Duration(w.random.Int64N(int64(w.longestScrape())))
	switch n := w.random.IntN(100); {
	case w.calm || n < 80:
		page := s.tg.page()
		w.plan(time.Now().Add(took), func() { s.take(page) })
	case n < 92:
		w.plan(time.Now().Add(took), s.fail)
	default: // cut off
	}
}

// take hands a good page to the agent, and tells the agent's checks what is true.
func (s *simSource) take(p *simPage) {
	if s.ended {
		return
	}
	a := s.agent
	for n, b := range a.blocks {
		p.versions[n] = b.version
	}
	s.leaveOut(p)
	b := s.batch()
	a.expect = a.expect[:0]
	for _, r := range p.rows {
		b.Add(s.add(r.line), r.value)
		if p.versions[r.block] == 0 {
			a.expect = append(a.expect, r)
		}
	}
	b.Origin.Page, b.Origin.Good, b.Origin.Uptime, b.Origin.Partial = b.Len(), true, p.uptime, p.isPartial
	s.tg.w.note("%s: page of source %d, %d lines, uptime %v, partial: %v", s.tg.pod, s.id, len(p.rows), p.uptime,
		p.isPartial)
	hadGap := s.hasGap
	s.send(b)
	for _, r := range p.rows {
		if name := s.raw(r.line); p.versions[r.block] > 0 && a.raw[name] {
			s.tg.w.t.Errorf("%s is summed now, and has no marker", name)
		}
	}
	s.count(p, hadGap)
	s.rememberLost(p)
	if len(s.lost) == 0 && !p.isPartial {
		s.tg.evicted = false
	}
	s.last, s.isOut = p, false
	if s.isRaw = p.versions == [2]int{}; s.isRaw { // the next page under a block is the first
		s.forgetPages()
	}
	a.recount()
}

// simLost is a line that vanished when much of a page did.
type simLost struct {
	simRow
	version int // of its block on its last page; 0: it was not summed
}

// leaveOut takes lines from a page that its target does not show now.
func (s *simSource) leaveOut(p *simPage) {
	w, tg := s.tg.w, s.tg
	isFirst := s.last == nil || s.hasGap
	if isFirst && !tg.hasUptime { // what returns would be taken for new
		return
	}
	part := *p
	part.rows = nil
	switch {
	case tg.missing > 0:
		tg.missing--
		part.uptime = -1
		if !tg.isEmpty {
			part.rows = slices.DeleteFunc(slices.Clone(p.rows), func(r simRow) bool { return r.block == 0 })
		}
		if !isFirst && (s.uptime >= 0 || !tg.hasUptime) && len(s.lost) == 0 &&
			!s.last.losesMuch(&part) { // it looks like an eviction
			return
		}
	case tg.partial > 0 && !isFirst:
		tg.partial--
		part.isPartial = true
		out := map[string]bool{}
		for _, r := range p.rows {
			family := r.family
			if _, ok := out[family]; !ok {
				out[family] = w.chance(30)
			}
			if !out[family] {
				part.rows = append(part.rows, r)
			}
		}
	default:
		return
	}
	*p = part
}

// uptimeFell reports whether a page has a smaller uptime than those before.
func (s *simSource) uptimeFell(p *simPage) bool { return p.uptime >= 0 && p.uptime < s.uptime }

// rememberLost notes which lines have vanished with much of a page, and may return in the same life.
func (s *simSource) rememberLost(p *simPage) {
	switch {
	case s.uptimeFell(p):
		clear(s.lost)
	case s.last != nil && (s.isOut || p.isPartial || s.last.losesMuch(p)):
		for _, r := range s.last.rows {
			s.lost[r.key] = &simLost{r, s.last.versions[r.block]}
		}
	}
	for _, r := range p.rows {
		delete(s.lost, r.key)
	}
	if p.uptime >= 0 {
		s.uptime = p.uptime
	}
}

// mayHaveLacked reports whether the pages before may have lacked all lines of the Envoy.
func (s *simSource) mayHaveLacked(now *simPage) bool {
	isSummed := func(r simRow) bool { return s.last.versions[r.block] > 0 }
	hadNone := !s.isOut && !slices.ContainsFunc(s.last.rows, isSummed)
	return s.uptime < 0 && (now.uptime >= s.tg.w.interval || now.uptime < 0 && hadNone)
}

// count adds what the rows of a good page may be counted for.
func (s *simSource) count(p *simPage, hadGap bool) {
	a, truth := s.agent, &s.tg.w.truth
	all := truth.increases(s, p)
	for i := range p.rows {
		r := &p.rows[i]
		if p.versions[r.block] == 0 {
			continue
		}
		out := a.outs[r.key]
		if out == nil {
			out = &simOut{app: s.tg.app, block: r.block}
			a.outs[r.key] = out
			if _, ok := a.ticked[out.app]; !ok {
				a.ticked[out.app] = time.Now()
			}
		}
		claim := lifeOfKey{r.life, r.key}
		bounds := all[i]
		if s.last != nil && s.last.row(r.key) == nil && s.mayHaveLacked(p) {
			truth.base[r.key] += r.value
		}
		if s.last == nil && !hadGap {
			truth.base[r.key] += r.value
			if p.uptime >= 0 && p.uptime < s.tg.w.interval { // nobody else may have counted it
				bounds.most = max(0, r.value-truth.claimed[claim])
			}
		}
		truth.claimed[claim] += bounds.most
		out.pending.least += bounds.least
		out.pending.most += bounds.most
	}
}

func (s *simSource) forgetPages() {
	s.last, s.uptime = nil, -1
	clear(s.lost)
}

// fail hands a failed scrape to the agent.
func (s *simSource) fail() {
	if s.ended {
		return
	}
	s.tg.w.note("%s: source %d fails", s.tg.pod, s.id)
	s.agent.expect = nil
	s.send(s.batch())
}

// batch returns an empty batch.
func (s *simSource) batch() *series.Batch {
	b := &series.Batch{}
	b.Reset(s.target, s.agent.clock().UnixMilli())
	b.Interval = s.tg.w.interval
	b.Origin = series.Origin{Source: s.id, Job: "envoy", Again: s.isGood, Gap: s.hasGap, Uptime: -1}
	return b
}

// send completes a batch as scrape does: with markers for the series that the page before had, and with up.
func (s *simSource) send(b *series.Batch) {
	a, page := s.agent, b.Origin.Page
	for _, id := range s.live {
		if !slices.Contains(b.Series[:page], id) {
			b.Add(id, series.StaleMarker())
		}
	}
	up := s.add(line{"up", "", model.MetricTypeGauge, 0})
	b.Add(up, 1)
	now := slices.Clone(b.Series[:page])
	a.mayMark = s.isRaw
	a.w.call(func() {
		if err := a.a.Append(b); err != nil {
			a.w.t.Error(err)
		}
	})
	a.table.Release(slices.Values(append(s.live, up)))
	if s.hasGap {
		s.forgetPages()
		a.recount()
	}
	s.live, s.isOld, s.isGood = now, true, b.Origin.Good
	s.hasGap = s.hasGap && !s.isGood
}

// add returns the series of a line, with a reference.
func (s *simSource) add(l line) series.ID {
	return s.agent.table.Add(s.target, s.tg.whole(l), series.Meta{Type: l.typ})
}

// whole returns the labels of a line of the target.
func (tg *simTarget) whole(l line) labels.Labels {
	b := labels.NewBuilder(tg.labels())
	b.Set(model.MetricNameLabel, l.name)
	for _, pair := range strings.Split(l.label, ",") {
		if name, v, ok := strings.Cut(pair, "="); ok {
			b.Set(name, v)
		}
	}
	return b.Labels()
}

func (s *simSource) raw(l line) string { return s.tg.whole(l).String() }

// end is what scrape does when the target is gone.
func (s *simSource) end() {
	if s.isOld {
		s.agent.expect = nil
		s.send(s.batch())
	}
	s.leave()
}

// leave ends the sequence without markers.
func (s *simSource) leave() {
	a := s.agent
	s.ended = true
	for name := range a.raw { // the next agent that scrapes the target has to mark them
		if strings.Contains(name, s.tg.pod+":15090") {
			delete(a.raw, name)
		}
	}
	a.w.call(func() { a.a.Forget(s.id) })
	a.table.Release(slices.Values(s.live))
	a.table.ReleaseTarget(s.target)
	delete(a.sources, s)
	a.recount()
}

// successor continues the sequence with pages that cannot be compared with those before.
func (s *simSource) successor() *simSource {
	a := s.agent
	next := *s
	next.hasGap = s.hasGap || s.last != nil
	s.ended = true
	delete(a.sources, s)
	a.sources[&next] = true
	a.w.plan(next.due, next.scrape)
	return &next
}

// recount counts the sources of the aggregates.
func (a *simAgent) recount() {
	sources := map[string]int{}
	for s := range a.sources {
		if s.last == nil || s.isOut {
			continue
		}
		for _, r := range s.last.rows {
			if v := s.last.versions[r.block]; v > 0 && v == a.blocks[r.block].version {
				sources[r.key]++
			}
		}
	}
	for key, out := range a.outs {
		if out.sources > 0 && sources[key] == 0 {
			out.idle = a.clock()
		}
		out.sources = sources[key]
	}
}

// Append checks what the agent sends.
func (a *simAgent) Append(b *series.Batch) error {
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	if a.isDead {
		return nil
	}
	if b.Origin.Source != 0 {
		a.checkRest(b)
	} else {
		a.checkAggregates(b)
	}
	return nil
}

func (a *simAgent) Flush() {}

// checkRest checks what is left of a scrape: rows that are not summed, and markers of rows that were not.
func (a *simAgent) checkRest(b *series.Batch) {
	t := a.w.t
	for i, id := range b.Series {
		var l labels.Labels
		a.table.Read(func(v series.View) { l, _ = wholeLabels(v, nil, id, b.Target) })
		name, isMarker := l.String(), math.Float64bits(b.Values[i]) == value.StaleNaN
		switch {
		case l.Get(model.MetricNameLabel) == "up":
		case i < b.Origin.Page:
			if i >= len(a.expect) || a.expect[i].value != b.Values[i] ||
				a.expect[i].name != l.Get(model.MetricNameLabel) {
				t.Errorf("%s is sent with the value %v", name, b.Values[i])
			}
			a.raw[name] = true
		case !isMarker:
			t.Errorf("%s behind the page is no marker", name)
		default:
			if _, ok := a.raw[name]; !ok && !a.mayMark {
				t.Errorf("%s gets a marker, and was never sent", name)
			}
			a.raw[name] = false
		}
	}
	if b.Origin.Good && b.Origin.Page != len(a.expect) {
		t.Errorf("%d rows of a page are sent, want %d", b.Origin.Page, len(a.expect))
	}
}

// checkAggregates checks the samples of aggregates.
func (a *simAgent) checkAggregates(b *series.Batch) {
	t, w := a.w.t, a.w
	values, app, markers := map[string]float64{}, "", 0
	for i, id := range b.Series {
		var l labels.Labels
		a.table.Read(func(v series.View) { l, _ = wholeLabels(v, nil, id, b.Target) })
		app = l.Get("app")
		key, v := keyOfAggregate(l), b.Values[i]
		out := a.outs[key]
		if out == nil || l.Get("instance") != a.name() || l.Has("pod") || b.Time <= out.at {
			t.Errorf("%s at %d: an unexpected sample, %+v", l, b.Time, out)
			return
		}
		at := time.UnixMilli(b.Time)
		if math.Float64bits(v) == value.StaleNaN {
			markers++
			if !out.shown || !out.ending && !a.isIdle(out, at, -time.Second) {
				t.Errorf("%s gets a marker; sources %d, idle since %v", key, out.sources, at.Sub(out.idle))
			}
			delete(a.outs, key)
			continue
		}
		if a.isIdle(out, at, time.Second) {
			t.Errorf("%s has a sample, idle since %v", key, at.Sub(out.idle))
		}
		values[key] = v
		a.checkSample(key, out, b.Time, v)
	}
	if b.Urgent {
		return
	}
	for key, out := range a.outs {
		if _, ok := values[key]; ok || out.app != app {
			continue
		}
		if !out.shown && a.isIdle(out, time.UnixMilli(b.Time), -time.Second) {
			delete(a.outs, key) // the clock was set, so that no tick could write it
			continue
		}
		t.Errorf("%s has no sample at %d", key, b.Time)
	}
	if !a.isSet && !a.isStopping && b.Time%w.interval.Milliseconds() != 0 {
		t.Errorf("samples at %d, which is no tick", b.Time)
	}
	a.checkHistograms(values)
	a.ticked[app] = time.Now()
	if !a.writes(app) {
		delete(a.ticked, app)
	}
	if w.calm && !a.isEnding() {
		w.truth.checkCalm(w, values, time.UnixMilli(b.Time))
	}
}

// isIdle reports whether an aggregate has had no source for as long as its block says and longer.
func (a *simAgent) isIdle(out *simOut, at time.Time, longer time.Duration) bool {
	return out.sources == 0 && at.Sub(out.idle) > a.blocks[out.block].idle+longer
}

// isEnding reports whether all targets are gone.
func (a *simAgent) isEnding() bool { return len(a.w.targets) == 0 }

// checkSample compares one sample of an aggregate with the one before and with what is true.
func (a *simAgent) checkSample(key string, out *simOut, at int64, v float64) {
	t, truth := a.w.t, &a.w.truth
	out.at = at
	if !out.shown {
		if out.shown = true; v != 0 {
			t.Errorf("%s begins with %v", key, v)
		}
		return
	}
	grown := v - out.last
	if grown < out.pending.least || grown > out.pending.most {
		t.Errorf("%s at %d has grown by %v, from %v to %v; the truth is between %v and %v", key, at, grown, out.last, v,
			out.pending.least, out.pending.most)
	}
	if truth.sent[key] += grown; truth.sent[key] > truth.total[key] {
		t.Errorf("%s: all agents have counted %v, and %v is true", key, truth.sent[key], truth.total[key])
	}
	out.last, out.pending = v, simBounds{}
}

// checkHistograms checks that the lines of each histogram belong together.
func (a *simAgent) checkHistograms(values map[string]float64) {
	for key, count := range values {
		app, rest, _ := strings.Cut(key, " istio_ms_count ")
		if rest == "" {
			continue
		}
		bucket := func(le string) float64 { return values[app+" istio_ms_bucket "+rest+",le="+le] }
		if bucket("5") > bucket("10") || bucket("10") > bucket("+Inf") || bucket("+Inf") != count {
			a.w.t.Errorf("%s: buckets %v, %v, %v, count %v", key, bucket("5"), bucket("10"), bucket("+Inf"), count)
		}
	}
}

// keyOfAggregate returns keyOf of an aggregate.
func keyOfAggregate(l labels.Labels) string {
	of := ""
	if code := l.Get("code"); code != "" {
		of = "code=" + code
	}
	if le := l.Get("le"); le != "" {
		of += ",le=" + le
	}
	return l.Get("app") + " " + l.Get(model.MetricNameLabel) + " " + of
}

// writes reports whether there are aggregates of an app.
func (a *simAgent) writes(app string) bool {
	for _, out := range a.outs {
		if out.app == app {
			return true
		}
	}
	return false
}

// checkTicks checks that no tick is missing. While the clock is set, ticks may be.
func (a *simAgent) checkTicks() {
	a.w.call(synctest.Wait)
	if a.isSet {
		return
	}
	for app, at := range a.ticked {
		if since := time.Since(at); since > a.w.interval {
			a.w.t.Errorf("no aggregates of %s for %v", app, since)
		}
	}
}

// checkEnd checks that nothing is left, a long time after all targets have gone.
func (a *simAgent) checkEnd() {
	t := a.w.t
	if t.Failed() {
		return
	}
	for key, out := range a.outs {
		if out.shown { // otherwise the clock was set, so that no tick could write it
			t.Errorf("%s has no marker", key)
		}
	}
	if n, symbols := a.table.Len(), a.table.SymbolCount(); n+symbols > 0 {
		t.Errorf("%d series and %d strings are left in the table", n, symbols)
	}
}
