package oracle

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/value"

	"github.com/envoy-scraper/envoy-scraper/internal/simulate/receiver"
)

// Losses are samples that a receiver should have and has not, and samples that an agent may take for such, since the
// oracle began. Each sample counts once. Between two judgements the agents' counters of dropped samples grow by Lost at
// least; Most says by how much at most.
type Losses struct {
	// Lost samples are missing, and no process has ended that could be the cause.
	Lost int
	// Forgiven samples are missing, and the process that had scraped them ended before they were safe. It may have
	// counted some of them as dropped before.
	Forgiven int
	// Denied samples had arrived, and came again because the answer was lost. Then the receiver refused their series
	// for a reason other than their time, so an agent cannot know that they had arrived.
	Denied int
	// Repeated samples had arrived, and came again after newer ones of their series. An agent knows that of those
	// that an earlier process sent, unless the position of its queue was lost with the disk, and does not count them.
	// It does not know it if only the answer was lost.
	Repeated int
	// Again samples were refused before, and came again: a process ended after it had counted them, and before its
	// queue knew that.
	Again int
	// Mistaken samples are missing, and came in a 1.0 request that was rolled back because others in it were late. If
	// an earlier process had sent a part of the request, an agent takes all of it for delivered (decision 0012).
	Mistaken int
	// Overtaken samples came after newer ones of their series from another agent, to which the target had moved. An
	// agent that sends them once more after a restart takes them for delivered.
	Overtaken int
}

// Minus returns what was added since an earlier state.
func (l Losses) Minus(before Losses) Losses {
	return Losses{l.Lost - before.Lost, l.Forgiven - before.Forgiven, l.Denied - before.Denied,
		l.Repeated - before.Repeated, l.Again - before.Again, l.Mistaken - before.Mistaken,
		l.Overtaken - before.Overtaken}
}

// Most returns the largest number of samples that agents may count as dropped. repeated: agents may not know which
// samples they sent again.
func (l Losses) Most(repeated bool) int {
	most := l.Lost + l.Forgiven + l.Denied + l.Again + l.Mistaken
	if repeated {
		most += l.Repeated
	}
	return most
}

// lose counts lost samples. why describes them.
func (o *Oracle) lose(receiver string, n int, excused bool, why string) {
	if n == 0 {
		return
	}
	l := o.lossesOf(receiver)
	if excused {
		l.Forgiven += n
		return
	}
	l.Lost += n
	o.counts.Lost[receiver] = l.Lost
	l.examples = append(l.examples[max(0, len(l.examples)-maxProblems+1):], why)
}

// missing is the losses of a receiver, with descriptions of the last ones.
type missing struct {
	Losses
	examples []string
	refused  map[repetition]bool // by a fault; those that Judge has not seen
	repeated map[repetition]bool // counted already
	denied   map[repetition]bool // counted already
	again    map[repetition]bool // counted already
	besides  map[repetition]bool // in requests that were rolled back; true: because others are late

	overtaken map[repetition]bool // counted already
}

// repetition is a sample of a series, which may come several times.
type repetition struct {
	series string
	at     int64
}

func (o *Oracle) lossesOf(receiver string) *missing {
	if o.losses[receiver] == nil {
		o.losses[receiver] = &missing{refused: map[repetition]bool{}, repeated: map[repetition]bool{},
			denied: map[repetition]bool{}, again: map[repetition]bool{}, besides: map[repetition]bool{},
			overtaken: map[repetition]bool{}}
	}
	return o.losses[receiver]
}

// count adds 1 to n the first time that it is called for a sample.
func count(seen map[repetition]bool, x repetition, n *int) {
	if !seen[x] {
		seen[x] = true
		*n++
	}
}

// Besides implements receiver.Sink.
func (s sink) Besides(_ string, series *receiver.Series, x receiver.Sample, late bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, it := s.lossesOf(s.name), repetition{series.Key, x.Time}
	l.besides[it] = l.besides[it] || late
}

// forget drops what is about samples that no agent sends any more.
func (m *missing) forget(before time.Time) {
	for _, of := range []map[repetition]bool{m.refused, m.repeated, m.denied, m.again, m.besides, m.overtaken} {
		maps.DeleteFunc(of, func(x repetition, _ bool) bool { return x.at < before.UnixMilli() })
	}
}

// Losses returns the losses of a receiver, and descriptions of the last ones.
func (o *Oracle) Losses(receiver string) (Losses, []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.lossesOf(receiver)
	return l.Losses, slices.Clone(l.examples)
}

