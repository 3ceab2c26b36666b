package remotewrite

import (
	"math"
	"time"
)

const (
	growthCheck   = 15 * time.Second
	busyCheck     = 5 * time.Second // a lane that was too busy for so long asks for a check at once
	tooBusy       = 0.8             // a lane that waits for answers for this share of the time is too busy
	catchUpFactor = 2               // times the lanes needed to keep up: the backlog shrinks, and lanes are not equal

	noBacklogChecks = 20 // consecutive checks without a backlog before lanes are removed: five minutes
	// share of the time for which the busiest lane should wait for answers after lanes are removed
	targetBusy    = 0.4
	worthRemoving = 0.7 // lanes are removed only if at most this share of them is left, as in Prometheus
)

// growth decides on the number of lanes of an endpoint. It adds lanes if one is busy nearly all the time and the
// backlog grows. It removes lanes if there was no backlog for a while, because lanes cost memory: each remembers the
// references of all strings of its requests.
type growth struct {
	lanes int
	at    time.Time
	load
	desired   int     // number of lanes that the load needs, whatever the limits are
	draining  int     // samples that were queued when lanes were added, and for which further lanes would only wait
	noBacklog int     // consecutive checks without a backlog
	peak      float64 // largest share of the time that a lane was busy during these checks
}

// load is the work of an endpoint's lanes.
type load struct {
	waited    []time.Duration // by lane, since the start: for answers other than those that ask for another try
	delivered int             // samples that left the queue, since the start
	pending   int             // samples in the queue that are due
	// number of lanes that the oldest requests were appended to, and of readers that can deliver them at once
	oldestLanes int
	down        bool // the receiver is unreachable
	rejects     bool // the receiver is a 1.0 one, and rejected samples lately
}

// laneLimits are the smallest and largest number of lanes, and the number of samples up to which there is no backlog:
// a request for each lane.
type laneLimits struct{ min, max, backlog int }

// next returns the number of lanes that the endpoint should have. It asks for all that are needed at once, because
// lanes that are added later have to wait until the present ones are empty. Meanwhile it adds no further ones.
func (g *growth) next(now time.Time, lanes int, r laneLimits, is load) int {
	if lanes == g.lanes && now.Sub(g.at) < busyCheck {
		return lanes // several lanes ask for a check within a moment, which says nothing
	}
	before := *g
	g.lanes, g.at, g.load = lanes, now, is
	taken := is.delivered - before.delivered
	g.draining = min(max(0, g.draining-taken), is.pending) // the queue may have lost some

	if before.lanes != lanes { // the first check with this number
		g.desired, g.noBacklog, g.peak = lanes, 0, 0
		return lanes
	}
	busiest, average := is.busy(before.waited, now.Sub(before.at))
	if is.pending > r.backlog || is.down {
		g.desired, g.noBacklog, g.peak = lanes, 0, 0
		more := is.pending - before.pending
		if is.pending <= r.backlog || more <= 0 || busiest < tooBusy || g.draining > 0 {
			return lanes
		}
		g.desired = 2 * lanes
		if taken > 0 && average >= tooBusy {
			share := float64(more+taken) / float64(taken) // of appended to delivered samples
			g.desired = max(g.desired, int(min(maxDesiredLanes, math.Ceil(catchUpFactor*share*float64(lanes)))))
		}
		n := min(g.desired, max(lanes, r.max))
		if n > lanes && n >= is.oldestLanes {
			g.draining = is.pending
		}
		return n
	}
	g.noBacklog++
	g.peak = max(g.peak, busiest)
	if g.noBacklog < noBacklogChecks {
		return lanes
	}
	g.desired = max(1, int(math.Ceil(g.peak/targetBusy*float64(lanes))))
	g.noBacklog, g.peak = 0, 0
	if fewer := max(g.desired, r.min); float64(fewer) <= worthRemoving*float64(lanes) {
		return fewer
	}
	g.desired = min(g.desired, lanes) // min_shards keeps more lanes than the load needs
	return lanes
}

// maxDesiredLanes bounds the result for a receiver that takes nearly nothing.
const maxDesiredLanes = 1 << 20

// busy returns the share of the time in which the busiest lane waited for answers, and the average over all lanes.
func (l load) busy(before []time.Duration, elapsed time.Duration) (busiest, average float64) {
	if elapsed <= 0 {
		return 0, 0
	}
	for i, waited := range l.waited {
		share := (waited - before[i]).Seconds() / elapsed.Seconds()
		busiest = max(busiest, share)
		average += share / float64(len(l.waited))
	}
	return busiest, average
}

// busyWatch notices that a lane waits for answers nearly all the time.
type busyWatch struct {
	since  time.Time
	waited time.Duration // by then
}

// tooBusy reports whether the lane was too busy for busyCheck or longer. waited is how long it waited since its start.
func (w *busyWatch) tooBusy(now time.Time, waited time.Duration) bool {
	passed := now.Sub(w.since)
	if passed < busyCheck {
		return false
	}
	share := (waited - w.waited).Seconds() / passed.Seconds()
	w.since, w.waited = now, waited
	return share >= tooBusy
}
