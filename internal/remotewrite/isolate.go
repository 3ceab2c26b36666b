package remotewrite

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"
)

// What telling bad series from good ones may cost a message: so many requests, or so much time of the receiver's.
const (
	maxIsolationRequests   = 64
	leastIsolationRequests = 8
	maxIsolationTime       = 5 * time.Second
)

// part is some series of a message.
type part struct {
	message
	stand
	said answer // of a suspect: why
}

// stand is why a part travels alone.
type stand int

const (
	innocent stand = iota
	offender       // its series were refused of late
	suspect        // of what was rejected just now: the search for the bad ones has a budget
)

// division delivers a message in parts: because it was too large, or because a 1.0 receiver rejected it, which means
// that it took nothing of it for the sake of some series. Largest part first, so that when the budget is spent most
// of what is good has arrived. That keeps the order: no message has two samples of a series.
//
// Answers that may pass are waited for as ever, and cost nothing of the budget.
type division struct {
	*sender
	parts    []part
	requests int           // of the budget
	took     time.Duration // of the budget
	good     bool          // a suspect arrived
}

// run delivers all parts. False: ctx ended before.
func (d *division) run(ctx context.Context) bool {
	for len(d.parts) > 0 {
		p := d.takeLargest()
		if p.stand == suspect && d.spent() {
			d.giveUp(p)
			continue
		}
		v := d.try(ctx, p.message)
		if v.fate == interrupted || !d.judge(ctx, p, v) {
			return false
		}
	}
	// Where a whole search found nothing good, the next one is shorter: a receiver that dislikes everything must
	// not cost the lane its throughput.
	switch {
	case d.good:
		d.thrift = 0
	case d.requests > 0:
		d.thrift++
	}
	return true
}

func (d *division) takeLargest() part {
	at := 0
	for i := range d.parts {
		if d.parts[i].samples > d.parts[at].samples {
			at = i
		}
	}
	p := d.parts[at]
	d.parts = slices.Delete(d.parts, at, at+1)
	return p
}

func (d *division) spent() bool {
	most := max(leastIsolationRequests, maxIsolationRequests>>min(d.thrift, 8))
	return d.requests >= most || d.took >= maxIsolationTime
}

// charge counts a request that found out something about suspects.
func (d *division) charge(v verdict) {
	d.requests++
	d.took += v.said.took
	d.good = d.good || v.arrived
}

// judge goes on after the verdict on a part. False: ctx ended.
func (d *division) judge(ctx context.Context, p part, v verdict) bool {
	if p.stand == suspect {
		d.charge(v)
	}
	if v.arrived {
		d.offenders.clear(p.message)
	}
	switch {
	case v.fate == settled:
	case v.fate == rejected && v.replayed && p.stand == innocent:
		return d.quarter(ctx, v)
	default:
		d.divide(p, v)
	}
	return true
}

// divide puts the halves of a part that was too large, or rejected, in its place. A single series has none.
func (d *division) divide(p part, v verdict) {
	c, err := parseMessage(v.message)
	if err == nil && len(c.series) == 1 {
		d.convict(&c, v)
		return
	}
	halves, err := c.split(2)
	if err != nil {
		d.drop(damaged, v.samples)
		return
	}
	for _, half := range halves {
		q := part{message: half, stand: p.stand, said: p.said}
		if v.fate == rejected {
			q.stand, q.said = suspect, v.said
		}
		d.parts = append(d.parts, q)
	}
}

// convict counts, names and remembers the one series of a message; but what an earlier process may have delivered,
// and comes late now, has arrived.
func (d *division) convict(c *content, v verdict) {
	e := d.endpoint
	complaint := complaintOf(v.said)
	e.health.settle(v.samples)
	if v.fate == rejected && v.replayed && complaint.late() {
		d.delivered(v.samples, v.said)
		return
	}
	e.metrics.refuse(complaint, v.samples)
	e.rejected(v.said, Rejection{Series: seriesOf(c, 0), Samples: v.samples, Reason: string(complaint), Error: v.said.message})
	if v.fate == rejected && !v.replayed {
		d.offenders.add(c, true)
	}
}

// split makes n messages of one, or as many as it has series.
func (c *content) split(n int) (out []message, err error) {
	n = min(n, len(c.series))
	for i := range n {
		from, to := i*len(c.series)/n, (i+1)*len(c.series)/n
		m, err := c.subset(func(j int, _ int64) bool { return from <= j && j < to })
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

// giveUp refuses a part that nobody has time to look into.
func (d *division) giveUp(p part) {
	d.drop(isolationBudget, p.samples)
	c, err := parseMessage(p.message)
	if err != nil || len(c.series) == 0 {
		return
	}
	d.endpoint.rejected(p.said, Rejection{Series: seriesOf(&c, 0), Others: len(c.series) - 1, Samples: p.samples,
		Reason: isolationRejected, Error: p.said.message})
	if !p.replayed {
		d.offenders.add(&c, false)
	}
}

// quarter sends a message of an earlier process in four parts. If the receiver rejects them all, it has had the
// message: most series send on, so that all quarters hold samples that are not the newest any more. False: ctx ended.
func (d *division) quarter(ctx context.Context, v verdict) bool {
	c, err := parseMessage(v.message)
	quarters := []message{v.message}
	verdicts := []verdict{v}
	if err == nil && len(c.series) > 1 { // else it must not be repeated as it was
		quarters, err = c.split(4)
		verdicts = nil
	}
	if err != nil {
		d.drop(damaged, v.samples)
		return true
	}
	for _, m := range quarters[len(verdicts):] {
		w := d.try(ctx, m)
		if w.fate == interrupted {
			return false
		}
		d.charge(w)
		verdicts = append(verdicts, w)
	}
	had, samples := true, 0
	for _, w := range verdicts {
		c := complaintOf(w.said)
		had = had && w.fate == rejected && (c.late() || c == somethingElse)
		samples += w.samples
	}
	if had {
		d.delivered(samples, v.said)
		d.endpoint.health.settle(samples)
		return true
	}
	for _, w := range verdicts {
		if w.fate != settled {
			d.divide(part{}, w)
		}
	}
	return true
}

// delivered counts samples of an earlier process that the receiver will not take again.
func (s *sender) delivered(samples int, a answer) {
	e := s.endpoint
	e.metrics.delivered.Add(float64(samples))
	e.health.mu.Lock()
	defer e.health.mu.Unlock()
	e.up(&e.health)
	e.limited("delivered", func() {
		e.log.Info("remote write endpoint has had samples that were kept over the start", zap.Int("samples", samples),
			zap.String("answer", a.message))
	})
}
