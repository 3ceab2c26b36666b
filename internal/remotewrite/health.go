package remotewrite

import (
	"cmp"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

const (
	probeInterval = time.Hour   // between attempts at 2.0 with an endpoint that turned it down
	logInterval   = time.Minute // between two lines of one kind

	maxBodyDoubles = 10 * time.Minute
)

// health is how an endpoint does, over all its lanes.
type health struct {
	mu sync.Mutex // guards the following

	protocol  wire.Protocol
	confirmed bool      // the endpoint has shown that it knows 2.0
	probeAt   time.Time // when to try 2.0 again

	lastError     string
	lastErrorTime time.Time
	lastSuccess   time.Time
	downSince     time.Time // zero: up
	tries         int       // that failed since then
	downSaid      bool      // in the log
	quietUntil    time.Time // when the endpoint wants to hear of us again (Retry-After)

	maxBodyBytes int // of a request that fits, since a larger one was refused as too large; 0: not known
	maxBodyAt    time.Time

	highest int64 // newest timestamp accepted
	settled int   // samples of requests in flight whose fate is known already
	logged  map[string]time.Time

	rejections rejections
	filling    filling
}

// reset takes the protocol from the settings and forgets what was learned under others. The caller holds mu.
func (h *health) reset(s *settings) {
	h.protocol, h.confirmed, h.probeAt, h.quietUntil = wire.V1, false, time.Time{}, time.Time{}
	h.maxBodyBytes = 0
	if s.Negotiate || s.ProtobufMessage == remoteapi.WriteV2MessageType {
		h.protocol = wire.V2
	}
}

// quiet is how long the endpoint, whichever lane asks, is still to be left alone.
func (h *health) quiet() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.quietUntil.IsZero() {
		return 0
	}
	return time.Until(h.quietUntil)
}

// askedForQuiet keeps the Retry-After of an answer. The longest counts. The caller holds h.mu.
func (e *endpoint) askedForQuiet(s *settings, a answer) {
	if wait := retryAfter(a.header); wait > 0 && e.in(s) {
		if until := time.Now().Add(wait); until.After(e.health.quietUntil) {
			e.health.quietUntil = until
		}
	}
}

// learnMaxBody notes that a body of this size arrived, after one of tooLarge bytes was refused as too large.
func (e *endpoint) learnMaxBody(s *settings, bytes, tooLarge int) {
	h := &e.health
	h.mu.Lock()
	defer h.mu.Unlock()
	if !e.in(s) {
		return
	}
	if h.maxBodyBytes == 0 {
		e.log.Info("remote write endpoint refuses requests as too large, later ones are divided before they are sent",
			zap.Int("bytes", bytes), zap.String("fix", "raise the receiver's limit, or lower max_samples_per_send"))
	}
	if h.maxBodyBytes < tooLarge { // then it may still be right
		bytes = max(bytes, h.maxBodyBytes)
	}
	h.maxBodyBytes, h.maxBodyAt = bytes, time.Now()
}

// maxBody returns the size above which a request is divided before it is sent; 0: none is known. It doubles every
// maxBodyDoubles, so a limit that was raised at the receiver is found out.
func (h *health) maxBody() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	doublings := time.Since(h.maxBodyAt) / maxBodyDoubles
	if h.maxBodyBytes == 0 || doublings > 30 || h.maxBodyBytes > wire.MaxPlainBytes>>doublings {
		return 0
	}
	return h.maxBodyBytes << doublings
}

// choose tells which protocol the next request takes, and whether 2.0 is only a try.
func (h *health) choose(s *settings) (p wire.Protocol, unproven bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	unproven = s.Negotiate && !h.confirmed
	if s.Negotiate && h.protocol == wire.V1 && !time.Now().Before(h.probeAt) {
		h.probeAt = time.Now().Add(probeInterval)
		return wire.V2, true
	}
	return h.protocol, unproven
}

// in tells that s are the settings still, and health is of them. What an answer to earlier ones teaches is not of these:
// their URL may be another, and their protocol written. The caller holds h.mu.
func (e *endpoint) in(s *settings) bool { return e.settings.Load() == s }

// turn goes over to the protocol that the endpoint may like better than p. False: the user decided.
func (e *endpoint) turn(s *settings, p wire.Protocol) bool {
	h := &e.health
	h.mu.Lock()
	defer h.mu.Unlock()
	if !e.in(s) {
		return true // to whatever the new ones say
	}
	if !s.Negotiate {
		return false
	}
	to := p.Other()
	if p == wire.V2 {
		h.confirmed, h.probeAt = false, time.Now().Add(probeInterval)
	}
	if h.protocol != to {
		h.protocol = to
		e.metrics.protocol.Set(float64(to))
		e.log.Info("remote write protocol changed", zap.Stringer("to", to))
	}
	return true
}

// succeeded notes a request and how many of its samples the endpoint has written. If it wrote none, its answer only
// proves that it speaks p.
func (e *endpoint) succeeded(s *settings, p wire.Protocol, samples int, newest int64) {
	h := &e.health
	h.mu.Lock()
	defer h.mu.Unlock()
	if p == wire.V2 && e.in(s) {
		h.confirmed = true
		if s.Negotiate && h.protocol != wire.V2 {
			h.protocol = wire.V2
			e.metrics.protocol.Set(float64(wire.V2))
			e.log.Info("remote write protocol changed", zap.Stringer("to", wire.V2))
		}
	}
	e.up(h)
	if samples == 0 {
		return
	}
	h.lastSuccess = time.Now()
	if newest > h.highest {
		h.highest = newest
		e.metrics.highest.Set(float64(newest) / 1000)
	}
}