// judgeLostPages counts the samples of pages before a time that have no batch. Earlier batches are judged already.
func (o *Oracle) judgeLostPages(receiver string, p *pod, d *delivered, until time.Time) {
	for _, pg := range p.pages {
		c, t := o.targetAt(p, pg.start)
		if t == nil || pg.judged[receiver] || !pg.start.Before(until.Add(-t.early())) {
			continue
		}
		pg.judged[receiver] = true
		switch {
		case pg.checked: // the scrape read another page
		case !pg.good(): // whether a failed scrape has a batch shows in the gaps between batches
		case c.sentOf(receiver, t.report["up"]) == "": // the receiver is no endpoint
		case o.excuses(p, t, pg), o.endedDuring(receiver, p, pg):
			o.counts.Excused++
			o.lose(receiver, len(c.expectedAt(receiver, o.lostPage(d, t, pg, false))), true, "")
		default:
			pg.lostBy++
			n := len(c.expectedAt(receiver, o.lostPage(d, t, pg, true)))
			o.lose(receiver, n, false, fmt.Sprintf("a page of %s at %s did not arrive", p.name, clock(pg.start)))
		}
	}
}

// excuses reports whether the samples of a page may be lost: the process, the target or the configuration ended while
// it was read.
func (o *Oracle) excuses(p *pod, t *target, pg *page) bool {
	gone := !p.to.IsZero() && pg.end.After(p.to.Add(-time.Second))
	return gone || o.isContested(t, pg.start) || o.wasContested(p, pg.start) || o.excusedBy(pg.by, pg.start, pg.end) ||
		o.changedIn(pg.start.Add(-time.Second), pg.start.Add(t.timeout()+time.Second))
}

// lostPage returns what the batch of a page would have had: its samples, its report and its markers. scraped: the agent
// knows the page, so the next one is compared with it.
func (o *Oracle) lostPage(d *delivered, t *target, pg *page, scraped bool) (all []expectation) {
	live, kept := t.kept(pg)
	for _, sample := range pg.samples {
		all = append(all, expectation{t.scrapedOf(sample.Series), exactly(sample.Value)})
	}
	rev, by := t.labels.Get("rev"), o.processOf(pg.by, pg.start)
	switch s := d.states[rev]; {
	case s == nil || s.process != by: // nothing of the process has arrived yet
		d.held[holding{rev, by}] = true
	case scraped:
		all = append(all, markers(vanished(s.live, live))...)
		s.show(pg, live)
		s.last = pg.start
	default:
		all = append(all, markers(vanished(s.live, live))...)
		s.unknown, s.complete = true, false
	}
	n := float64(len(pg.samples))
	return append(all, t.reportOf(1, exactly(n), exactly(float64(kept)), atMost(n))...)
}

// batchKey identifies a batch of a pod.
type batchKey struct {
	rev string
	at  int64
}

// elsewhere is a batch without a page, of a failed scrape or of the end of a target, that some receiver has. Only that
// shows that others must have it.
type elsewhere struct {
	from    string
	at, end time.Time      // of the scrape
	samples map[string]int // that receivers without it should have
}

// noteElsewhere notes which samples each receiver must have of a batch without a page.
func (o *Oracle) noteElsewhere(receiver string, c *inForce, t *target, b *batch, all []expectation) {
	key := batchKey{b.rev, b.at}
	if o.elsewhere[key] != nil {
		return
	}
	e := &elsewhere{from: b.from, at: b.time(), end: b.time(), samples: map[string]int{}}
	if !value.IsStaleNaN(b.up) {
		e.end = c.endOf(receiver, t, b)
	}
	for _, name := range o.names {
		e.samples[name] = len(c.expectedAt(name, all))
	}
	o.elsewhere[key] = e
}

// endOf returns when the scrape of a batch ended, which is when its samples came into the queue.
func (c *inForce) endOf(receiver string, t *target, b *batch) time.Time {
	took := t.timeout()
	if bits, there := b.samples[c.sentOf(receiver, t.report["scrape_duration_seconds"])]; there {
		took = time.Duration(math.Float64frombits(bits) * float64(time.Second))
	}
	return b.time().Add(took)
}

// markersLate is how long after their time the last markers of a target may be written: when discovery shows that it is
// gone.
const markersLate = 2 * time.Minute

// judgeElsewhere counts batches without a page that not all receivers have.
func (o *Oracle) judgeElsewhere(p *pod) {
	for _, e := range o.elsewhere {
		for receiver, n := range e.samples {
			if o.isAbsent(receiver, e.at, e.at.Add(markersLate)) {
				continue
			}
			o.lose(receiver, n, o.excusedBy(e.from, e.at, e.end),
				fmt.Sprintf("the batch of %s at %s without a page did not arrive", p.name, clock(e.at)))
		}
	}
	clear(o.elsewhere)
}
