package oracle

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
)

// Delays of the product that the oracle allows.
const (
	// discoveryDelay is how long after a change of the pods the targets may follow.
	discoveryDelay = 15 * time.Second
	// mostMissed is how many scrape intervals in a row may be missing.
	mostMissed = 3
	// longestScrape is longer than each scrape.
	longestScrape = 6 * time.Second
)

// Judge compares everything before a time, after all of it has been delivered, and forgets it.
func (o *Oracle) Judge(until time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, name := range o.order {
		p := o.pods[name]
		others := o.pagelessOf(p, until)
		for _, r := range o.names {
			o.judgePod(r, p, others, until)
		}
		for _, r := range o.names {
			o.judgeEnds(r, p, until)
		}
		o.judgeElsewhere(p)
		o.countScrapes(p, until)
	}
	o.judged = until
	o.forget(until)
}

// judgePod compares what a receiver has of a pod. others are batches without a page that some receiver has.
func (o *Oracle) judgePod(receiver string, p *pod, others []pageless, until time.Time) {
	d := o.receivers[receiver].pods[p.name]
	if d == nil {
		d = newDelivered()
		o.receivers[receiver].pods[p.name] = d
	}
	d.noteEnds(until)
	others = d.lacking(others)
	n := 0
	for ; n < len(d.batches) && d.batches[n].at < until.UnixMilli(); n++ {
		others = o.missed(receiver, p, d, others, d.batches[n].time())
		o.judgeLostPages(receiver, p, d, d.batches[n].time())
		o.judgeBatch(receiver, p, d, d.batches[n])
	}
	d.batches = slices.Clone(d.batches[n:])
	o.missed(receiver, p, d, others, until.Add(-time.Minute))
	o.judgeLostPages(receiver, p, d, until.Add(-time.Minute))
	o.judgeForgotten(receiver, p, d, until)
}

// want is the value that a sample must have: bits, or a number between 0 and most.
type want struct {
	bits   uint64
	ranged bool // 0 to most instead of bits
	most   float64
}

func (w want) String() string {
	if w.ranged {
		return fmt.Sprint("0 to ", w.most)
	}
	return fmt.Sprint(math.Float64frombits(w.bits))
}

func exactly(v float64) want { return want{bits: math.Float64bits(v)} }
func atMost(v float64) want  { return want{ranged: true, most: v} }
func marker() want           { return want{bits: value.StaleNaN} }
func (w want) matches(b uint64) bool {
	v := math.Float64frombits(b)
	return !w.ranged && w.bits == b || w.ranged && v >= 0 && v <= w.most
}

// judgeBatch compares one batch and brings the liveness of its target up to date.
func (o *Oracle) judgeBatch(receiver string, p *pod, d *delivered, b *batch) {
	o.counts.Batches++
	c, t := o.targetOfBatch(receiver, p, b)
	if t == nil && !b.hasUp && o.excusedBy(b.from, b.time(), b.time()) {
		return // a part of it has arrived before the process ended
	}
	if t == nil {
		o.problem("%s: %s: a batch at %s that no configuration makes: %v", receiver, p.name, clock(b.time()),
			firstSeries(b))
		return
	}
	before := d.states[b.rev]
	s := d.stateOf(b.rev, o.processOf(b.from, b.time()))
	isFirst := s.last.IsZero()
	if s.target != nil && (s.ended || o.wasRemoved(s.target.job.JobName, s.last, b.time())) { // it is back
		*s = liveness{process: s.process, live: map[string]labels.Labels{}}
	}
	if !s.last.IsZero() && o.wasAway(b.from, t, s.last, b.time()) {
		*s = liveness{process: s.process, live: map[string]labels.Labels{}, unknown: true}
	}
	if !s.last.IsZero() && o.missedNext(p, t, b, s.last) {
		s.live, s.unknown, s.complete = map[string]labels.Labels{}, true, false
	}
	since := s.last
	if since.IsZero() {
		since = s.process.from
	}
	if o.isAbsent(receiver, since, b.time()) {
		*s = liveness{process: s.process, live: map[string]labels.Labels{}, unknown: true}
	}
	if o.isContested(t, b.time()) { // it has samples of two agents
		for host := range o.lives {
			d.held[holding{b.rev, o.processOf(host, b.time())}] = true
		}
		*s = liveness{process: s.process, live: map[string]labels.Labels{}, target: t, unknown: true}
		return
	}
	o.judgeHandover(receiver, p, t, before, b)
	if isFirst {
		o.judgeFirst(receiver, p, s, c, t, b)
	}
	o.judgeInterval(receiver, p, s, t, b)
	s.target, s.ended = t, false
	var all []expectation
	if !b.hasUp {
		b.up = o.guessUp(receiver, p, t, b)
	}
	switch {
	case value.IsStaleNaN(b.up):
		all = o.expectEnd(receiver, p, s, t, b)
	case b.up == 1:
		if all = o.expectPage(receiver, p, s, t, b); all == nil {
			o.problem("%s: %s: up=1 at %s, but no page was served", receiver, p.name, clock(b.time()))
			return
		}
	default:
		all = o.expectFailure(receiver, p, s, c, t, b)
	}
	s.last = b.time()
	if !value.IsStaleNaN(b.up) {
		o.noteScrape(receiver, c, t, b)
	}
	expected := c.expectedAt(receiver, all)
	longest := t.timeout() + time.Second
	for _, later := range o.configs { // rules of an endpoint are those at the end of the scrape
		if later.from.After(b.time()) && later.from.Before(b.time().Add(longest)) && later.hasEndpoint(receiver) {
			// Some samples may also be missing because the receiver refused them: the better fit counts.
			if other := later.expectedAt(receiver, all); b.differences(other) < b.differences(expected) {
				expected = other
			}
		}
	}
	if b.up != 1 {
		o.noteElsewhere(receiver, c, t, b, all)
		delete(o.elsewhere[batchKey{b.rev, b.at}].samples, receiver)
	}
	o.compare(receiver, p, b, expected, s.unknown)
	s.unknown, s.unsure = s.unsure, false
}