// up ends an outage. The caller holds h.mu.
func (e *endpoint) up(h *health) {
	if h.downSaid { // who fails and works by turns does not fill the log
		e.log.Info("remote write endpoint back", zap.Duration("after", time.Since(h.downSince).Round(time.Millisecond)))
	}
	h.downSince, h.downSaid = time.Time{}, false
}

// failed notes a request that will be sent again, and says so once a minute.
func (e *endpoint) failed(s *settings, out outcome, a answer) {
	q := e.queue.Stats() // before mu: a queue may tell what it lost while it is locked
	h := &e.health
	h.mu.Lock()
	defer h.mu.Unlock()
	h.note(a)
	e.askedForQuiet(s, a)
	if h.downSince.IsZero() {
		h.downSince, h.tries = time.Now(), 0
	}
	h.tries++
	e.limited("down", func() {
		h.downSaid = true
		e.log.Warn(whatFailed(out, a)+", trying again until it takes the samples", zap.Int("status", a.status),
			zap.String("error", h.lastError), zap.Duration("for", time.Since(h.downSince).Round(time.Second)),
			zap.Int("tries", h.tries), zap.Int("samples_waiting", q.Samples), zap.Int64("bytes_waiting", q.Bytes))
	})
}

func whatFailed(out outcome, a answer) string {
	switch {
	case out == slowRetry && a.status < 400:
		return "remote write endpoint redirects"
	case out == slowRetry:
		return "remote write endpoint refuses the credentials"
	case a.err == nil:
		return "remote write endpoint unavailable"
	}
	return "remote write endpoint unreachable"
}

// note keeps what people will ask for. The caller holds mu.
func (h *health) note(a answer) {
	h.lastErrorTime = time.Now()
	if a.err != nil {
		h.lastError = a.err.Error()
		return
	}
	h.lastError = fmt.Sprintf("status %d: %s", a.status, a.message)
}

// refusedBy notes samples that the endpoint refused for good, in its own words, once a minute.
func (e *endpoint) refusedBy(a answer, samples int, out outcome, p wire.Protocol) {
	e.health.mu.Lock()
	defer e.health.mu.Unlock()
	e.health.note(a)
	e.up(&e.health) // it answers
	e.health.rejections.add(Rejection{Samples: samples, Reason: string(complaintOf(a)), Error: a.message})
	fields := []zap.Field{zap.Int("status", a.status), zap.Int("samples", e.health.rejections.samples), zap.Stringer("protocol", p),
		zap.String("error", a.message)}
	if out == otherProtocol && p == wire.V2 {
		fields = append(fields, zap.String("fix", "start the receiving Prometheus with "+
			"--web.remote-write-receiver.accepted-protobuf-messages=io.prometheus.write.v2.Request, "+
			"or leave protobuf_message out, then 1.0 is used"))
	}
	e.limited("refused", func() {
		e.log.Error("remote write endpoint refuses samples", fields...)
		e.health.rejections.samples = 0
	})
}

// queueRefused counts samples that the queue did not take.
func (e *endpoint) queueRefused(samples int, err error) {
	if errors.Is(err, queue.ErrClosed) {
		e.metrics.drop(abandoned, samples)
		return
	}
	e.metrics.drop(queueError, samples)
	e.health.mu.Lock()
	defer e.health.mu.Unlock()
	e.limited("queue", func() {
		e.log.Error("remote write queue refuses samples", zap.Int("samples", samples), zap.Error(err))
	})
}

// limited logs at most once a minute of a kind. The caller holds health.mu.
func (e *endpoint) limited(kind string, log func()) {
	h := &e.health
	if at, ok := h.logged[kind]; ok && time.Since(at) < logInterval {
		return
	}
	if h.logged == nil {
		h.logged = map[string]time.Time{}
	}
	h.logged[kind] = time.Now()
	log()
}

// settle counts samples of requests in flight whose fate is known; the request's Ack takes them back.
func (h *health) settle(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.settled += n
}

func (h *health) takeSettled() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.settled
	h.settled = 0
	return n
}

// status is the endpoint for people.
func (e *endpoint) status() EndpointStatus {
	s := e.settings.Load()
	q := e.queue.Stats()
	out := EndpointStatus{
		Name: e.label, URL: s.redactedURL(), Lanes: len(e.all()),
		PendingSamples: q.Samples, PendingBytes: q.Bytes,
	}
	if q.Requests > 0 {
		out.OldestPending = time.UnixMilli(q.Oldest)
	}
	h := &e.health
	h.mu.Lock()
	defer h.mu.Unlock()
	out.Protocol = h.protocol.String()
	out.LastError, out.LastErrorTime, out.LastSuccess = h.lastError, h.lastErrorTime, h.lastSuccess
	out.Unreachable = !h.downSince.IsZero()
	out.Rejected = h.rejections.newestFirst()
	out.PendingLimit = q.MaxBytes
	out.FullIn = h.filling.until(q.MaxBytes, time.Now(), cmp.Or(q.DiskBytes, q.Bytes)) // a limit of the disk, if there is one
	return out
}
