package scrape

import (
	"net/url"
	"time"

	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/envoy"
)

// Envoy renders its page on the thread that also takes its configuration. So a sidecar that takes long to answer is
// asked at every second turn, then at every fourth, until it answers quickly again. A turn is one of the due times that
// the target would have otherwise. An example with an interval of 15 s, where an answer is slow after more than 1.5 s:
//
//	12:00:05  answers after 1.9 s
//	12:00:20  answers after 2.1 s: from now on at every second turn
//	12:00:50  answers after 2.0 s
//	12:01:20  answers after 2.2 s: from now on at every fourth turn
//	12:02:20  answers after 0.1 s
//	12:03:20  answers after 0.1 s: from now on at every second turn
//	12:03:50  answers after 0.1 s
//	12:04:20  answers after 0.1 s: from now on at every turn
const (
	// An answer is slow if it takes longer than the interval divided by slowShare, and longer than leastSlow: the
	// network and busy processors take as long at times.
	slowShare = 10
	leastSlow = 250 * time.Millisecond

	answersInARow = 2 // slow (or quick) answers that change the pace by one step: a single one may be an accident
	maxTurns      = 4
	// maxApart is how far apart two scrapes of a slowed target may be. Prometheus takes a series for gone after five
	// minutes without a sample.
	maxApart = 2 * time.Minute
)

// pace says at which turns a target is asked. The zero value is every turn.
type pace struct {
	since uint32 // when the target was slowed, Unix seconds: every target has a pace, so it is small; 0: it is not
	every int8   // the target is asked at each turn of this many: 2 or 4; 0: at every turn
	row   int8   // answers in a row since the last change: slow ones are positive, quick ones negative
}

// answer is what a scrape says about the pace of its target.
type answer uint8

const (
	answerUnknown answer = iota // nothing: the scrape failed for a reason of this process
	answerQuick
	answerSlow
	answerNone // the target is down, which is no reason to ask it less often
)

// after returns the pace after a scrape that ended at now.
func (p pace) after(a answer, interval time.Duration, now time.Time) pace {
	switch a {
	case answerUnknown:
	case answerQuick:
		p.row = min(p.row, 0) - 1
	case answerSlow:
		p.row = max(p.row, 0) + 1
	case answerNone:
		return pace{}
	}
	every := int8(p.turns())
	switch p.row {
	case answersInARow:
		every, p.row = every*2, 0
	case -answersInARow:
		every, p.row = every/2, 0
	}
	p.every = min(every, mostTurns(interval))
	if !p.slowed() {
		return pace{row: max(p.row, 0)}
	}
	if p.since == 0 {
		p.since = uint32(now.Unix())
	}
	return p
}

// turns returns after how many turns the target is asked again.
func (p pace) turns() int { return max(int(p.every), 1) }

// slowed reports whether the target is not asked at every turn.
func (p pace) slowed() bool { return p.turns() > 1 }

// slowedSince returns when the target was slowed; zero: it is not.
func (p pace) slowedSince() time.Time {
	if p.since == 0 {
		return time.Time{}
	}
	return time.Unix(int64(p.since), 0)
}

// mostTurns returns the largest number of turns that a slowed target may have between two scrapes: 4 up to an interval
// of 30 s, 2 up to 1 m, then 1.
func mostTurns(interval time.Duration) int8 {
	n := int8(maxTurns)
	for n > 1 && time.Duration(n)*interval > maxApart {
		n /= 2
	}
	return n
}

// SlowAfter returns how long a target that is scraped at this interval may take to answer. An answer that takes longer
// is slow.
func SlowAfter(interval time.Duration) time.Duration { return max(interval/slowShare, leastSlow) }

// answerOf returns what a scrape says about the pace of its target. failure is the reason for which it failed, as in
// failures_total, or empty. asked reports whether the target was sent the request, and slow whether it took long to
// answer that: see answerTimer.
func answerOf(failure string, asked, slow bool) answer {
	switch {
	case isOwnFailure(failure):
		return answerUnknown
	case failure == "refused" || failure == "network" || failure != "" && !asked:
		return answerNone
	case slow: // also with status 504, from a listener in front of the admin interface
		return answerSlow
	case failure == "timeout": // most of which went into waiting for a connection or for memory
		return answerUnknown
	case failure == "status":
		return answerNone
	default:
		return answerQuick
	}
}

// isOwnFailure reports whether a scrape failed for a reason that says nothing about the target.
func isOwnFailure(reason string) bool {
	switch reason {
	case "panic", "memory", "emfile", "forbidden_address", "api_server", "via_limit", "via_rate", "target_limit":
		return true
	default:
		return false
	}
}

// notePace changes the pace of the target after a scrape, which took that long.
func (l *loop) notePace(timer *answerTimer, took time.Duration, err error) {
	failure := ""
	if err != nil {
		failure = reasonOf(err)
	}
	asked, waited := timer.answer(took, failure == "timeout")
	a := answerOf(failure, asked, waited > SlowAfter(l.target.interval))
	next := l.pace.after(a, l.target.interval, timer.began.Add(took))
	if next == l.pace && !next.slowed() {
		return
	}
	if !l.isPaced() {
		next = pace{} // also if it was slowed when it had another page
	}
	if next != l.pace {
		l.setPace(next, waited)
	}
}

// isPaced reports whether the target may be asked less often. It must be an Envoy, as far as is known: others may take
// their time on purpose. If the page came through the API server, it is not known how long the Envoy took.
func (l *loop) isPaced() bool {
	if l.job.fixedPace || l.target.pod != nil {
		return false
	}
	if l.traits.signs.Has(envoy.Envoy) {
		return true
	}
	u, err := url.Parse(l.target.url)
	return err == nil && u.Path == envoy.StatsPath // of a page that was never read, nothing else is known
}

// setPace puts a pace into force and tells when it begins or ends to be slower than every turn.
func (l *loop) setPace(p pace, waited time.Duration) {
	before := l.pace
	l.mu.Lock()
	l.pace = p
	l.mu.Unlock()
	switch {
	case p.slowed() && !before.slowed():
		l.job.metrics.slowed.Inc()
		l.env.log.Warn("target asked less often: it is slow to answer, and its page delays its configuration",
			l.logFields(zap.Int("turns", p.turns()), zap.Duration("answered_after", waited))...)
	case before.slowed() && !p.slowed():
		l.job.metrics.slowed.Dec()
		l.env.log.Info("target asked at every turn again",
			l.logFields(zap.Duration("after", time.Since(before.slowedSince())))...)
	}
}

// inheritPace takes over the pace of a loop before this one, unless the job does not want any now.
func (l *loop) inheritPace(old *loop) {
	l.mu.Lock() // pages already show l if old was being scraped
	l.pace = old.pace
	l.mu.Unlock()
	if l.job.fixedPace {
		l.setPace(pace{}, 0)
	}
}

// releasePace no longer counts the target of a loop that is gone.
func (l *loop) releasePace() {
	if l.pace.slowed() {
		l.job.metrics.slowed.Dec()
	}
}
