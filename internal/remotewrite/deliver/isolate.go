package deliver

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// The search for the bad series of one message ends after this many requests, or after this much waiting for answers.
const (
	MaxIsolationRequests = 128
	minIsolationRequests = 8
	maxIsolationTime     = 5 * time.Second
)

// isolator delivers messages. It divides those that are too large or that a 1.0 receiver rejects, and remembers the bad
// series of the lane.
type isolator struct {
	requester
	badSeries      badSeries
	budget         searchBudget
	failedSearches int // consecutive searches in which no good series arrived
}

// deliver sends a message until all its samples are settled. It returns false if ctx ended before.
func (s *isolator) deliver(ctx context.Context, m wire.Message) bool {
	parts, err := s.badSeries.divide(m)
	if err != nil {
		s.drop(Damaged, m.Samples)
		return true
	}
	if parts == nil {
		v := s.send(ctx, m, s.receiver.maxBody())
		if v.result == settled || v.result == interrupted {
			return v.result == settled
		}
		d := division{isolator: s}
		return d.proceed(ctx, part{Message: m}, v) && d.run(ctx)
	}
	d := division{isolator: s, parts: parts}
	return d.run(ctx)
}

// division delivers a message in parts, because it is too large, or because a 1.0 receiver rejected it. A 1.0
// receiver that rejects a request stores nothing of it, and does not say which series are bad. The message is divided
// by series, the series that are left alone by time (inOrder). If the receiver rejects the time of samples, the message
// is divided by time first (byTime), because a late scrape has late samples in all its series.
//
// The largest part is sent first, so that most good samples have arrived when the budget of the search ends (but see
// takeNext). Each series stays in order: parts have no series in common, and pieces that do are sent by inOrder.
//
// An answer that asks for another try later costs nothing of the budget.
type division struct {
	*isolator
	parts        []part
	searching    bool          // the search for bad series has begun
	requests     int           // that the search has cost
	waited       time.Duration // for the answers to them
	maxWait      time.Duration // limit of waited
	foundGood    bool          // a part of the search arrived
	badRecovered bool          // a known bad series that was sent alone arrived

	tooLarge int // bytes of the smallest body that was too large (413); 0: none was
	fits     int // bytes of the largest smaller body that arrived
}

// run delivers all parts. It returns false if ctx ended before.
func (d *division) run(ctx context.Context) bool {
	if !d.deliverParts(ctx) {
		return false
	}
	// If no good series arrived during a search, the next search is shorter: a receiver that refuses everything must
	// not cost the lane its throughput.
	switch {
	case d.foundGood:
		d.failedSearches = 0
	case d.requests > 0:
		d.failedSearches++
	}
	return true
}

// deliverParts delivers all parts. It returns false if ctx ended before.
func (d *division) deliverParts(ctx context.Context) bool {
	for len(d.parts) > 0 {
		p := d.takeNext()
		if p.group == searched && d.budgetSpent() {
			d.giveUp(p)
			continue
		}
		most := d.receiver.maxBody()
		if p.single {
			most = 0
		}
		v := d.send(ctx, p.Message, most)
		if v.result == interrupted || !d.proceed(ctx, p, v) {
			return false
		}
	}
	return true
}

// inOrder delivers messages with samples of the same series, the oldest first: each with all its pieces before the
// next one. like is the part that they are pieces of. It returns false if ctx ended before.
func (d *division) inOrder(ctx context.Context, messages []wire.Message, like part) bool {
	others := d.parts
	defer func() { d.parts = others }()
	for _, m := range messages {
		like.Message = m
		d.parts = []part{like}
		if !d.deliverParts(ctx) {
			return false
		}
	}
	return true
}

// byTime delivers a message that the receiver rejected because of the time of some samples as it would have been
// delivered unmerged: one message for each scrape, from the oldest to the newest. So the samples of one scrape that
// are late do not take those of the next one with them. It returns false if ctx ended before.
func (d *division) byTime(ctx context.Context, c *wire.Content, v verdict) bool {
	scrapes, err := c.SplitTimes()
	if err != nil {
		d.drop(Damaged, v.Samples)
		return true
	}
	for _, m := range scrapes {
		if !d.deliver(ctx, m) {
			return false
		}
	}
	return true
}

