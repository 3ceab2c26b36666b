package deliver

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// Lane is where a sender takes requests from.
type Lane interface {
	// Next returns the requests that are to be delivered next, in order, and the same group until Ack (Ready). Later:
	// the sender asks again after a Wake, or after wait if that is not 0. Empty: the lane has no more requests and gets
	// none. Where closing, no more samples are appended.
	Next(closing bool) (group []queue.Request, state queue.State, wait time.Duration)
	// Ack removes the group that Next gave. Its bytes are the lane's from then on.
	Ack(group []queue.Request)
	// Wake receives when Next may give something.
	Wake() <-chan struct{}
}

// Sender delivers the requests of one lane in order, one group at a time.
type Sender struct {
	lane Lane
	isolator
	messages           []wire.Message // of the group
	layouts            []wire.Layout  // of messages
	columns, fragments post           // next ones, of several streams
}

// post is messages of several streams that are merged into one request. Columns are merged with columns, since that
// costs a fraction of what it costs with fragments.
type post struct {
	messages []wire.Message
	size     size
}

// enoughForPost is the number of samples of a stream from which on its fragments have a request of their own: another
// POST costs less than merging them.
const enoughForPost = 1000

// NewSender returns a sender that reports each Fate once, from the goroutine of Run. Only the sender uses random.
func (r *Receiver) NewSender(random *rand.Rand, lane Lane, report func(Fate)) *Sender {
	return &Sender{lane: lane, isolator: isolator{requester: requester{receiver: r, report: report, random: random}}}
}

// Run delivers until ctx ends or the lane is empty for good. After stopping is closed it goes on until everything is
// delivered.
func (s *Sender) Run(ctx context.Context, stopping <-chan struct{}) {
	for ctx.Err() == nil {
		closing := isClosed(stopping)
		group, state, wait := s.lane.Next(closing)
		switch {
		case state == queue.Ready:
			if !s.deliverGroup(ctx, group) {
				return // still queued
			}
			samples := 0
			for _, r := range group {
				samples += r.Samples
			}
			s.lane.Ack(group)
			s.report(Fate{Done: samples})
		case state == queue.Empty:
			return
		case closing:
			s.idle(ctx, nil, wait)
		default:
			s.idle(ctx, stopping, wait)
		}
	}
}

// idle waits for Wake, for at most wait if that is not 0. A stop ends it, unless stopping is nil.
func (s *Sender) idle(ctx context.Context, stopping <-chan struct{}, wait time.Duration) {
	var due <-chan time.Time
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		due = t.C
	}
	select {
	case <-ctx.Done():
	case <-stopping:
	case <-s.lane.Wake():
	case <-due:
	}
}

// The largest plain texts, about, of a message that is made of several requests, and of its 1.0 body if that is made
// at once. 10,500 series have 7 MiB in 1.0 if their labels have 650 bytes.
const (
	maxMergedBytes = 8 << 20
	maxMergedV1    = 16 << 20
)

// deliverGroup sends the requests of a group until all their samples are settled. Requests of a stream are merged, so
// that the receiver reads the labels of a series once for all its samples. Streams share a request as far as the
// limits allow; a stream with more samples is divided. It returns false if ctx ended before.
func (s *Sender) deliverGroup(ctx context.Context, group []queue.Request) bool {
	defer s.forget()
	s.read(group)
	most := s.limits()
	for from := 0; from < len(group); {
		to, z := firstStream(group, from)
		own, next := s.messages[from:to], &s.columns
		if slices.ContainsFunc(own, isFragment) {
			next = &s.fragments
		}
		ok := false
		if next == &s.fragments && most.ownPost(z) {
			ok = s.deliverStream(ctx, group[from:to], own, most)
		} else {
			ok = s.gather(ctx, next, own, z, most)
		}
		if !ok {
			return false
		}
		from = to
	}
	return s.deliverNext(ctx, &s.columns, most) && s.deliverNext(ctx, &s.fragments, most)
}

// limits returns the limits of the messages of the next group.
func (s *Sender) limits() limits {
	cfg, _ := s.receiver.current()
	most := cfg.limits(s.receiver.Protocol(), s.receiver.RejectsAs10())
	most.asV1 = most.asV1 && s.badSeries.isEmpty() // else each message is taken apart, which needs it as 2.0
	return most
}

func isFragment(m wire.Message) bool { return m.Layout == nil }

func isColumn(m wire.Message) bool { return m.Layout != nil }

// gather adds messages of a stream to a post. It returns false if ctx ended before.
func (s *Sender) gather(ctx context.Context, p *post, own []wire.Message, z size, most limits) bool {
	if !most.allow(p.size.with(z)) && !s.deliverNext(ctx, p, most) {
		return false
	}
	p.messages, p.size = append(p.messages, own...), p.size.with(z)
	return true
}

