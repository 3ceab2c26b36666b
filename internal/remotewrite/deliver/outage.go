package deliver

import (
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
)

// outage is whether the receiver can be reached, and what it said last. Guarded by Receiver.mu.
type outage struct {
	since  time.Time // zero: the receiver is up
	tries  int       // failed requests since then
	logged bool

	lastError     string
	lastErrorTime time.Time
	lastSuccess   time.Time
	quietUntil    time.Time // the receiver asked for no requests until then (Retry-After)
}

// note keeps what people will ask for.
func (o *outage) note(a Answer) {
	o.lastErrorTime = time.Now()
	if a.Err != nil {
		o.lastError = a.Err.Error()
		return
	}
	o.lastError = fmt.Sprintf("status %d: %s", a.Status, a.Message)
}

// quiet returns how long no lane must send a request yet.
func (r *Receiver) quiet() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.outage.quietUntil.IsZero() {
		return 0
	}
	return time.Until(r.outage.quietUntil)
}

// askedForQuiet keeps the Retry-After of an answer. The longest counts.
func (r *Receiver) askedForQuiet(s *Settings, a Answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if wait := retryAfter(a.Header); wait > 0 && r.settings == s {
		if until := time.Now().Add(wait); until.After(r.outage.quietUntil) {
			r.outage.quietUntil = until
		}
	}
}

// failed notes a request that will be sent again, and logs that once a minute.
func (r *Receiver) failed(s *Settings, out Outcome, a Answer) {
	r.askedForQuiet(s, a)
	samples, bytes := r.waiting() // before mu: a queue may report what it lost while it is locked
	r.mu.Lock()
	defer r.mu.Unlock()
	o := &r.outage
	o.note(a)
	if o.since.IsZero() {
		o.since, o.tries = time.Now(), 0
	}
	o.tries++
	if r.lines.Allow("down") {
		o.logged = true
		r.log.Warn(whatFailed(out, a)+", trying again until it takes the samples", zap.Int("status", a.Status),
			zap.String("error", o.lastError), zap.Duration("for", time.Since(o.since).Round(time.Second)),
			zap.Int("tries", o.tries), zap.Int("samples_waiting", samples), zap.Int64("bytes_waiting", bytes))
	}
}

func whatFailed(out Outcome, a Answer) string {
	switch {
	case out == SlowRetry && a.Status < 400:
		return "remote write endpoint redirects"
	case out == SlowRetry:
		return "remote write endpoint refuses the credentials"
	case a.Err == nil:
		return "remote write endpoint unavailable"
	}
	return "remote write endpoint unreachable"
}

// succeeded notes a request and how many of its samples the receiver has written. If it wrote none, its answer only
// proves that it speaks p.
func (r *Receiver) succeeded(s *Settings, p wire.Protocol, samples int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p == wire.V2 && r.settings == s {
		r.confirm(s)
	}
	r.up()
	if samples > 0 {
		r.outage.lastSuccess = time.Now()
	}
}

// up ends an outage: the receiver has answered. The caller holds mu.
func (r *Receiver) up() {
	o := &r.outage
	if o.logged { // a receiver that fails now and then does not fill the log
		r.log.Info("remote write endpoint back", zap.Duration("after", time.Since(o.since).Round(time.Millisecond)))
	}
	o.since, o.logged = time.Time{}, false
}
