package deliver

import (
	"context"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// Lane is where a sender takes requests from.
type Lane interface {
	// Next returns the oldest request of the lane, the same one until Ack (Ready). Later: the sender asks again after a
	// Wake, or after wait if that is not 0. Empty: the lane has no more requests and gets none. Where closing, no more
	// samples are appended.
	Next(closing bool) (r queue.Request, state queue.State, wait time.Duration)
	// Ack removes the request that Next gave. Its bytes are the lane's from then on.
	Ack(r queue.Request)
	// Wake receives when Next may give something.
	Wake() <-chan struct{}
}

// Sender delivers the requests of one lane, one at a time and in order.
type Sender struct {
	lane Lane
	isolator
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
		r, state, wait := s.lane.Next(closing)
		switch {
		case state == queue.Ready:
			if !s.deliver(ctx, messageOf(r)) {
				return // still queued
			}
			s.lane.Ack(r)
			s.report(Fate{Done: r.Samples})
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

func messageOf(r queue.Request) wire.Message {
	m := wire.Message{Samples: r.Samples, Oldest: r.Oldest, Newest: r.Newest, MayHaveArrived: r.MayHaveArrived}
	for _, rec := range r.Records {
		m.Fragments = append(m.Fragments, rec.Data)
	}
	return m
}
