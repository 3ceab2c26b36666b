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

// ownPost is the number of samples of a stream from which on its fragments have a request of their own: another POST
// costs less than merging them.
const ownPost = 1000

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

// maxMergedBytes is about the largest plain text of a message that is made of several requests.
const maxMergedBytes = 8 << 20

// deliverGroup sends the requests of a group until all their samples are settled. Requests of a stream are merged, so
// that the receiver reads the labels of a series once for all its samples. Streams share a request as far as the
// limits allow; a stream with more samples is divided. It returns false if ctx ended before.
func (s *Sender) deliverGroup(ctx context.Context, group []queue.Request) bool {
	defer s.forget()
	s.read(group)
	cfg, _ := s.receiver.current()
	most := cfg.limits(s.receiver.RejectsAs10())
	for from := 0; from < len(group); {
		to, z := firstStream(group, from)
		own, next := s.messages[from:to], &s.columns
		if slices.ContainsFunc(own, func(m wire.Message) bool { return m.Layout == nil }) {
			next = &s.fragments
		}
		if next == &s.fragments && (z.samples >= ownPost || 2*z.samples >= most.merging(z.scrapes).Samples) {
			if !s.deliverTogether(ctx, own, most.merging(z.scrapes), group[from].Stream == 0) {
				return false
			}
		} else {
			if !most.allow(next.size.with(z)) && !s.deliverNext(ctx, next, most) {
				return false
			}
			next.messages, next.size = append(next.messages, own...), next.size.with(z)
		}
		from = to
	}
	return s.deliverNext(ctx, &s.columns, most) && s.deliverNext(ctx, &s.fragments, most)
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
	for _, m := range merged {
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
