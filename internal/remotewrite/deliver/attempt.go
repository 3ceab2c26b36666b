package deliver

import (
	"context"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// requester sends messages, one at a time.
type requester struct {
	receiver *Receiver
	report   func(Fate)
	random   *rand.Rand     // varies its pauses
	behind   []wire.Message // that are made already, and sent after the present one
}

// verdict is the result for a message.
type verdict struct {
	result
	arrived      bool // it was accepted
	wire.Message      // without the samples that were too old (sample_age_limit)
	protocol     wire.Protocol
	lost         int // samples that the protocol cannot carry
	settings     *Settings
	bytes        int // size of the body that was sent last
	answer       Answer

	// unsent: the message was not sent, because its body is larger than one that was refused as too large.
	unsent bool
	// pieces is the number of parts in which to send an unsent message. Example: body 2.5 MB, limit 1 MB: 3.
	pieces int
}

type result int

const (
	settled     result = iota // each sample was reported with its fate
	interrupted               // ctx ended; the message is still queued
	tooLarge
	rejected // by a 1.0 receiver, which stores nothing of a request with a bad series
)

// attempts is what a requester remembers from one POST of a message to the next.
type attempts struct {
	settings   *Settings // in force; new settings reset the fields below, except made
	made       int
	declined   [3]bool       // the receiver does not take the protocol; index: wire.V1, wire.V2; 0 is unused
	instead    wire.Protocol // 1.0 after an ambiguous answer to 2.0; 0: negotiation chooses
	fast, slow backoff
}

// use starts over if the settings were replaced. random varies the pauses.
func (t *attempts) use(cfg *Settings, random *rand.Rand) {
	if cfg != t.settings {
		*t = attempts{settings: cfg, made: t.made,
			fast: backoff{min: time.Duration(cfg.QueueConfig.MinBackoff),
				max: time.Duration(cfg.QueueConfig.MaxBackoff), random: random},
			slow: backoff{min: minSlowBackoff, max: maxSlowBackoff, random: random}}
	}
}

// wait returns the pause before the next POST.
func (t *attempts) wait(out Outcome) time.Duration {
	if out == SlowRetry {
		return t.slow.wait()
	}
	return t.fast.wait()
}

// send sends a message until the receiver has taken or refused it. The samples of a message that is too large or
// rejected are not settled: the caller sends its parts. A message whose body is larger than maxBody is not sent;
// maxBody is 0 if no body is too large.
func (s *requester) send(ctx context.Context, m wire.Message, maxBody int) verdict {
	var t attempts
	for ctx.Err() == nil {
		cfg, replaced := s.receiver.current()
		back := s.receiver.recovery() // before the POST: the receiver may be back before it fails
		t.use(cfg, s.random)
		if quiet := s.receiver.quiet(); quiet > 0 {
			s.pause(ctx, quiet, replaced, nil)
			continue
		}
		var left bool
		if m, left = s.dropOld(m, time.Duration(cfg.QueueConfig.SampleAgeLimit)); !left {
			return verdict{}
		}
		p, unproven, ok := s.receiver.choose(cfg, t.instead)
		if !ok {
			continue // replaced meanwhile
		}
		body, lost, err := s.receiver.pool.Body(m, p, cfg.SendNativeHistograms)
		if err != nil {
			s.drop(Damaged, m.Samples)
			return verdict{}
		}
		if lost == m.Samples {
			s.drop(Unsupported, lost)
			return verdict{}
		}
		probe := unproven && p == wire.V2
		if pieces := piecesOf(body, maxBody); pieces > 1 && m.Samples > 1 && !probe {
			s.receiver.pool.Release(body)
			return verdict{result: tooLarge, Message: m, unsent: true, pieces: pieces}
		}
		v := verdict{Message: m, protocol: p, lost: lost, settings: cfg, bytes: len(body)}
		f := s.post(ctx, &v, body, t.made, unproven)
		t.made++
		if !f.Answered {
			s.report(f)
			break
		}
		switch s.conclude(&v, &t, f) {
		case done:
			return v
		case later:
			s.pause(ctx, t.wait(f.Outcome), replaced, back)
		}
	}
	return verdict{result: interrupted}
}

// pause waits as the function pause does. The messages behind keep no bodies meanwhile, since it may be an outage.
func (s *requester) pause(ctx context.Context, d time.Duration, replaced, back <-chan struct{}) {
	s.receiver.pool.ReleaseBodies(s.behind)
	pause(ctx, d, replaced, back)
}

// maxPlainBody is the largest plain text of a body that receivers take: 32 MiB in Prometheus' and in VictoriaMetrics'
// defaults. Messages have up to 8 MiB as 2.0, but may have several times as much as 1.0, where labels are not shared.
const maxPlainBody = 32 << 20

// piecesOf returns in how many parts a message must be sent that has this body. maxBody is 0 if it is not known.
func piecesOf(body []byte, maxBody int) int {
	pieces := (wire.PlainSize(body) + maxPlainBody - 1) / maxPlainBody
	if maxBody > 0 {
		pieces = max(pieces, (len(body)-1)/maxBody+1)
	}
	return pieces
}

// post makes one POST. The fate is not Answered if ctx ended.
func (s *requester) post(ctx context.Context, v *verdict, body []byte, attempt int, unproven bool) Fate {
	cfg, began := v.settings, time.Now()
	a := cfg.Client.Post(ctx, body, v.protocol, attempt)
	a.Took = time.Since(began)
	if !a.BodyInUse {
		s.receiver.pool.Release(body)
	}
	v.answer = a
	f := Fate{Posted: true, Took: a.Took}
	if !a.Unsent {
		f.Bytes = v.bytes
	}
	if a.Err != nil && ctx.Err() != nil {
		return f
	}
	f.Answered, f.Answer = true, a.kind()
	f.Outcome = classify(a, requestInfo{
		sent: v.protocol, retryOnRateLimit: cfg.QueueConfig.RetryOnRateLimit, unproven: unproven,
	})
	if f.Outcome != Accepted && v.protocol == wire.V2 && cfg.FailedRequestLogging {
		s.receiver.logFailed(v.Message, a)
	}
	return f
}

// nextStep is how a message goes on after a POST.
type nextStep int

const (
	done  nextStep = iota // the verdict is final
	again                 // another POST at once
	later                 // another POST after a pause
)

// conclude settles the samples of a message by the outcome of its POST, or decides how the message goes on.
func (s *requester) conclude(v *verdict, t *attempts, f Fate) nextStep {
	p := v.protocol
	switch f.Outcome {
	case Accepted:
		if t.instead == wire.V1 {
			s.receiver.leave(wire.V2, v.settings)
		}
		s.accept(v, f)
		return done
	case OtherProtocol:
		t.declined[p] = true
		switch {
		case t.declined[p.Other()]: // the receiver takes neither
		case v.answer.ambiguous():
			t.instead = wire.V1
			s.report(f)
			return again
		case s.receiver.leave(p, v.settings):
			s.report(f)
			return again
		}
		s.refuse(v, f)
		return done
	case Refused:
		s.refuse(v, f)
		return done
	case Split:
		v.result = tooLarge
		s.report(f)
		return done
	case Isolate:
		v.result = rejected
		s.report(f)
		return done
	}
	s.report(f)
	if t.instead != 0 { // 1.0 did not get a final answer: negotiation chooses the protocol again
		t.declined, t.instead = [3]bool{}, 0
	}
	s.receiver.failed(v.settings, f.Outcome, v.answer)
	return later
}

// accept settles a message that arrived. A 2.0 receiver reports how many samples it has written.
func (s *requester) accept(v *verdict, f Fate) {
	v.arrived = true
	left := v.Samples - v.lost
	f.Accepted, f.Newest, f.Unsupported = left, v.Newest, v.lost
	if v.protocol == wire.V2 {
		n, _ := Written(v.answer.Header)
		f.Accepted = min(n, left)
	}
	s.refuseRest(v, left-f.Accepted, &f)
	s.report(f)
	s.receiver.succeeded(v.settings, v.protocol, f.Accepted)
}

// refuse settles a message that the receiver will never take, and reports its samples as refused. If a 2.0 receiver
// wrote some of them, these count as accepted.
func (s *requester) refuse(v *verdict, f Fate) {
	left := v.Samples - v.lost
	f.Unsupported = v.lost
	if n, confirmed := Written(v.answer.Header); v.protocol == wire.V2 && confirmed && f.Outcome == Refused {
		f.Accepted, f.Newest = min(n, left), v.Newest
		s.receiver.succeeded(v.settings, v.protocol, f.Accepted)
	}
	s.refuseRest(v, left-f.Accepted, &f)
	s.report(f)
}

// refuseRest adds samples that the receiver has not written to the fate of their POST. They count as delivered if an
// earlier process may have sent the message and a 2.0 receiver answers 400 in words that mean late (Complaint.late),
// otherwise as refused.
func (s *requester) refuseRest(v *verdict, samples int, f *Fate) {
	if samples == 0 {
		return
	}
	c := complaintOf(v.answer)
	if v.MayHaveArrived && v.protocol == wire.V2 && v.answer.Status == http.StatusBadRequest && c.late() {
		f.Delivered = samples
		s.receiver.alreadyDelivered(samples, v.answer)
		return
	}
	f.Refused, f.Complaint = samples, c
	s.receiver.refusedSamples(v.answer, samples, f.Outcome, v.protocol)
}

// drop settles samples that the program drops itself.
func (s *requester) drop(r Reason, n int) {
	if n > 0 {
		s.report(Fate{Dropped: n, Reason: r})
	}
}

// dropOld removes samples that are older than limit. It returns false if none is left.
func (s *requester) dropOld(m wire.Message, limit time.Duration) (wire.Message, bool) {
	oldest := time.Now().Add(-limit).UnixMilli()
	if limit == 0 || m.Oldest >= oldest {
		return m, true
	}
	if m.Newest < oldest {
		s.drop(TooOld, m.Samples)
		return m, false
	}
	c, err := wire.Parse(m)
	if err != nil {
		s.drop(Damaged, m.Samples)
		return m, false
	}
	rest, err := c.Subset(func(_ int, at int64) bool { return at >= oldest })
	if err != nil {
		s.drop(Damaged, m.Samples)
		return m, false
	}
	s.drop(TooOld, m.Samples-rest.Samples)
	return rest, rest.Samples > 0
}
