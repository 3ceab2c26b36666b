package chaos

import (
	"fmt"
	"net/http"
	"time"

	"github.com/envoy-scraper/envoy-scraper/e2e/chaos/oracle"
)

// A misbehaviour is a way of a receiver to be of no use for a while.
type misbehaviour struct {
	mode   oracle.Mode
	status int           // that its answers have; 0: none
	within time.Duration // until everything has arrived, after it
	more   string        // of the configuration
	loses  bool          // a refusal for good: what comes meanwhile is lost, and counted
}

var (
	// Beyond the least time a sender waits by itself, so that only Retry-After explains the silence.
	rateLimited = misbehaviour{mode: oracle.Status(http.StatusTooManyRequests, "slow down").RetryAfter(3), status: 429, within: 20 * time.Second}
	unavailable = misbehaviour{mode: oracle.Status(http.StatusServiceUnavailable, "starting").RetryAfterDate(3), status: 503, within: 20 * time.Second}
	blackHole   = misbehaviour{mode: oracle.BlackHole(), within: 20 * time.Second, more: "  remote_timeout: 2s\n"}
	slow        = misbehaviour{mode: oracle.Up().Slow(5 * time.Second), status: 204, within: 20 * time.Second}
	lockedOut   = misbehaviour{mode: oracle.Status(http.StatusUnauthorized, "who are you?"), status: 401, within: 90 * time.Second}
	refused     = misbehaviour{mode: oracle.Status(http.StatusBadRequest, "not like this"), status: 400, within: 20 * time.Second, loses: true}
)

// answers lets the receiver misbehave while the agent runs on.
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
			w.until(fmt.Sprintf("a request was answered with %d", m.status), func() bool { return w.receiver.Answers()[m.status] > before })
		} else {
			w.until("a request hangs", func() bool { return w.receiver.Hanging() > 0 })
		}
		tries := w.receiver.Answers()[m.status] - before
		lasted := time.Since(begin)
		w.set(oracle.Up())
		w.pause(3 * time.Second)
		w.drain(m.within)
		may := allowance{repeats: lanes}
		if m.loses {
			may.ended = targets * int((lasted+warmUp+5*time.Second)/interval)
		}
		v := w.verdict(may)
		if m.loses && v.Ended() == 0 {
			w.Error("nothing was lost, though it was refused")
		}
		// A scrape that failed has as many samples, or fewer, and may have been served.
		want, margin := v.Ended()*(series+perScrape), int(w.failed)*(series+perScrape)
		if got := int(w.dropped()); m.loses && (got < want-margin || got > want+margin) {
			w.Errorf("%v samples counted as dropped, want %d, give or take %d for %v scrapes that failed", w.counted, want, margin, w.failed)
		}
		if early := w.receiver.Early(); early > 0 {
			w.Errorf("%d requests came again before the time that the receiver had asked for", early)
		}
		w.result(v, fmt.Sprintf("for %v; %d requests meanwhile", lasts, tries))
	}
}

// twoEndpoints lets one of two endpoints fail for good: the other must not notice.
func twoEndpoints(w *world) {
	failing := newReceiver(w.T, w.addresses, 3)
	if err := failing.Set(oracle.Status(http.StatusInternalServerError, "broken")); err != nil {
		w.Fatal(err)
	}
	w.more = fmt.Sprintf("- name: failing\n  url: %s\n", failing.URL)
	w.start()
	w.warm()
	w.pause(pick(w.suite, 8*time.Second, 30*time.Second))
	w.until("the failing endpoint is tried", func() bool { return failing.Answers()[http.StatusInternalServerError] > 0 })
	w.drain(20 * time.Second)
	v := w.verdict(allowance{})
	w.result(v, "the endpoint that works")
}
