package scrape

import "time"

// life says where a loop is between its first scrape and its end, and what it does next. The schedule owns it and
// changes it only through after, the one place that knows what follows from what:
//
//	             start           due           host free
//	new ────────────────► idle ───────► queued ──────────► scraping
//	(its predecessor       ▲ │                                │
//	 still scrapes)        │ │           finish               │
//	                       └─┼────────────────────────────────┘
//	                         │ lose, hand over                    due
//	                         └─────────────────────► departing ───────► gone
//
// A loop may have to leave in any state. A queued loop leaves as an idle one does. While a loop is new or scraping it
// cannot leave yet: exit keeps the reason until start or finish. Replaced or stopped loops are gone without departing.
//
// An example of a target with an interval of 10 s that discovery loses at 12:00:13:
//
//	12:00:05  finish     idle       due 12:00:15
//	12:00:13  lose       departing  due 12:00:26, missed 12:00:15, exit mark
//	12:00:26  due        gone       the schedule sends staleness markers, dated 12:00:15
type life struct {
	state     state
	exit      exit
	leftOut   int8          // while idle: turns before due, an interval apart, at which the target is not asked
	interval  time.Duration // of the target
	shift     time.Duration // moves the due times from the one on that follows on the next scrape, see waves
	due       time.Time     // of the next scrape; of the present one while scraping; when departing ends
	began     time.Time     // when the last scrape began
	missed    time.Time     // while departing: due time of the first scrape that did not happen
	ends      time.Time     // when departing is to end; zero: when Prometheus would send markers
	move      move          // when the target moves to another instance; zero: it does not
	successor *loop         // with exitReplace: the loop that inherits
}

type state uint8

const (
	stateNew       state = iota // waits until its predecessor's scrape has ended
	stateIdle                   // waits until it is due
	stateQueued                 // due, but another scrape of its host and port may run
	stateScraping               // its scrape runs
	stateDeparting              // is not scraped any more; waits for the time of its markers, or of its next owner
	stateGone
)

// exit is why a loop leaves, and so what becomes of its series.
type exit uint8

const (
	exitNone     exit = iota // it does not leave
	exitMark                 // its target is lost: its series get staleness markers
	exitHandOver             // another instance scrapes its target: no markers
	exitReplace              // another loop of this instance inherits its series
	exitStop                 // its job was removed: no markers, as in Prometheus
)

// move is the change of a target to another instance.
type move struct {
	at    time.Time // from here on this instance does not scrape it any more
	first time.Time // when the other instance scrapes it first
}

func (m move) isOver(now time.Time) bool { return !m.at.IsZero() && !now.Before(m.at) }

// event is what happens to a loop. The schedule sends the first four kinds, the pools the others.
type event struct {
	kind      eventKind
	first     time.Time     // of a handOver: when the other instance scrapes the target first
	turns     int           // of a finish: after how many turns the target is asked again; 0 counts as 1
	move      move          // of a planMove
	shift     time.Duration // of a shift
	successor *loop         // of a replace
}

type eventKind uint8

const (
	eventStart    eventKind = iota // the predecessor's scrape has ended, or there is no predecessor
	eventDue                       // the due time has come
	eventHostFree                  // no other scrape runs at the loop's host and port
	eventFinish                    // the scrape has ended
	eventPlanMove                  // the map of shards says when the target moves
	eventShift                     // the target has its due times at another place in the interval

	// The loop has to leave.
	eventLose     // discovery lost the target
	eventOutdate  // the job has other rules, and a new loop will replace this one
	eventHandOver // another instance has the target now
	eventReplace  // a new loop has the same labels
	eventStop     // the job was removed
)

// effects is what the schedule does after an event.
type effects struct {
	do      action
	skipped int // scrapes that were due while the last one ran, and are not made up for
	leftOut int // turns at which the target was not asked, see pace
}

type action uint8

const (
	doNothing action = iota
	doMark           // send staleness markers, then release what the loop holds
	doRelease        // release what the loop holds
	doInherit        // give what the loop holds to its successor, and start that
)

