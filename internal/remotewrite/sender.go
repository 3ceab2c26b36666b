package remotewrite

import (
	"context"
	"net/http"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// sender delivers the requests of one lane, one at a time and in order.
type sender struct {
	endpoint *endpoint
	lane     *lane
	encoders *wire.Pool // the endpoint's

	offenders offenders
	searching searchTime
	fruitless int // searches for bad series in a row that found nothing good
}

// drainCheck is how often a sender looks, after stopping, whether the queue is empty. The sender of the last request
// wakes the others, but a queue also loses requests, for want of room or by damage, and that wakes nobody.
const drainCheck = time.Second

// run delivers until ctx ends; after stopping it goes on until the queue is empty. An empty lane is not enough: after a
// change of their number, lanes wait for others to deliver what is older, or take that over.
func (s *sender) run(ctx context.Context, stopping <-chan struct{}) {
	e := s.endpoint
	defer close(s.lane.ended)
	defer e.wakeLanes(-1) // other senders may wait for the queue to be empty
	if s.lane.before != nil {
		select {
		case <-s.lane.before: // until then that one delivers what is queued here, too
		case <-ctx.Done():
		}
	}
	for ctx.Err() == nil {
		closing := isClosed(stopping)
		wait := s.lane.sealDue(e, closing)
		if r, state := e.queue.Next(s.lane.index); state == queue.Ready {
			if !s.deliver(ctx, messageOf(r)) {
				return // still queued
			}
			e.queue.Ack(s.lane.index)
			for _, rec := range r.Records {
				e.blocks.Put(rec.Data)
			}
			e.health.settle(-r.Samples)
			e.taken.Add(int64(r.Samples))
			continue
		}
		switch {
		case s.lane.gone.Load() || closing && e.queue.Stats().Requests == 0:
			return
		case closing:
			s.idle(ctx, nil, drainCheck)
		default:
			s.idle(ctx, stopping, wait)
		}
	}
}

// idle waits for something to do, for at most wait; 0: for ever. A stop ends it unless stopping is nil.
func (s *sender) idle(ctx context.Context, stopping <-chan struct{}, wait time.Duration) {
	var due <-chan time.Time
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		due = t.C
	}
	select {
	case <-ctx.Done():
	case <-stopping:
	case <-s.lane.wake:
	case <-due:
	}
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// deliver sends a message until the fate of all its samples is known, and counts them. False: ctx ended before.
func (s *sender) deliver(ctx context.Context, m wire.Message) bool {
	parts, err := s.offenders.apart(m)
	if err != nil {
		s.drop(damaged, m.Samples)
		return true
	}
	if parts == nil {
		v := s.try(ctx, m, s.endpoint.health.maxBody())
		if v.fate == settled || v.fate == interrupted {
			return v.fate == settled
		}
		d := division{sender: s}
		return d.judge(ctx, part{Message: m}, v) && d.run(ctx)
	}
	d := division{sender: s, parts: parts}
	return d.run(ctx)
}

// verdict is what came of a message.
type verdict struct {
	fate
	arrived      bool // settled by being accepted
	wire.Message      // what is left of it: sample_age_limit may have taken some
	lost         int  // of its samples, that the protocol cannot carry
	settings     *settings
	bytes        int // of the body that was sent last
	said         answer

	// unsent: its body is larger than one that was refused as too large, and it should be sent in this many pieces.
	unsent bool
	pieces int
}

type fate int

const (
	settled     fate = iota // it arrived, or was counted under a reason
	interrupted             // ctx ended; it is still queued
	tooLarge
	rejected // a 1.0 receiver took nothing of it
)

// try sends a message, again and again if need be, until the endpoint has taken or refused it. A message that is too
// large or rejected is not counted: its parts are tried next. A message whose body exceeds maxBody is not sent; 0: no
// body is too large.
func (s *sender) try(ctx context.Context, m wire.Message, maxBody int) verdict {
	e := s.endpoint
	var fast, slow backoff
	var turned [3]bool        // by protocol: the endpoint asked for the other one instead
	var instead wire.Protocol // tried after a vague answer to 2.0, without a turn; 0: health chooses
	var by *settings          // to which these belong
	for attempt := 0; ctx.Err() == nil; {
		cfg, replaced := e.current()
		if cfg != by {
			by, turned, instead, fast, slow = cfg, [3]bool{}, 0, backoff{}, backoff{}
		}
		if quiet := e.health.quiet(); quiet > 0 {
			if !pause(ctx, quiet, replaced) {
				break
			}
			continue
		}
		var left bool
		if m, left = s.dropOld(m, time.Duration(cfg.QueueConfig.SampleAgeLimit)); !left {
			return verdict{}
		}
		p, unproven := instead, false
		if instead == 0 {
			p, unproven = e.health.choose(cfg)
		}
		if e.settings.Load() != cfg {
			continue // the choice may be for newer ones
		}
		body, lost, err := s.encoders.Body(m, p, cfg.SendNativeHistograms)
		if err != nil {
			s.drop(damaged, m.Samples)
			return verdict{}
		}
		if lost == m.Samples {
			s.drop(unsupported, lost)
			return verdict{}
		}
		probe := unproven && p == wire.V2
		if maxBody > 0 && len(body) > maxBody && m.Samples > 1 && !probe {
			s.encoders.Release(body)
			return verdict{fate: tooLarge, Message: m, unsent: true, pieces: (len(body)-1)/maxBody + 1}
		}
		bytes := len(body)
		a := s.post(ctx, cfg, body, p, attempt)
		attempt++
		if a.err != nil && ctx.Err() != nil {
			break
		}
		out := classify(a, circumstances{sent: p, retryOnRateLimit: cfg.QueueConfig.RetryOnRateLimit, unproven: unproven})
		if out != accepted && p == wire.V2 && cfg.FailedRequestLogging {
			e.logFailed(m, a)
		}
		e.metrics.requests[out].Inc()
		e.metrics.answers[a.kind()].Inc()
		if out != retry && out != slowRetry {
			s.lane.waited.Add(int64(a.took))
		}
		v := verdict{Message: m, lost: lost, settings: cfg, bytes: bytes, said: a}
		switch out {
		case accepted:
			if instead == wire.V1 {
				e.turn(cfg, wire.V2)
			}
			s.accept(cfg, m, p, lost, a)
			v.arrived = true
			return v
		case otherProtocol:
			turned[p] = true
			switch {
			case turned[p.Other()]: // the endpoint takes neither
			case a.vague():
				instead = wire.V1
				continue
			case e.turn(cfg, p):
				continue // the same samples at once, the other way
			}
			s.refuse(cfg, m, p, lost, a, out)
			return v
		case split:
			v.fate = tooLarge
			return v
		case isolate:
			v.fate = rejected
			return v
		case refused:
			s.refuse(cfg, m, p, lost, a, out)
			return v
		}
		if instead != 0 {
			turned, instead = [3]bool{}, 0
		}
		e.failed(cfg, out, a)
		e.metrics.retries.Inc()
		fast.min, fast.max = time.Duration(cfg.QueueConfig.MinBackoff), time.Duration(cfg.QueueConfig.MaxBackoff)
		slow.min, slow.max = minSlowBackoff, maxSlowBackoff
		wait := fast.wait
		if out == slowRetry {
			wait = slow.wait
		}
		if !pause(ctx, wait(), replaced) {
			break
		}
	}
	return verdict{fate: interrupted}
}

// post sends a body and gives it back.
func (s *sender) post(ctx context.Context, cfg *settings, body []byte, p wire.Protocol, attempt int) answer {
	began := time.Now()
	a := cfg.client.post(ctx, body, p, attempt)
	a.took = time.Since(began)
	if !a.bodyInUse {
		s.encoders.Release(body)
	}
	if !a.unsent {
		s.endpoint.metrics.bytes.Add(float64(len(body)))
	}
	s.endpoint.metrics.duration.Observe(a.took.Seconds())
	return a
}

// accept counts what arrived. A 2.0 receiver tells how much it has written.
func (s *sender) accept(cfg *settings, m wire.Message, p wire.Protocol, lost int, a answer) {
	e := s.endpoint
	arrived := m.Samples - lost
	if p == wire.V2 {
		if n, _ := written(a.header); n < arrived {
			s.refuseRest(m, p, arrived-n, a, accepted)
			arrived = n
		}
	}
	e.metrics.accepted.Add(float64(arrived))
	e.metrics.drop(unsupported, lost)
	e.health.settle(m.Samples)
	e.succeeded(cfg, p, arrived, m.Newest)
}

// refuse counts what the endpoint will never take. A 2.0 receiver may have written the rest of the request: then the
// request is a success for all but the samples that are missing.
func (s *sender) refuse(cfg *settings, m wire.Message, p wire.Protocol, lost int, a answer, out outcome) {
	e := s.endpoint
	left := m.Samples - lost
	if n, confirmed := written(a.header); p == wire.V2 && confirmed && out == refused {
		n = min(n, left)
		e.metrics.accepted.Add(float64(n))
		e.succeeded(cfg, p, n, m.Newest)
		left -= n
	}
	e.metrics.drop(unsupported, lost)
	e.health.settle(m.Samples)
	s.refuseRest(m, p, left, a, out)
}

// refuseRest counts samples that a receiver has not written, and says so. A 2.0 receiver that finds samples late which
// an earlier process may have delivered has them already.
func (s *sender) refuseRest(m wire.Message, p wire.Protocol, samples int, a answer, out outcome) {
	if samples == 0 {
		return
	}
	c := complaintOf(a)
	if m.MayHaveArrived && p == wire.V2 && a.status == http.StatusBadRequest && c.late() {
		s.delivered(samples, a)
		return
	}
	s.endpoint.metrics.refuse(c, samples)
	s.endpoint.refusedBy(a, samples, out, p)
}

// drop settles samples that nobody will be asked to take.
func (s *sender) drop(r reason, n int) {
	s.endpoint.metrics.drop(r, n)
	s.endpoint.health.settle(n)
}

// dropOld leaves out what is older than limit; false: nothing is left.
func (s *sender) dropOld(m wire.Message, limit time.Duration) (wire.Message, bool) {
	oldest := time.Now().Add(-limit).UnixMilli()
	if limit == 0 || m.Oldest >= oldest {
		return m, true
	}
	if m.Newest < oldest {
		s.drop(tooOld, m.Samples)
		return m, false
	}
	c, err := wire.Parse(m)
	if err != nil {
		s.drop(damaged, m.Samples)
		return m, false
	}
	rest, err := c.Subset(func(_ int, at int64) bool { return at >= oldest })
	if err != nil {
		s.drop(damaged, m.Samples)
		return m, false
	}
	s.drop(tooOld, m.Samples-rest.Samples)
	return rest, rest.Samples > 0
}

func messageOf(r queue.Request) wire.Message {
	m := wire.Message{Samples: r.Samples, Oldest: r.Oldest, Newest: r.Newest, MayHaveArrived: r.MayHaveArrived}
	for _, rec := range r.Records {
		m.Fragments = append(m.Fragments, rec.Data)
	}
	return m
}