// expectEnd returns what the last batch of a target has: markers for all its series.
func (o *Oracle) expectEnd(receiver string, p *pod, s *liveness, t *target, b *batch) []expectation {
	o.counts.Ended++
	o.judgeReason(receiver, p, t, b)
	all := markers(slices.Collect(maps.Values(s.live)))
	for _, name := range reportNames {
		all = append(all, expectation{t.report[name], marker()})
	}
	s.live, s.ended = map[string]labels.Labels{}, true
	return all
}

// expectPage returns what the batch of a successful scrape has, or nil if no page was served.
func (o *Oracle) expectPage(receiver string, p *pod, s *liveness, t *target, b *batch) (all []expectation) {
	pg := o.pageOf(receiver, p, t, b, true)
	if pg == nil {
		return nil
	}
	live, kept := t.kept(pg)
	for _, sample := range pg.samples {
		all = append(all, expectation{t.scrapedOf(sample.Series), exactly(sample.Value)})
	}
	gone := vanished(s.live, live)
	all = append(all, markers(gone)...)
	n := float64(len(pg.samples))
	added := atMost(n)
	if s.complete && !o.mayChangeIn(s.knownAt.Add(-time.Second), b.time().Add(time.Second)) {
		added = exactly(float64(s.added(pg, live)))
	}
	s.show(pg, live)
	return append(all, t.reportOf(1, exactly(n), exactly(float64(kept)), added)...)
}

// expectFailure returns what the batch of a failed scrape has.
func (o *Oracle) expectFailure(receiver string, p *pod, s *liveness, c *inForce, t *target, b *batch) []expectation {
	o.counts.Failed++
	live := map[string]labels.Labels{}
	n := 0.0
	if pg := o.pageOf(receiver, p, t, b, false); pg != nil {
		n = float64(len(pg.samples))
		if pg.partial {
			live, _ = t.kept(pg)
			if !pg.read() && o.mayFail(p, b.time(), b.time().Add(t.timeout())) {
				live = s.shownBefore(live, c, receiver, b)
			}
		}
	} else if o.mayFail(p, b.time(), b.time().Add(t.timeout()+time.Second)) {
		if pg := o.pageOf(receiver, p, t, b, true); pg != nil { // it came too late, or never
			n = float64(len(pg.samples))
		}
	} else {
		o.problem("%s: %s: up=0 at %s for no reason", receiver, p.name, clock(b.time()))
	}
	all := markers(vanished(s.live, live))
	s.live, s.complete = live, false
	return append(all, t.reportOf(0, atMost(n), atMost(n), atMost(n))...)
}

// shownBefore returns the series that are live after a page with a bad line that may have ended before that line: then
// none is. The batch tells if some of them were live before, because those have markers then. Otherwise the next batch
// may have markers for all.
func (s *liveness) shownBefore(live map[string]labels.Labels, c *inForce, receiver string,
	b *batch) map[string]labels.Labels {
	s.unsure = true
	for key, ls := range live {
		sent := c.sentOf(receiver, ls)
		if _, was := s.live[key]; !was || sent == "" {
			continue
		}
		s.unsure = false
		if _, ended := b.samples[sent]; ended {
			return nil
		}
	}
	if s.unsure {
		return nil
	}
	return live
}

// markers returns staleness markers for series.
func markers(series []labels.Labels) (all []expectation) {
	for _, ls := range series {
		all = append(all, expectation{ls, marker()})
	}
	return all
}