// after returns the life of a loop after an event, and what else the schedule must do. It ignores an event that means
// nothing in the present state.
func (l life) after(e event, now time.Time) (life, effects) {
	switch {
	case l.state == stateGone:
	case e.kind == eventPlanMove:
		l.move = e.move
		return l.askBeforeMove(now), effects{}
	case e.kind == eventShift:
		l.shift = nearest(l.shift+e.shift, l.interval)
	case e.kind == eventStart && l.state == stateNew:
		if late := now.Sub(l.due); late >= 0 {
			l.due = l.due.Add((late/l.interval + 1) * l.interval)
		}
		return l.free(effects{})
	case e.kind == eventDue && l.state == stateDeparting:
		l.state = stateGone
		if l.exit == exitMark {
			return l, effects{do: doMark}
		}
		return l, effects{do: doRelease}
	case e.kind == eventDue && l.state == stateIdle, e.kind == eventHostFree && l.state == stateQueued:
		switch {
		case l.move.isOver(now): // the pools are about to say so
			return l.leave(event{kind: eventHandOver, first: l.move.first}, now)
		case e.kind == eventDue:
			leftOut := l.leftOut
			l.state, l.leftOut = stateQueued, 0
			return l, effects{leftOut: int(leftOut)}
		default:
			l.state, l.began, l.due = stateScraping, now, onWallClock(l.due, now)
		}
	case e.kind == eventFinish && l.state == stateScraping:
		return l.finish(e.turns, now)
	case e.kind >= eventLose:
		return l.leave(e, now)
	}
	return l, effects{}
}

// finish gives a loop that has scraped its next due time. Due times that passed before its scrape began are skipped. Of
// those that passed while it ran the last is taken late, as a ticker would, and the others are skipped. turns says
// after how many turns the target is asked again; the turns before are left out. Due times that are to be shifted are
// so from here on.
func (l life) finish(turns int, now time.Time) (life, effects) {
	l.due, l.shift = l.due.Add(l.shift), 0
	intervals := 1 + l.began.Sub(l.due)/l.interval
	if late := now.Sub(l.due.Add(intervals * l.interval)); late >= l.interval {
		intervals += late / l.interval
	}
	skipped := int(intervals - 1)
	if turns > 1 && l.exit == exitNone {
		skipped = max(0, skipped-(turns-1))
		intervals = max(intervals, time.Duration(turns))
		l.leftOut = int8(turns - 1)
	}
	l.due = l.due.Add(intervals * l.interval)
	return l.askBeforeMove(now).free(effects{skipped: skipped})
}

// nearest returns the shift of due times that has the same effect as by and is the least, so that two scrapes are half
// an interval to one and a half apart.
func nearest(by, interval time.Duration) time.Duration {
	switch by %= interval; {
	case by > interval/2:
		return by - interval
	case by <= -interval/2:
		return by + interval
	default:
		return by
	}
}

// askBeforeMove has the target be asked at the last turn before its move, so that the first sample of the other
// instance is two intervals later, as always.
func (l life) askBeforeMove(now time.Time) life {
	if l.move.at.IsZero() {
		return l
	}
	return l.sooner(now, func(due time.Time) bool { return due.Before(l.move.at) })
}

// sooner takes back turns that were to be left out, as long as they are to come, until enough returns true for the due
// time.
func (l life) sooner(now time.Time, enough func(due time.Time) bool) life {
	for l.leftOut > 0 && l.due.Add(-l.interval).After(now) && !enough(l.due) {
		l.due, l.leftOut = l.due.Add(-l.interval), l.leftOut-1
	}
	return l
}

// leave notes why a loop leaves, and has it leave unless it must wait. The last reason counts, but a loop that was
// replaced or stopped stays so.
func (l life) leave(e event, now time.Time) (life, effects) {
	final := l.exit == exitReplace || l.exit == exitStop
	switch {
	case final:
	case e.kind == eventReplace:
		l.exit, l.successor = exitReplace, e.successor
	case e.kind == eventStop:
		l.exit = exitStop
	case e.kind == eventHandOver && l.exit != exitHandOver:
		l.exit, l.ends = exitHandOver, e.first
	case e.kind == eventLose && l.exit == exitHandOver:
		// The other instance has not scraped the target, so has nothing to mark. Markers that are sent now are older
		// than any sample of the other instance, should the target come back.
		l.exit, l.ends = exitMark, now
	case e.kind == eventOutdate && l.exit == exitHandOver: // discovery still finds the target
	case e.kind == eventLose, e.kind == eventOutdate:
		l.exit = exitMark
	}
	if l.state == stateNew || l.state == stateScraping {
		return l, effects{}
	}
	return l.sooner(now, func(time.Time) bool { return false }).free(effects{}) // it misses the next turn, if any
}

// free gives a loop that neither waits for its predecessor nor scrapes its next state: it leaves if there is a reason,
// and waits for its due time otherwise. Prometheus sends the markers of a lost target one interval and a tenth after
// the scrape that it missed: a target that only moved would have been back for two scrapes.
func (l life) free(then effects) (life, effects) {
	switch l.exit {
	case exitNone:
		l.state = stateIdle
	case exitReplace:
		l.state, then.do = stateGone, doInherit
	case exitStop:
		l.state, then.do = stateGone, doRelease
	default:
		if l.state != stateDeparting {
			l.state, l.missed, l.leftOut = stateDeparting, l.due, 0
		}
		if l.due = l.ends; l.ends.IsZero() {
			l.due = l.missed.Add(l.interval + l.interval/10)
		}
	}
	return l, then
}
