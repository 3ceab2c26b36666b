package deliver

import (
	"fmt"
	"time"
)

// outage is whether the receiver can be reached, and what it said last.
type outage struct {
	since  time.Time // zero: the receiver is up
	tries  int       // failed requests since then
	logged bool

	lastError     string
	lastErrorTime time.Time
	lastSuccess   time.Time
	quietUntil    time.Time // the receiver asked for no requests until then (Retry-After)
}

// note keeps an answer that was not a success, for people.
func (o *outage) note(a Answer) {
	o.lastErrorTime = time.Now()
	if a.Err != nil {
		o.lastError = a.Err.Error()
		return
	}
	o.lastError = fmt.Sprintf("status %d: %s", a.Status, a.Message)
}

// fail notes a request that will be sent again.
func (o *outage) fail(a Answer) {
	o.note(a)
	if o.since.IsZero() {
		o.since, o.tries = time.Now(), 0
	}
	o.tries++
}

// quiet returns how long to wait before the next request. 0 or less: not at all.
func (o *outage) quiet() time.Duration {
	if o.quietUntil.IsZero() {
		return 0
	}
	return time.Until(o.quietUntil)
}

// askedForQuiet keeps the Retry-After of an answer. If several answers ask, the latest end counts.
func (o *outage) askedForQuiet(a Answer) {
	if wait := retryAfter(a.Header); wait > 0 {
		if until := time.Now().Add(wait); until.After(o.quietUntil) {
			o.quietUntil = until
		}
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