// reportOf returns the report of a scrape.
func (t *target) reportOf(up float64, scraped, kept, added want) (all []expectation) {
	values := [...]want{exactly(up), atMost(t.timeout().Seconds() + 1), scraped, kept, added}
	for i, name := range reportNames {
		all = append(all, expectation{t.report[name], values[i]})
	}
	return all
}

// expectation is a series before an endpoint's rules, and its value.
type expectation struct {
	series labels.Labels
	want
}

// expectedAt returns what a receiver must get of scraped samples, by series.
func (c *inForce) expectedAt(receiver string, all []expectation) map[string]want {
	expected := make(map[string]want, len(all))
	for _, e := range all {
		if key := c.sentOf(receiver, e.series); key != "" {
			if _, twice := expected[key]; !twice { // the first of two lines of one series counts
				expected[key] = e.want
			}
		}
	}
	return expected
}

// differences returns the number of series that are only in a batch, or only in what is expected of it.
func (b *batch) differences(expected map[string]want) int {
	both := 0
	for key := range expected {
		if _, there := b.samples[key]; there {
			both++
		}
	}
	return len(expected) + len(b.samples) - 2*both
}

// compare notes what differs between a batch and what is expected of it. anyMarkers allows markers that are not.
func (o *Oracle) compare(receiver string, p *pod, b *batch, expected map[string]want, anyMarkers bool) {
	lost := 0
	example, excused := "", o.excusedBy(b.from, b.time(), b.time())
	for key, w := range expected {
		got, there := b.samples[key]
		switch {
		case !there && !excused && o.lossesOf(receiver).besides[repetition{key, b.at}]:
			o.losses[receiver].Mistaken++
		case !there:
			lost++
			example = max(example, key)
		case !w.matches(got):
			o.problem("%s: %s at %s: %v, want %v: %s", receiver, p.name, clock(b.time()),
				math.Float64frombits(got), w, key)
		}
	}
	for key, got := range b.samples {
		if _, known := expected[key]; !known && !(anyMarkers && got == value.StaleNaN) {
			o.problem("%s: %s at %s: %v, want no sample: %s", receiver, p.name, clock(b.time()),
				math.Float64frombits(got), key)
		}
	}
	if lost > 0 {
		o.lose(receiver, lost, excused, fmt.Sprintf(
			"%d of %d samples of %s at %s are missing, such as %s", lost, len(expected), p.name,
			clock(b.time()), example))
	}
}

// scrapedAt returns the time of a batch, or that of its page if this is in the same millisecond: timestamps have no
// fractions of it, but configurations change within one.
func (p *pod) scrapedAt(b *batch) time.Time {
	for _, pg := range p.pages {
		if pg.by == b.from && pg.start.UnixMilli() == b.at {
			return pg.start
		}
	}
	return b.time()
}

// stateOf returns the liveness of a target in a process. Another process knows nothing of the target, unless it had the
// target before.
func (d *delivered) stateOf(rev string, by *life) *liveness {
	s := d.states[rev]
	if s == nil || s.process != by {
		s = &liveness{process: by, live: map[string]labels.Labels{}, unknown: d.held[holding{rev, by}]}
		d.states[rev], d.held[holding{rev, by}] = s, true
	}
	return s
}

// kept returns the series of a page that the rules keep, and the number of its samples that they keep.
func (t *target) kept(pg *page) (live map[string]labels.Labels, samples int) {
	live = make(map[string]labels.Labels, len(pg.samples))
	for _, s := range pg.samples {
		if ls := t.scrapedOf(s.Series); !ls.IsEmpty() {
			live[t.texts[s.Series]] = ls
			samples++
		}
	}
	return live, samples
}

// vanished returns the series that were live before and are not now.
func vanished(before, now map[string]labels.Labels) (gone []labels.Labels) {
	for key, ls := range before {
		if _, shown := now[key]; !shown {
			gone = append(gone, ls)
		}
	}
	return gone
}

// early returns how far a timestamp may be after the start of its scrape: timestamps are due times.
func (t *target) early() time.Duration { return t.interval()/100 + time.Millisecond }

// targetAt returns the configuration that was in force at a time, and the target that it makes of a pod, or nil.
func (o *Oracle) targetAt(p *pod, at time.Time) (*inForce, *target) {
	for _, c := range slices.Backward(o.configs) {
		if !c.from.After(at) {
			return c, c.targetOf(p)
		}
	}
	return nil, nil
}

