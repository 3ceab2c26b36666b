package aggregate

import (
	"math"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// source is what is known of the pages of one target so far. The locks of its feed guard it.
//
// Cost: 8 bytes for each series that is summed, and a share of its layout, which has 8 bytes for each series of the
// page.
type source struct {
	job      string
	target   series.TargetID // with one reference
	feed     *feed
	layout   *layout       // of the last good page; nil: there was none
	last     []float64     // the values on that page of the series that are summed, in its order
	good     bool          // the last scrape succeeded
	again    bool          // the target had been scraped before, and nothing of it was summed
	noUptime bool          // the last good page lacked it
	wasYoung bool          // its first page may be of a process that was young on a page of an earlier source
	uptime   time.Duration // on the last good page that had it; negative: none had
	read     time.Time     // when that was
	interval time.Duration
	was      *former // the last good page under the blocks before; nil: there was none
	lost     *former // series that vanished when much of a page did, see lose; nil: none
	lostTill time.Time
	returned []returned // those of them that are on the present page
	partial  bool       // the last good page lacked lines, see series.Origin
}

// restartShares say which part of the counters that had a value must have fallen before a page counts as that of
// another process: half of them if the uptime fell too, nine tenths if the page has no uptime. The uptime alone proves
// nothing: Envoy computes it from the clock of the node, which may be set back.
const (
	restartShare        = 0.5
	restartShareUnknown = 0.9
)

// restarted reports whether the page is that of another process than the page before. The layout is that of the page.
// isOther is the result of hasRestarted.
func (s *source) restarted(values []float64, uptime time.Duration, isOther bool) bool {
	share := restartShareUnknown
	if uptime >= 0 && s.uptime >= 0 {
		if !isOther {
			return false
		}
		share = restartShare
	}
	fell, had, k := 0, 0, 0
	for i, ref := range s.layout.refs {
		if ref == 0 {
			continue
		}
		if last := s.last[k]; last > 0 && s.feed.slot(ref).kind == counter {
			had++
			if v := values[i]; v < last && isCounted(v) {
				fell++
			}
		}
		k++
	}
	return had > 0 && float64(fell) >= share*float64(had)
}

// hasRestarted reports whether the uptime of a page is that of another process: it is less than that of an earlier
// page, and the process has started since that page. Envoy computes its uptime from the clock of the node, so one that
// has fallen less may only mean that the clock was set back.
func (s *source) hasRestarted(uptime time.Duration, now time.Time) bool {
	return uptime >= 0 && uptime < s.uptime && uptime <= now.Sub(s.read)+uptimeLag
}

// lackedEnvoy reports whether the pages before may have lacked all lines of the Envoy: none has had an uptime, and the
// present page has one; or nothing of the page before is summed, and no page has had an uptime. Then the series that
// are new on the page may be old.
func (s *source) lackedEnvoy(o *series.Origin, interval time.Duration) bool {
	return s.uptime < 0 && (o.Uptime >= interval || o.Uptime < 0 && s.layout != nil && s.layout.summed == 0)
}

// count adds what the series of a good page have grown by to the totals of their aggregates. The layout is that of the
// page. It returns how many series fell.
//
// last has what the series had before; NaN: nothing to compare with.
func (s *source) count(values []float64) (fell int) {
	groups, k := s.feed.groups, 0
	for i, ref := range s.layout.refs {
		if ref == 0 {
			continue
		}
		last, v := &s.last[k], values[i]
		k++
		slot := &groups[ref.group()-1].slots[ref.slot()] // not feed.slot, which is slower
		if slot.kind != counter {
			*last = v
			continue
		}
		switch grown := v - *last; {
		case !isCounted(v):
			continue // as if the page had not shown it
		case grown >= 0:
			slot.total += counted(grown)
		case v < *last: // it began again at 0
			slot.total += counted(v)
			fell++
		}
		*last = v
	}
	return fell
}

// counted returns what is added to a total: nothing of a value that is larger than a total may become.
func counted(v float64) float64 {
	if v > largestTotal {
		return 0
	}
	return v
}

// isCounted reports whether v can be the value of a counter: it is not negative, infinite or NaN.
func isCounted(v float64) bool { return v >= 0 && v <= math.MaxFloat64 }

// uptimeLag is by how much an Envoy may have run longer than its page says: it writes whole seconds, and by default
// flushes its stats every 5 s.
const uptimeLag = 6 * time.Second

// isYoung reports whether a process has started within the last interval, and after the block came into force. Then all
// that its first page shows has happened since, and no other instance can have counted it: a target that moves to
// another instance is scraped there two intervals later.
func isYoung(uptime, interval, inForce time.Duration) bool {
	return uptime >= 0 && uptime < interval && uptime+uptimeLag < min(2*interval, inForce)
}
