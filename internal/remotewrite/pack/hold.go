package pack

import (
	"maps"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// Streams. Each scrape of a target becomes a request of its own, of the target's stream. The sender merges requests of
// a stream, so that each series is sent once with several samples, and requests of several streams, so that a POST is
// filled.
//
// A request waits in the queue, for one of two things. If batch_send_deadline (the delay) is at least two scrape
// intervals, it waits for the next scrapes of the target. A delay of 30 s and an interval of 10 s give three scrapes:
//
//	scrape at    0 s   10 s   20 s  | 30 s   40 s   50 s
//	due at      30 s   30 s   now   | 60 s   60 s   now
//
// The scrape that makes a stream due, which is each one if the delay holds one, waits for the other targets of its wave
// (nextCollection). For example, 20 targets are scraped within 50 ms, and are due 200 ms after the first one.
//
// While the receiver is unreachable or behind, scrapes pile up in the queue, most of them as columns (column.go). Later
// a group has several scrapes of each target (maxGroup).

// ScrapesPerRequest returns how many scrapes of a target one request holds: as many intervals as fit into the delay,
// and at least one. An interval of 0 is not known.
func ScrapesPerRequest(delay, interval time.Duration) int {
	if interval <= 0 {
		return 1
	}
	return max(1, int(delay/interval))
}

// streamOf returns the stream of a target. Targets with equal results share a stream, which only makes their order
// stricter.
func streamOf(targetHash uint64) uint32 { return max(1, uint32(targetHash)) }

// firstGroup returns how many scrapes the first group of a stream has, between 1 and n. The lower bits of the stream
// choose its lane, so the upper ones are used: otherwise the targets of a lane have the same number.
func firstGroup(stream uint32, n int) int { return 1 + int(stream>>16)%n }

// holds are the scrapes of a lane that wait in the queue, by stream. Guarded by Lane.mu. The zero value is empty.
type holds struct{ of map[uint32]*hold }

// hold is what one stream has waiting. Example: {scrapes: 2, most: 3, until: 12:00:30}: the next scrape makes it due.
type hold struct {
	scrapes int
	most    int       // number of scrapes that makes the stream due
	until   time.Time // due time of the scrapes that wait

	at  int64     // timestamp of the last scrape
	due time.Time // of its request
}

// scrape notes a scrape and returns until when its request may wait; zero: the stream is due. A second call for the
// same scrape, which has bound and unbound series, returns the same.
//
// The first group of a stream has between 1 and n scrapes, by the stream's number. So the targets that a process
// begins to scrape together are not all sent in the same seconds.
func (h *holds) scrape(stream uint32, b *series.Batch, n int, delay time.Duration, now time.Time) (due time.Time) {
	if n <= 1 {
		return time.Time{}
	}
	w := h.of[stream]
	switch {
	case w == nil:
		if h.of == nil {
			h.of = map[uint32]*hold{}
		}
		w = &hold{most: firstGroup(stream, n)}
		h.of[stream] = w
	case w.at == b.Time:
		return w.due
	case w.scrapes == 0:
		w.most = n
	case !w.until.After(now): // what waited was sent
		w.scrapes, w.most = 0, n
	}
	if until := now.Add(delay); w.scrapes == 0 || until.Before(w.until) { // a reload can shorten the delay
		w.until = until
	}
	w.scrapes++
	w.at, w.due = b.Time, w.until
	if b.Urgent || w.scrapes >= w.most {
		w.scrapes, w.due = 0, time.Time{}
	}
	return w.due
}

// more returns until when samples may wait that another target adds to a stream. They make it due no earlier.
func (h *holds) more(stream uint32, delay time.Duration, now time.Time) (due time.Time) {
	until := now.Add(delay)
	if w := h.of[stream]; w != nil && w.scrapes > 0 && w.until.After(now) && w.until.Before(until) {
		return w.until
	}
	return until
}

// forget drops streams that had no scrape since then.
func (h *holds) forget(then time.Time) {
	maps.DeleteFunc(h.of, func(_ uint32, w *hold) bool { return w.until.Before(then) })
}

// beginBatch prepares the lane for the rows of a batch, which become a request of the target's stream.
func (l *Lane) beginBatch(s *Settings, b *series.Batch, targetHash uint64) {
	l.writer.BeginBatch()
	n := ScrapesPerRequest(s.delay, b.Interval)
	if int64(n) > l.mostScrapes.Load() {
		l.mostScrapes.Store(int64(n))
	}
	stream, now := streamOf(targetHash), time.Now()
	l.to = destination{stream, l.history.holds.scrape(stream, b, n, s.delay, now)}
	if l.to.due.IsZero() && !b.Urgent {
		l.to.due = l.nextCollection(b.Interval, s.delay, now)
	}
}

// dueOfMore returns until when samples of a batch may wait in the stream of another target.
func (l *Lane) dueOfMore(s *Settings, b *series.Batch, stream uint32, now time.Time) time.Time {
	if ScrapesPerRequest(s.delay, b.Interval) > 1 {
		return l.history.holds.more(stream, s.delay, now)
	}
	return l.nextCollection(b.Interval, s.delay, now)
}

// collectionTime is how long the first scrape of a wave that makes its stream due waits for the others. A wave takes
// some 50 ms. It is half an interval or the delay if that is less, so the delay holds: a group of one scrape waits for
// no longer, and one of several is complete an interval earlier.
const collectionTime = 200 * time.Millisecond

// nextCollection returns when a stream is due whose scrapes are complete: together with those of its wave.
func (l *Lane) nextCollection(interval, delay time.Duration, now time.Time) time.Time {
	wait := min(collectionTime, delay)
	if interval > 0 {
		wait = min(wait, interval/2)
	}
	if due := now.Add(wait); !l.collection.After(now) || due.Before(l.collection) {
		l.collection = due
	}
	return l.collection
}