// takeNext returns the largest part. After a search in which no good series arrived it returns the smallest: a short
// search among the largest parts would end before it reached single series, and fail again. Known bad series that
// travel together come last, because those that travel alone show whether a search among the others is worth it.
func (d *division) takeNext() part {
	rank := func(p part) int {
		switch {
		case p.together:
			return math.MinInt
		case d.failedSearches > 0:
			return -p.Samples
		}
		return p.Samples
	}
	at := 0
	for i := range d.parts {
		if rank(d.parts[i]) > rank(d.parts[at]) {
			at = i
		}
	}
	p := d.parts[at]
	d.parts = slices.Delete(d.parts, at, at+1)
	return p
}

// budgetSpent reports whether the search is over.
func (d *division) budgetSpent() bool {
	if !d.searching {
		d.searching, d.maxWait = true, d.budget.forMessage(time.Now())
	}
	most := max(minIsolationRequests, MaxIsolationRequests>>min(d.failedSearches, 8))
	return d.requests >= most || d.waited >= d.maxWait
}

// countSearch counts a request of the search.
func (d *division) countSearch(v verdict) {
	d.requests++
	d.waited += v.answer.Took
	d.budget.left -= v.answer.Took
	d.foundGood = d.foundGood || v.arrived
}

// A lane searches for at most half of its time, over a long time: its backlog must not grow because a receiver finds
// new bad series at every scrape. Saved time is for all messages of a scrape in which bad series appear for the first
// time.
const (
	searchShare = 2 // one half
	SavedSearch = 5 * time.Minute
)

// searchBudget is how much time a lane has for searches. The zero value has saved the maximum. It may be overdrawn.
type searchBudget struct {
	left  time.Duration
	since time.Time
}

// forMessage returns how long the search for the bad series of one message may take.
func (t *searchBudget) forMessage(now time.Time) time.Duration {
	if t.since.IsZero() {
		t.left = SavedSearch
	} else {
		t.left = min(t.left+now.Sub(t.since)/searchShare, SavedSearch)
	}
	t.since = now
	return min(t.left, maxIsolationTime)
}

// proceed continues after the verdict on a part. It returns false if ctx ended.
func (d *division) proceed(ctx context.Context, p part, v verdict) bool {
	if p.group == searched {
		d.countSearch(v)
	}
	if v.arrived {
		d.arrived(p, v)
	}
	if v.result == settled {
		return true
	}
	c, err := wire.Parse(v.Message)
	if err != nil || c.Samples() == 0 {
		d.drop(Damaged, v.Samples)
		return true
	}
	complaint := complaintOf(v.answer)
	// Known bad series that are late at each scrape stay together.
	hopeless := p.group == knownBad && !d.badRecovered && !v.MayHaveArrived
	switch {
	case v.result != rejected || p.group == searched:
	case complaint.aboutTime() && c.Samples() > c.Len() && c.Len() > 1 && !hopeless:
		return d.byTime(ctx, &c, v)
	case complaint.late() && v.MayHaveArrived && c.Samples() == c.Len():
		return d.sendInQuarters(ctx, &c, p, v)
	}
	return d.divide(ctx, &c, p, v)
}

// arrived learns from a part that was accepted.
func (d *division) arrived(p part, v verdict) {
	if p.group != unsuspected {
		d.badSeries.arrived(p.Message)
	}
	d.badRecovered = d.badRecovered || p.group == knownBad
	if v.bytes < d.tooLarge && v.bytes > d.fits {
		d.fits = v.bytes
		d.receiver.learnMaxBody(v.settings, d.fits, d.tooLarge)
	}
}

// divide continues with a part that was too large or rejected: it replaces the part by pieces, unless the part is a
// single sample or a group of known bad series. It returns false if ctx ended.
func (d *division) divide(ctx context.Context, c *wire.Content, p part, v verdict) bool {
	if v.result == tooLarge && v.bytes > 0 && (d.tooLarge == 0 || v.bytes < d.tooLarge) {
		d.tooLarge = v.bytes
	}
	switch {
	case c.Samples() == 1 && v.unsent:
		d.parts = append(d.parts, part{Message: v.Message, group: p.group, answer: p.answer, single: true})
		return true
	case c.Samples() == 1:
		d.refuseSample(c, v)
		return true
	case c.Len() == 1:
		return d.divideSeries(ctx, c, p, v)
	case p.together && v.result == rejected && !d.badRecovered:
		d.refuseTogether(c, v)
		return true
	}
	pieces, err := c.Split(max(2, v.pieces))
	if err != nil {
		d.drop(Damaged, v.Samples)
		return true
	}
	for _, m := range pieces {
		q := part{Message: m, group: p.group, together: p.together, answer: p.answer}
		if v.result == rejected {
			q = part{Message: m, group: searched, answer: v.answer}
		}
		d.parts = append(d.parts, q)
	}
	return true
}

