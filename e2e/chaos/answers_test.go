package chaos

import (
	"fmt"
	"net/http"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/oracle"
	"github.com/envoy-scraper/envoy-scraper/e2e/parts"
)

// A misbehaviour is a way in which the receiver fails for a while.
type misbehaviour struct {
	mode   oracle.Mode
	status int           // status of its answers; 0: no answers
	within time.Duration // limit for the rest to arrive once the receiver works again
	more   string        // more YAML of the endpoint
	loses  bool          // the receiver refuses permanently: samples sent meanwhile are lost and counted
}

var (
	// Retry-After is longer than the sender's own backoff, so only Retry-After can explain the pause.
	rateLimited = misbehaviour{mode: oracle.Status(http.StatusTooManyRequests, "slow down").RetryAfter(3), status: 429,
		within: 20 * time.Second}
	unavailable = misbehaviour{mode: oracle.Status(http.StatusServiceUnavailable, "starting").RetryAfterDate(3),
		status: 503, within: 20 * time.Second}
	blackHole = misbehaviour{mode: oracle.BlackHole(), within: 20 * time.Second, more: "  remote_timeout: 2s\n"}
	slow      = misbehaviour{mode: oracle.Up().Slow(5 * time.Second), status: 204, within: 20 * time.Second}
	lockedOut = misbehaviour{mode: oracle.Status(http.StatusUnauthorized, "who are you?"), status: 401,
		within: 90 * time.Second}
	refused = misbehaviour{mode: oracle.Status(http.StatusBadRequest, "not like this"), status: 400,
		within: 20 * time.Second, loses: true}
)

// answers makes the receiver fail while the agent runs.
func answers(m misbehaviour) func(*world) {
	return func(w *world) {
		lasts := pick(w.suite, 8*time.Second, 30*time.Second)
		w.more = m.more
		w.start()
		w.warm()
		w.set(m.mode)
		before, begin := w.receiver.Answers()[m.status], time.Now()
		w.pause(lasts)
		if m.status != 0 {
			w.until(fmt.Sprintf("a request was answered with %d", m.status),
				func() bool { return w.receiver.Answers()[m.status] > before })
		} else {
			w.until("a request hangs", func() bool { return w.receiver.Hanging() > 0 })
		}
		tries := w.receiver.Answers()[m.status] - before
		lasted := time.Since(begin)
		w.set(oracle.Up())
		w.pause(3 * time.Second)
		w.drain(m.within)
		may := allowance{repeats: inFlight}
		if m.loses {
			may.ended = targets * int((lasted+warmUp+5*time.Second)/interval)
		}
		v := w.verdict(may)
		if m.loses && v.Ended() == 0 {
			w.Error("nothing was lost, but the receiver refused requests")
		}
		// A failed scrape has at most as many samples as a good one, and its page may have been served.
		want, margin := v.Ended()*(series+perScrape), int(w.failed)*(series+perScrape)
		if got := int(w.dropped()); m.loses && (got < want-margin || got > want+margin) {
			w.Errorf("%v samples counted as dropped, want %d, plus or minus %d for %v failed scrapes", w.counted, want,
				margin, w.failed)
		}
		if early := w.receiver.Early(); early > 0 {
			w.Errorf("%d requests were retried earlier than Retry-After allows", early)
		}
		w.result(v, fmt.Sprintf("for %v; %d requests meanwhile", lasts, tries))
	}
}

// twoEndpoints makes one of two endpoints fail permanently. The other endpoint must not be affected.
func twoEndpoints(w *world) {
	failing := parts.Recorder(w.T, w.addresses, 3)
	if err := failing.Set(oracle.Status(http.StatusInternalServerError, "broken")); err != nil {
		w.Fatal(err)
	}
	w.more = fmt.Sprintf("- name: failing\n  url: %s\n", failing.URL)
	w.start()
	w.warm()
	w.pause(pick(w.suite, 8*time.Second, 30*time.Second))
	w.until("the failing endpoint is tried", func() bool {
		return failing.Answers()[http.StatusInternalServerError] > 0
	})
	w.drain(20 * time.Second)
	v := w.verdict(allowance{})
	w.result(v, "the endpoint that works")
}
