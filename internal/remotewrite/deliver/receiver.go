package deliver

import (
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// Receiver is what all senders of an endpoint share about its receiver: the settings in force, and what answers
// taught. An answer to a request under older settings changes nothing here, because the URL or the protocol may be
// another now.
type Receiver struct {
	log      *zap.Logger
	waiting  func() (samples int, bytes int64) // in the queue
	pool     wire.Pool
	logLimit LogLimit

	mu          sync.Mutex // guards the following; only the lock of logLimit is taken while it is held
	settings    *Settings
	replaced    chan struct{} // closed when settings are replaced
	back        chan struct{} // closed when the receiver is back: see up
	negotiation negotiation
	bodyLimit   bodyLimit
	outage      outage
	rejections  rejections
}

// Kinds of log lines about a receiver.
const (
	lineDown      = "down"
	lineRejected  = "rejected"  // series of a request
	lineRefused   = "refused"   // samples of a request
	lineDelivered = "delivered" // by an earlier process
	lineMetadata  = "metadata"  // refused
)

// NewReceiver returns a receiver about which nothing is known yet. waiting returns what is in the queue, for the log.
func NewReceiver(s *Settings, waiting func() (samples int, bytes int64), log *zap.Logger) *Receiver {
	r := &Receiver{log: log, waiting: waiting, settings: s, replaced: make(chan struct{}), back: make(chan struct{})}
	r.negotiation = newNegotiation(s)
	return r
}

// Replace puts settings into force. It forgets everything that was learned under the old ones, and ends pauses.
func (r *Receiver) Replace(s *Settings) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settings = s
	r.negotiation = newNegotiation(s)
	r.bodyLimit, r.outage.quietUntil = bodyLimit{}, time.Time{}
	close(r.replaced)
	r.replaced = make(chan struct{})
}

// current returns the settings in force and a channel that is closed when they are replaced.
func (r *Receiver) current() (*Settings, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.settings, r.replaced
}

// recovery returns a channel that is closed when the receiver is back after an outage.
func (r *Receiver) recovery() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.back
}

// Status is the state of a receiver for people.
type Status struct {
	Protocol      wire.Protocol
	LastError     string
	LastErrorTime time.Time
	LastSuccess   time.Time
	Unreachable   bool        // the last request failed in a way that may pass
	Rejected      []Rejection // newest first
}

// Status returns the state of the receiver.
func (r *Receiver) Status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Status{
		Protocol:  r.negotiation.protocol,
		LastError: r.outage.lastError, LastErrorTime: r.outage.lastErrorTime, LastSuccess: r.outage.lastSuccess,
		Unreachable: !r.outage.since.IsZero(),
		Rejected:    r.rejections.newestFirst(),
	}
}

// rejectionTime is the time since the last rejection after which a 1.0 receiver is expected to take whole requests.
const rejectionTime = 10 * time.Minute

// RejectsAs10 reports whether the receiver speaks remote write 1.0 and rejected samples lately.
func (r *Receiver) RejectsAs10() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.negotiation.protocol == wire.V1 && time.Since(r.rejections.last()) < rejectionTime
}

// Protocol returns the protocol in use.
func (r *Receiver) Protocol() wire.Protocol {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.negotiation.protocol
}

// Unreachable reports whether the last request failed in a way that may pass.
func (r *Receiver) Unreachable() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.outage.since.IsZero()
}

// choose returns the protocol of the next request: instead, unless it is 0. unproven: the receiver has not confirmed
// 2.0. Not ok: s is no longer in force.
func (r *Receiver) choose(s *Settings, instead wire.Protocol) (p wire.Protocol, unproven, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.settings != s {
		return 0, false, false
	}
	if instead != 0 {
		return instead, false, true
	}
	p, unproven = r.negotiation.choose(s)
	return p, unproven, true
}

// leave changes from protocol p, which the receiver does not take, to the other one. It returns false if the
// configuration names the protocol.
func (r *Receiver) leave(p wire.Protocol, s *Settings) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.settings != s {
		return true // to the protocol of the new settings
	}
	if !s.Negotiate {
		return false
	}
	r.logProtocol(r.negotiation.leave(p))
	return true
}

func (r *Receiver) logProtocol(changed bool) {
	if changed {
		r.log.Info("remote write protocol changed", zap.Stringer("to", r.negotiation.protocol))
	}
}

// maxBody returns the size above which a request is divided before it is sent; 0: no limit is known.
func (r *Receiver) maxBody() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bodyLimit.now()
}

// learnMaxBody notes that a body of this size arrived, after one of tooLarge bytes was refused as too large.
func (r *Receiver) learnMaxBody(s *Settings, bytes, tooLarge int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.settings != s {
		return
	}
	if r.bodyLimit.bytes == 0 {
		r.log.Info("remote write endpoint refuses requests as too large; later ones are divided before they are sent",
			zap.Int("bytes", bytes), zap.String("fix", "raise the receiver's limit, or lower max_samples_per_send"))
	}
	r.bodyLimit.learn(bytes, tooLarge)
}