// divideSeries delivers a series with several samples in pieces, from the oldest to the newest. If it was rejected,
// each sample is a piece: a late sample does not take the newer ones with it. It returns false if ctx ended.
func (d *division) divideSeries(ctx context.Context, c *wire.Content, p part, v verdict) bool {
	n, like := max(2, v.pieces), part{group: p.group, answer: p.answer}
	if v.result == rejected {
		n, like.answer = c.Samples(), v.answer
		if p.group != knownBad {
			like.group = searched
		}
	}
	pieces, err := c.SplitSeries(n)
	if err != nil {
		d.drop(Damaged, v.Samples)
		return true
	}
	return d.inOrder(ctx, pieces, like)
}

// refuseSample settles a message of one sample, and remembers its series. If an earlier process may have delivered the
// sample, and the receiver finds it late, the receiver has it already.
func (d *division) refuseSample(c *wire.Content, v verdict) {
	complaint := complaintOf(v.answer)
	if v.result == rejected && v.MayHaveArrived && complaint.late() {
		d.delivered(v.Samples, 0, v.answer)
		return
	}
	d.report(Fate{Refused: v.Samples, Complaint: complaint})
	d.receiver.rejectedSeries(v.answer, Rejection{Series: c.Labels(0), Samples: v.Samples, Reason: string(complaint),
		Error: v.answer.Message})
	if v.result == rejected {
		d.badSeries.add(c, true)
	}
}

// refuseTogether settles known bad series that were refused in one request. There is no search among them: each was
// refused when it was last sent alone, and so were the bad series of this message that were sent alone.
func (d *division) refuseTogether(c *wire.Content, v verdict) {
	complaint := complaintOf(v.answer)
	d.report(Fate{Refused: v.Samples - v.lost, Unsupported: v.lost, Complaint: complaint})
	d.receiver.rejectedSeries(v.answer, Rejection{Series: c.Labels(0), Others: c.Len() - 1, Samples: v.Samples - v.lost,
		Reason: string(complaint), Error: v.answer.Message})
}

// giveUp drops a part when the budget of the search is spent.
func (d *division) giveUp(p part) {
	d.drop(IsolationBudget, p.Samples)
	c, err := wire.Parse(p.Message)
	if err != nil || c.Len() == 0 {
		return
	}
	d.receiver.rejectedSeries(p.answer, Rejection{Series: c.Labels(0), Others: c.Len() - 1, Samples: p.Samples,
		Reason: string(IsolationBudget), Error: p.answer.Message})
	d.badSeries.add(&c, false)
}

// sendInQuarters sends a message again in four parts. The receiver found it late, and an earlier process may have
// delivered it. Each series has one sample. If only some series are late, a quarter without them is accepted. If all
// four quarters are late, the receiver has the whole message. It returns false if ctx ended.
func (d *division) sendInQuarters(ctx context.Context, c *wire.Content, p part, v verdict) bool {
	verdicts := []verdict{v}
	if c.Len() > 1 { // the same request of a single series would get the same answer
		quarters, err := c.Split(4)
		if err != nil {
			d.drop(Damaged, v.Samples)
			return true
		}
		verdicts = nil
		for _, m := range quarters {
			w := d.send(ctx, m, 0)
			if w.result == interrupted {
				return false
			}
			d.countSearch(w)
			verdicts = append(verdicts, w)
		}
	}
	hasAll, samples, lost := true, 0, 0
	for _, w := range verdicts {
		hasAll = hasAll && w.result == rejected && complaintOf(w.answer).late()
		samples += w.Samples
		lost += w.lost
	}
	if hasAll {
		d.delivered(samples-lost, lost, v.answer)
		return true
	}
	for _, w := range verdicts {
		if w.result == settled {
			continue
		}
		c, err := wire.Parse(w.Message)
		if err != nil || c.Samples() == 0 {
			d.drop(Damaged, w.Samples)
			continue
		}
		if !d.divide(ctx, &c, part{group: p.group, together: p.together}, w) {
			return false
		}
	}
	return true
}

// delivered settles samples of an earlier process that the receiver has already.
func (d *division) delivered(samples, lost int, a Answer) {
	d.report(Fate{Delivered: samples, Unsupported: lost})
	d.receiver.alreadyDelivered(samples, a)
}
