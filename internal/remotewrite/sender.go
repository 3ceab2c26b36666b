package remotewrite

import (
	"context"
	"time"
)

// sender delivers the requests of one lane, one at a time and in order.
type sender struct {
	endpoint *endpoint
	lane     *lane
	encoders *encoders // the endpoint's
}

// run delivers until ctx ends; after stopping it goes on until its lane is empty.
func (s *sender) run(ctx context.Context, stopping <-chan struct{}) {
	e := s.endpoint
	for ctx.Err() == nil {
		closing := isClosed(stopping)
		wait := s.lane.sealDue(e, closing)
		if r, ok := e.queue.Next(s.lane.index); ok {
			if !s.deliver(ctx, messageOf(r)) {
				return // still queued
			}
			e.queue.Ack(s.lane.index)
			for _, rec := range r.Records {
				e.blocks.put(rec.Data)
			}
			e.health.settle(-r.Samples)
			continue
		}
		if closing {
			return
		}
		s.idle(ctx, stopping, wait)
	}
}

// idle waits for something to do. wait 0: no request is open.
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

// deliver sends a message until its fate is known, and counts it. False: ctx ended before.
func (s *sender) deliver(ctx context.Context, m message) bool {
	e := s.endpoint
	var fast, slow backoff
	var turned [3]bool // by protocol: the endpoint asked for the other one instead
	for attempt := 0; ctx.Err() == nil; attempt++ {
		cfg, replaced := e.current()
		var left bool
		if m, left = s.dropOld(m, time.Duration(cfg.QueueConfig.SampleAgeLimit)); !left {
			return true
		}
		p, unproven := e.health.choose(cfg)
		body, lost, err := s.encode(m, p, cfg.SendNativeHistograms)
		if err != nil {
			s.drop(damaged, m.samples)
			return true
		}
		if lost == m.samples {
			s.drop(unsupported, lost)
			return true
		}
		a := s.post(ctx, cfg, body, p, attempt)
		if a.err != nil && ctx.Err() != nil {
			return false
		}
		out := classify(a, circumstances{sent: p, retryOnRateLimit: cfg.QueueConfig.RetryOnRateLimit, unproven: unproven})
		e.metrics.requests[out].Inc()
		switch out {
		case accepted:
			s.accept(cfg, m, p, lost, a)
			return true
		case otherProtocol:
			if !turned[p.other()] && e.turn(cfg, p) {
				turned[p] = true
				continue // the same samples at once, the other way
			}
			s.refuse(m, p, lost, a, out)
			return true
		case split:
			return s.split(ctx, m, p, lost, a)
		case refused:
			s.refuse(m, p, lost, a, out)
			return true
		}
		e.failed(out, a)
		e.metrics.retries.Inc()
		fast.min, fast.max = time.Duration(cfg.QueueConfig.MinBackoff), time.Duration(cfg.QueueConfig.MaxBackoff)
		slow.min, slow.max = minSlowBackoff, maxSlowBackoff
		wait := fast.wait
		if out == slowRetry {
			wait = slow.wait
		}
		if !pause(ctx, max(wait(), retryAfter(a.header)), replaced) {
			return false
		}
		if isClosed(replaced) {
			fast, slow = backoff{}, backoff{}
		}
	}
	return false
}

// encode makes the body of a POST, which post gives back. lost counts the samples that the protocol cannot carry.
func (s *sender) encode(m message, p protocol, histograms bool) (body []byte, lost int, err error) {
	e := s.encoders.get()
	block, lost, err := e.encode(m, p, histograms)
	body = append(s.encoders.body(len(block)), block...)
	s.encoders.put(e, len(block))
	return body, lost, err
}

// post sends a body and gives it back.
func (s *sender) post(ctx context.Context, cfg *settings, body []byte, p protocol, attempt int) answer {
	began := time.Now()
	a := cfg.client.post(ctx, body, p, attempt)
	if !a.bodyInUse {
		s.encoders.putBody(body)
	}
	s.endpoint.metrics.bytes.Add(float64(len(body)))
	s.endpoint.metrics.duration.Observe(time.Since(began).Seconds())
	return a
}

// accept counts what arrived. A 2.0 receiver tells how much it has written.
func (s *sender) accept(cfg *settings, m message, p protocol, lost int, a answer) {
	e := s.endpoint
	arrived := m.samples - lost
	if p == v2 {
		if n, _ := written(a.header); n < arrived {
			e.refusedBy(a, arrived-n, accepted, p)
			e.metrics.drop(refusedSample, arrived-n)
			arrived = n
		}
	}
	e.metrics.accepted.Add(float64(arrived))
	e.metrics.drop(unsupported, lost)
	e.health.settle(m.samples)
	e.succeeded(cfg, p, m.newest)
}

// refuse counts what the endpoint will never take, and what of it a 2.0 receiver has written nevertheless.
func (s *sender) refuse(m message, p protocol, lost int, a answer, out outcome) {
	e := s.endpoint
	left := m.samples - lost
	if n, confirmed := written(a.header); p == v2 && confirmed && out == refused {
		n = min(n, left)
		e.metrics.accepted.Add(float64(n))
		left -= n
	}
	e.metrics.drop(refusedSample, left)
	e.metrics.drop(unsupported, lost)
	e.health.settle(m.samples)
	e.refusedBy(a, left, out, p)
}

// drop settles samples that nobody will be asked to take.
func (s *sender) drop(r reason, n int) {
	s.endpoint.metrics.drop(r, n)
	s.endpoint.health.settle(n)
}

// split sends a message that is too large in two halves.
func (s *sender) split(ctx context.Context, m message, p protocol, lost int, a answer) bool {
	c, err := parseMessage(m)
	if err != nil {
		s.drop(damaged, m.samples)
		return true
	}
	if len(c.series) < 2 {
		s.refuse(m, p, lost, a, split)
		return true
	}
	middle := len(c.series) / 2
	first, err1 := c.subset(func(i int, _ int64) bool { return i < middle })
	second, err2 := c.subset(func(i int, _ int64) bool { return i >= middle })
	if err1 != nil || err2 != nil {
		s.drop(damaged, m.samples)
		return true
	}
	return s.deliver(ctx, first) && s.deliver(ctx, second)
}

// dropOld leaves out what is older than limit; false: nothing is left.
func (s *sender) dropOld(m message, limit time.Duration) (message, bool) {
	oldest := time.Now().Add(-limit).UnixMilli()
	if limit == 0 || m.oldest >= oldest {
		return m, true
	}
	if m.newest < oldest {
		s.drop(tooOld, m.samples)
		return m, false
	}
	c, err := parseMessage(m)
	if err != nil {
		s.drop(damaged, m.samples)
		return m, false
	}
	rest, err := c.subset(func(_ int, at int64) bool { return at >= oldest })
	if err != nil {
		s.drop(damaged, m.samples)
		return m, false
	}
	s.drop(tooOld, m.samples-rest.samples)
	return rest, rest.samples > 0
}
