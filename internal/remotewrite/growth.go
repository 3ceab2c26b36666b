package remotewrite

import (
	"math"
	"time"
)

const (
	growthCheck   = 15 * time.Second
	tooBusy       = 0.8  // share of the time in which a lane waits for answers, from which on it has too much to do
	catchUpFactor = 1.25 // of the lanes needed to keep up: the backlog has to go, too

	noBacklogChecks = 20  // checks in a row without a backlog, before lanes are removed: five minutes
	targetBusy      = 0.4 // share of the time in which the busiest of fewer lanes will wait for answers
	worthRemoving   = 0.7 // a change is not worth it unless 30 % of the lanes go, as in Prometheus
)

// growth decides on the number of lanes of an endpoint. More are needed when one waits for answers nearly all the time
// and the backlog grows. Fewer do when there was no backlog for a while. Lanes cost memory: each remembers the
// references of all strings of its requests.
type growth struct {
	lanes int
	at    time.Time
	load
	desired   int     // lanes that the load asked for when it was last judged
	noBacklog int     // checks in a row that found no backlog
	peak      float64 // busy share of the busiest lane during these
}

// load is the work of an endpoint's lanes.
type load struct {
	waited    []time.Duration // by lane, for answers that decided what becomes of a request, since the start
	delivered int             // samples that left the queue
	pending   int             // samples
	down      bool            // the endpoint takes nothing at the moment
}

// room is the number of lanes that an endpoint may have, and the backlog that is none: a request of each lane.
type laneLimits struct{ min, max, backlog int }

// next returns the number of lanes that the endpoint should have, within its room. It asks for all that are needed at
// once: lanes that are added later have to wait for the present ones to drain.
func (g *growth) next(now time.Time, lanes int, r laneLimits, is load) int {
	before := *g
	g.lanes, g.at, g.load = lanes, now, is
	if before.lanes != lanes { // the first look at them
		g.desired, g.noBacklog, g.peak = lanes, 0, 0
		return lanes
	}
	busiest, average := is.busy(before.waited, now.Sub(before.at))
	if is.pending > r.backlog || is.down {
		g.desired, g.noBacklog, g.peak = lanes, 0, 0
		more, taken := is.pending-before.pending, is.delivered-before.delivered
		if is.pending <= r.backlog || more <= 0 || busiest < tooBusy {
			return lanes
		}
		g.desired = 2 * lanes
		if taken > 0 && average >= tooBusy {
			share := float64(more+taken) / float64(taken) // of what came, to what went
			g.desired = max(g.desired, int(min(maxDesiredLanes, math.Ceil(catchUpFactor*share*float64(lanes)))))
		}
		return min(g.desired, max(lanes, r.max))
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
	g.desired = min(g.desired, lanes) // a lane with little room is not a lane too few
	return lanes
}

// maxDesiredLanes bounds what an endpoint that takes next to nothing asks for.
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