// quiet returns how long all lanes have to wait before the next request. 0 or less: not at all.
func (r *Receiver) quiet() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.outage.quiet()
}

// askedForQuiet keeps the Retry-After of an answer.
func (r *Receiver) askedForQuiet(s *Settings, a Answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.settings == s {
		r.outage.askedForQuiet(a)
	}
}

// failed notes a request that will be sent again, and logs that once a minute.
func (r *Receiver) failed(s *Settings, out Outcome, a Answer) {
	r.askedForQuiet(s, a)
	samples, bytes := r.waiting() // before mu is locked: the queue has a lock too
	r.mu.Lock()
	defer r.mu.Unlock()
	o := &r.outage
	o.fail(a)
	if r.logLimit.Allow(lineDown) {
		o.logged = true
		r.log.Warn(whatFailed(out, a)+"; retrying until it accepts the samples", zap.Int("status", a.Status),
			zap.String("error", o.lastError), zap.Duration("for", time.Since(o.since).Round(time.Second)),
			zap.Int("tries", o.tries), zap.Int("samples_waiting", samples), zap.Int64("bytes_waiting", bytes))
	}
}

// succeeded notes a request of which the receiver has written a number of samples. An answer without written samples
// proves only that the receiver speaks p.
func (r *Receiver) succeeded(s *Settings, p wire.Protocol, samples int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p == wire.V2 && r.settings == s {
		r.logProtocol(r.negotiation.confirm(s))
	}
	r.up()
	if samples > 0 {
		r.outage.lastSuccess = time.Now()
	}
}

// up ends an outage, because the receiver has answered. The caller holds mu.
//
// After an outage of max_backoff or longer, the pauses of all lanes end. For example, a lane that has paused for 1 s of
// 5 goes on when another lane gets through. A receiver that fails for a moment now and then ends no pause.
func (r *Receiver) up() {
	o := &r.outage
	if !o.since.IsZero() && time.Since(o.since) >= time.Duration(r.settings.QueueConfig.MaxBackoff) {
		close(r.back)
		r.back = make(chan struct{})
	}
	if o.logged { // a receiver that fails for a moment now and then does not fill the log
		r.log.Info("remote write endpoint back", zap.Duration("after", time.Since(o.since).Round(time.Millisecond)))
	}
	o.since, o.logged = time.Time{}, false
}

// rejectedSeries notes series that the receiver refused, and logs one of them once a minute.
func (r *Receiver) rejectedSeries(a Answer, x Rejection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.outage.note(a)
	r.up()
	r.rejections.add(x)
	if r.logLimit.Allow(lineRejected) {
		r.log.Error("remote write endpoint rejects series", zap.Int("samples", r.rejections.samples),
			zap.String("series", x.Series.String()), zap.Int("others", x.Others), zap.String("job",
				x.Series.Get("job")),
			zap.String("instance", x.Series.Get("instance")), zap.String("reason", x.Reason),
			zap.Int("status", a.Status), zap.String("error", x.Error))
		r.rejections.samples = 0
	}
}

// refusedSamples notes samples of a request that the receiver refused for good, and logs that once a minute.
func (r *Receiver) refusedSamples(a Answer, samples int, out Outcome, p wire.Protocol) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.outage.note(a)
	r.up()
	r.rejections.add(Rejection{Samples: samples, Reason: string(complaintOf(a)), Error: a.Message})
	if !r.logLimit.Allow(lineRefused) {
		return
	}
	fields := []zap.Field{zap.Int("status", a.Status), zap.Int("samples", r.rejections.samples),
		zap.Stringer("protocol", p),
		zap.String("error", a.Message)}
	if out == OtherProtocol && p == wire.V2 {
		fields = append(fields, zap.String("fix", "start the receiving Prometheus with "+
			"--web.remote-write-receiver.accepted-protobuf-messages=io.prometheus.write.v2.Request, "+
			"or leave protobuf_message out, then 1.0 is used"))
	}
	r.log.Error("remote write endpoint refuses samples", fields...)
	r.rejections.samples = 0
}

// alreadyDelivered notes samples that the receiver refuses because an earlier process has delivered them.
func (r *Receiver) alreadyDelivered(samples int, a Answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.up()
	if r.logLimit.Allow(lineDelivered) {
		r.log.Info("remote write endpoint already has samples that were queued before the restart",
			zap.Int("samples", samples), zap.String("answer", a.Message))
	}
}

// maxLoggedRequest bounds what failed_request_logging writes of one request.
const maxLoggedRequest = 64 << 10

// logFailed logs the series of a 2.0 request that failed, at level debug.
func (r *Receiver) logFailed(m wire.Message, a Answer) {
	if !r.log.Core().Enabled(zap.DebugLevel) {
		return
	}
	c, err := wire.Parse(m)
	if err != nil {
		return // counted as damaged elsewhere
	}
	r.log.Debug("remote write request failed", zap.Int("status", a.Status), zap.String("error", a.Message),
		zap.NamedError("cause", a.Err),
		zap.Int("samples", m.Samples), zap.String("request", string(c.Describe(maxLoggedRequest))))
}
