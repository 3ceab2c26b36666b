package pack

import (
	"maps"
	"time"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// Stream mode. Each scrape of a target becomes a request of its own, of the target's stream. The sender merges the
// requests of a stream, so that each series is sent once with several samples. There are two reasons for the mode.
//
// First, batch_send_deadline (the delay) is at least two scrape intervals of some job. Then a request waits in the
// queue for the next scrapes of the target. A delay of 30 s and an interval of 10 s give three scrapes:
//
//	scrape at    0 s   10 s   20 s  | 30 s   40 s   50 s
//	due at      30 s   30 s   now   | 60 s   60 s   now
//
// Second, the receiver is unreachable or behind (Packer.PackByTarget). With a delay that holds one scrape, a request is
// due at once, or within a second if the page is small. The scrapes that the receiver does not take pile up in the
// queue, most of them as columns (column.go), and are merged when it takes more.
//
// Without stream mode a lane has one open request, with samples of all its targets (stream 0).

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

// beginBatch prepares the lane for the rows of a batch. In stream mode they become a request of the target's stream.
func (l *Lane) beginBatch(s *Settings, b *series.Batch, targetHash uint64) {
	l.writer.BeginBatch()
	l.to = destination{}
	if !l.outlet.streams(s) {
		return
	}
	n := ScrapesPerRequest(s.delay, b.Interval)
	if int64(n) > l.mostScrapes.Load() {
		l.mostScrapes.Store(int64(n))
	}
	stream, now := streamOf(targetHash), time.Now()
	l.to = destination{stream, l.history.holds.scrape(stream, b, n, s.delay, now)}
	if l.to.due.IsZero() && !b.Urgent && n*b.Len() < s.QueueConfig.MaxSamplesPerSend {
		l.to.due = nextCollection(now, b.Interval, s.delay)
	}
}

// maxCollection is the longest time for which the last scrape of a group waits for groups of other targets, if the
// group does not fill a POST: small pages share POSTs.
const maxCollection = time.Second

// nextCollection returns the next of the instants at which all small groups are due; zero: they are due at once, since
// the interval is not known. The instants are a second apart, or half an interval or the delay if that is less. So the
// delay holds: a group of one scrape waits for no longer, and one of several is complete an interval earlier.
func nextCollection(now time.Time, interval, delay time.Duration) time.Time {
	step := min(maxCollection, interval/2, delay)
	if step <= 0 {
		return time.Time{}
	}
	return now.Truncate(step).Add(step)
}

// leaveStreams forgets what only stream mode needs.
func (l *Lane) leaveStreams() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.history.holds, l.column = holds{}, columnScratch{}
	for _, t := range l.history.targets {
		t.rows = pageRows{}
	}
}

// endBatch appends what is left of the batch to the queue.
func (l *Lane) endBatch(s *Settings, t *Tally) {
	l.flush(t)
	if l.outlet.streams(s) {
		l.seal()
	}
}