// judgeInterval checks that a target is scraped once in each scrape interval.
func (o *Oracle) judgeInterval(receiver string, p *pod, s *liveness, t *target, b *batch) {
	if s.last.IsZero() || s.ended || value.IsStaleNaN(b.up) || s.target == nil {
		return
	}
	gap := b.time().Sub(s.last)
	interval := max(t.interval(), s.target.interval())
	scraped := s.last
	for _, pg := range p.pages { // their batches may be lost
		if pg.by == b.from && pg.start.After(scraped) && pg.start.Before(b.time().Add(-t.early())) {
			scraped = pg.start
		}
	}
	if b.time().Sub(scraped) > mostMissed*interval+t.timeout() && !o.mayFail(p, scraped, b.time()) &&
		!o.excusedBy(b.from, scraped, b.time()) && o.ownedAll(b.from, t, scraped, b.time()) {
		o.problem("%s: %s was not scraped between %s and %s", receiver, p.name, clock(scraped), clock(b.time()))
	}
	if gap < t.interval()/2 && !o.changedIn(s.last, b.time()) {
		o.problem("%s: %s was scraped at %s and at %s, within one scrape interval", receiver, p.name, clock(s.last),
			clock(b.time()))
	}
}

// judgeForgotten checks that a target that lives was scraped in its last scrape intervals.
func (o *Oracle) judgeForgotten(receiver string, p *pod, d *delivered, until time.Time) {
	c, t := o.targetAt(p, until)
	if t == nil || !p.to.IsZero() || c.sentOf(receiver, t.report["up"]) == "" {
		return
	}
	since := o.found(p.from)
	for _, from := range []time.Time{c.from, o.quietFrom} {
		if from.After(since) {
			since = from
		}
	}
	for _, s := range d.states {
		if s.last.After(since) {
			since = s.last
		}
	}
	if gap := until.Sub(since); gap > mostMissed*t.interval()+time.Minute {
		o.problem("%s: %s was not scraped since %s", receiver, p.name, clock(since))
	}
}

// judgeReason checks that a target that gets its last markers is gone, or was replaced by a reload before.
func (o *Oracle) judgeReason(receiver string, p *pod, t *target, b *batch) {
	if !o.mayEnd(p, t, b.time()) {
		o.problem("%s: %s got its last markers at %s, but it is there", receiver, p.name, clock(b.time()))
	}
}

// mayEnd reports whether a target may get its last markers at a time.
func (o *Oracle) mayEnd(p *pod, t *target, at time.Time) bool {
	gone := !p.to.IsZero() && at.After(p.to.Add(-time.Minute))
	replaced := o.replacedAfter(p, t, at.Add(-2*time.Minute))
	return gone || o.isHidden(at) || !replaced.IsZero() && !replaced.After(at.Add(time.Second))
}

// judgeEnds checks the last markers of a pod's targets at a receiver.
func (o *Oracle) judgeEnds(receiver string, p *pod, until time.Time) {
	d := o.receivers[receiver].pods[p.name]
	for _, rev := range slices.Sorted(maps.Keys(d.states)) {
		o.judgeEnd(receiver, p, d, rev, until)
	}
}

// endedElsewhere reports whether another receiver has the last markers of a target. judgeElsewhere counts them as lost
// here, which the counters of the agent have to explain.
func (o *Oracle) endedElsewhere(receiver string, p *pod, rev string, here *liveness) bool {
	return slices.ContainsFunc(o.names, func(name string) bool {
		s := o.receivers[name].pods[p.name].states[rev]
		return name != receiver && s != nil && s.ended && s.process == here.process && s.last.After(here.last)
	})
}

// judgeEnd checks that a target that is gone has its last markers.
func (o *Oracle) judgeEnd(receiver string, p *pod, d *delivered, rev string, until time.Time) {
	s := d.states[rev]
	if s.ended || s.target == nil || s.last.IsZero() {
		return
	}
	gone := p.to
	if at := o.replacedAfter(p, s.target, s.last); !at.IsZero() && (gone.IsZero() || at.Before(gone)) {
		gone = at
	}
	if gone.IsZero() {
		return
	}
	by := o.found(o.shownUntil(gone, s.last)).Add(4 * s.target.interval())
	if until.Before(by) || o.isAbsent(receiver, s.last, until) || !s.process.alive(by) ||
		o.mayTake(s.process, gone, by) || o.isDamaged(s.process.host, gone) ||
		o.isContested(s.target, gone) || o.isContested(s.target, s.last) ||
		!o.ownedAll(s.process.host, s.target, gone, by) || o.endedElsewhere(receiver, p, rev, s) ||
		o.wasRemoved(s.target.job.JobName, s.last, until) {
		return
	}
	o.problem("%s: %s is gone since %s and has no last markers: rev=%q", receiver, p.name, clock(gone), rev)
	s.ended = true
}

func clock(at time.Time) string { return at.UTC().Format("02 15:04:05.000") }

// firstSeries returns one series of a batch.
func firstSeries(b *batch) string {
	for _, key := range slices.Sorted(maps.Keys(b.samples)) {
		return key
	}
	return ""
}
