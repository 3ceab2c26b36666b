package deliver

import (
	"context"
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
	messages []wire.Message // of the group
}

// NewSender returns a sender that reports each Fate once, from the goroutine of Run.
func (r *Receiver) NewSender(lane Lane, report func(Fate)) *Sender {
	return &Sender{lane: lane, isolator: isolator{requester: requester{receiver: r, report: report}}}
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

// deliverGroup sends the requests of a group until all their samples are settled. Several requests are merged, so that
// the receiver reads the labels of a series once for all its samples, and divided by max_samples_per_send, as is the
// request of a large scrape. It returns false if ctx ended before.
func (s *Sender) deliverGroup(ctx context.Context, group []queue.Request) bool {
	defer func() { clear(s.messages) }()
	s.messages = s.messages[:0]
	columns := false
	for _, r := range group {
		m := messageOf(r)
		s.messages = append(s.messages, m)
		columns = columns || m.Layout != nil
	}
	cfg, _ := s.receiver.current()
	most := wire.Limits{Samples: cfg.QueueConfig.MaxSamplesPerSend, Bytes: maxMergedBytes}
	if !columns && len(group) == 1 && (group[0].Stream == 0 || group[0].Samples <= most.Samples) {
		return s.deliver(ctx, s.messages[0])
	}
	merged, err := s.receiver.pool.Merge(s.messages, most)
	if err == nil {
		return s.deliverMerged(ctx, merged)
	}
	for i, m := range s.messages { // each request alone: the damage costs only its own samples
		if m.Layout == nil {
			if !s.deliver(ctx, m) {
				return false
			}
			continue
		}
		merged, err := s.receiver.pool.Merge(s.messages[i:i+1], most)
		if err != nil {
			s.drop(Damaged, m.Samples)
		} else if !s.deliverMerged(ctx, merged) {
			return false
		}
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
	m := wire.Message{Samples: r.Samples, Oldest: r.Oldest, Newest: r.Newest, MayHaveArrived: r.MayHaveArrived}
	for _, rec := range r.Records {
		m.Fragments = append(m.Fragments, rec.Data)
		if rec.Layout != nil {
			m.Layout = rec.Layout.Data
		}
	}
	return m
}