// deliverStream sends the requests of a stream that has fragments for a post of their own. Fragments of a whole page,
// which come when a page has changed, are sent apart from the columns before and after them: merging them would cost
// two to three times as much. It returns false if ctx ended before.
func (s *Sender) deliverStream(ctx context.Context, group []queue.Request, own []wire.Message, most limits) bool {
	from, until := slices.IndexFunc(own, isFragment), len(own)
	if n := slices.IndexFunc(own[from:], isColumn); n >= 0 {
		until = from + n
	}
	_, z := firstStream(group[:until], from)
	if slices.ContainsFunc(own[until:], isFragment) || !most.ownPost(z) {
		from, until = 0, len(own) // each scrape may have some: a request for each would cost more
		_, z = firstStream(group, 0)
	}
	return s.gatherColumns(ctx, group[:from], own[:from], most) &&
		(from == 0 || s.deliverNext(ctx, &s.columns, most)) && // these may have samples of the same series
		s.deliverFragments(ctx, own[from:until], z.scrapes, most.merging(z.scrapes), group[0].Stream == 0) &&
		s.gatherColumns(ctx, group[until:], own[until:], most)
}

// deliverFragments sends fragments of a stream. Those of several scrapes are merged. A single scrape has several if its
// page is large, as a first page. They have no series in common, so only those that fit into one request are merged:
// nearly always each is sent as it is. It returns false if ctx ended before.
func (s *Sender) deliverFragments(
	ctx context.Context, own []wire.Message, scrapes int, most wire.Limits, complete bool,
) bool {
	for len(own) > 0 {
		n, samples := 1, own[0].Samples
		for n < len(own) && (scrapes > 1 || samples+own[n].Samples <= most.Samples) {
			samples += own[n].Samples
			n++
		}
		if !s.deliverTogether(ctx, own[:n], most, complete) {
			return false
		}
		own = own[n:]
	}
	return true
}

// gatherColumns gathers the columns of a stream, if there are any. It returns false if ctx ended before.
func (s *Sender) gatherColumns(ctx context.Context, group []queue.Request, own []wire.Message, most limits) bool {
	if len(own) == 0 {
		return true
	}
	_, z := firstStream(group, 0)
	return s.gather(ctx, &s.columns, own, z, most)
}

// firstStream returns the end of the first stream of a group from an index on, and what its requests hold. Those of a
// scrape have one time.
func firstStream(group []queue.Request, from int) (to int, z size) {
	series := 0 // of the scrape
	for to = from; to < len(group) && group[to].Stream == group[from].Stream; to++ {
		if to == from || group[to].Newest != group[to-1].Newest {
			z.scrapes++
			series = 0
		}
		series += group[to].Samples
		z.samples += group[to].Samples
		z.series = max(z.series, series)
	}
	return to, z
}

// deliverNext sends what was collected in p. It returns false if ctx ended before.
func (s *Sender) deliverNext(ctx context.Context, p *post, most limits) bool {
	defer p.reset()
	return len(p.messages) == 0 || s.deliverTogether(ctx, p.messages, most.merging(p.size.scrapes), false)
}

func (p *post) reset() {
	clear(p.messages)
	p.messages, p.size = p.messages[:0], size{}
}

// read makes messages of a group.
func (s *Sender) read(group []queue.Request) {
	s.messages, s.layouts = s.messages[:0], slices.Grow(s.layouts[:0], len(group)) // messages point into layouts
	var last *queue.Layout
	for _, r := range group {
		m := messageOf(r)
		if l := r.Records[0].Layout; l != nil {
			if l != last {
				s.layouts, last = append(s.layouts, wire.Layout{Head: l.Data, Tail: l.Shared, Packed: l.Packed}), l
			}
			m.Layout = &s.layouts[len(s.layouts)-1]
		}
		s.messages = append(s.messages, m)
	}
}

// forget drops the references to the group.
func (s *Sender) forget() {
	clear(s.messages)
	clear(s.layouts)
	s.behind = nil
	s.columns.reset()
	s.fragments.reset()
}

// deliverTogether merges messages and sends the result. One message that fits is sent as it is, and so is one in any
// case if it is complete already. It returns false if ctx ended before.
func (s *Sender) deliverTogether(ctx context.Context, together []wire.Message, most wire.Limits, complete bool) bool {
	if m := together[0]; len(together) == 1 && m.Layout == nil && (complete || m.Samples <= most.Samples) {
		return s.deliver(ctx, m)
	}
	merged, err := s.receiver.pool.Merge(together, most)
	switch {
	case err == nil:
		return s.deliverMerged(ctx, merged)
	case len(together) > 1: // each alone: the damage costs only its own samples
		for i := range together {
			if !s.deliverTogether(ctx, together[i:i+1], most, true) {
				return false
			}
		}
	case together[0].Layout == nil:
		return s.deliver(ctx, together[0])
	default:
		s.drop(Damaged, together[0].Samples)
	}
	return true
}

// deliverMerged sends messages that Merge has made. It returns false if ctx ended before.
func (s *Sender) deliverMerged(ctx context.Context, merged []wire.Message) bool {
	defer s.receiver.pool.ReleaseMerged(merged)
	for i, m := range merged {
		s.behind = merged[i+1:]
		if !s.deliver(ctx, m) {
			return false
		}
	}
	return true
}

func messageOf(r queue.Request) wire.Message {
	m := wire.Message{Samples: r.Samples, Oldest: r.Oldest, Newest: r.Newest, MayHaveArrived: r.MayHaveArrived,
		Stream: r.Stream}
	for _, rec := range r.Records {
		m.Fragments = append(m.Fragments, rec.Data)
	}
	return m
}
