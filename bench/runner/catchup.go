package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// CatchUp measures for each way how fast the agent's queue drains after the receiver was down: it stops the store for
// c.Outage while scraping goes on, then starts it again with the same address and database.
func CatchUp(ctx context.Context, c WholeConfig, progress io.Writer) (CatchUpReport, error) {
	c = c.fit()
	report := CatchUpReport{WholeReport: newWholeReport(c), Outage: c.Outage.String()}
	for _, w := range c.Ways {
		if w.Agent == nil || w.Agent.Pending == "" {
			return report, fmt.Errorf("%s: no agent that says how many samples it has queued", w.Name)
		}
		_, _ = fmt.Fprintf(progress, "%s: %s every %v; warm-up %v, then the receiver is down for %v\n",
			w.Name, describe(c.Fleet), c.Interval, c.Warmup, c.Outage)
		row, err := catchUpWay(ctx, c, w)
		if err != nil {
			return report, fmt.Errorf("%s: %w", w.Name, err)
		}
		_, _ = fmt.Fprintf(progress, "  %s\n", row)
		report.CatchUps = append(report.CatchUps, row)
	}
	return report, nil
}

func catchUpWay(ctx context.Context, c WholeConfig, w Way) (row CatchUpRow, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.bound(w)+catchUpTimeout)
	defer cancel()
	b, err := newWholeBed(ctx, c, w)
	defer func() { err = errors.Join(err, b.stop()) }()
	if err != nil {
		return row, err
	}
	row.WholeRow = newWholeRow(c, w)
	usual, err := b.usualBacklog(ctx)
	if err != nil {
		return row, err
	}
	stopped, err := b.snapshot(ctx)
	if err != nil {
		return row, err
	}
	started, err := b.outage(ctx, stopped)
	if err != nil {
		return row, err
	}
	looks, err := b.drainBacklog(ctx, usual)
	if err != nil {
		return row, err
	}
	row.between(stopped, started, looks, usual)
	row.Account, err = b.account(ctx)
	return row, err
}

// usualBacklog rests for the warm-up, and returns what is queued without an outage: the median in the last part of the
// warm-up, a delay or an interval, and a quarter of the samples of an interval. An agent that has learned to send more
// requests at once has more that are not yet full.
func (b *wholeBed) usualBacklog(ctx context.Context) (usual float64, err error) {
	part := max(b.way.delay(b.config.Interval), b.config.Interval)
	if err := b.rest(ctx, max(0, b.config.Warmup-part)); err != nil {
		return 0, err
	}
	var queued []float64
	for end := time.Now().Add(part); time.Now().Before(end); {
		s, err := b.snapshot(ctx)
		if err != nil {
			return 0, err
		}
		queued = append(queued, s.pending)
		if err := b.rest(ctx, b.config.Interval/20); err != nil {
			return 0, err
		}
	}
	return median(queued) + float64(b.fleetConfig.Targets*b.fleetConfig.Series)/4, nil
}

// outage stops the store and starts it again. It returns the counters from just before the start.
func (b *wholeBed) outage(ctx context.Context, stopped wholeSnapshot) (started wholeSnapshot, err error) {
	b.before = stopped.stored
	if err := b.stopStore(); err != nil {
		return started, fmt.Errorf("stop the receiver: %w", err)
	}
	if err := b.rest(ctx, b.config.Outage); err != nil {
		return started, err
	}
	if started, err = b.snapshot(ctx); err != nil {
		return started, err
	}
	return started, b.startStore(ctx)
}

// catchUpTimeout is how long a backlog may take to drain.
const catchUpTimeout = 10 * time.Minute

// drainBacklog looks until no more samples are queued than usual: the first look is at the ready store, the last at the
// drained queue.
func (b *wholeBed) drainBacklog(ctx context.Context, usual float64) (looks []wholeSnapshot, err error) {
	for deadline := time.Now().Add(catchUpTimeout); time.Now().Before(deadline); {
		s, err := b.snapshot(ctx)
		if err != nil {
			return nil, err
		}
		looks = append(looks, s)
		if s.pending <= usual {
			return looks, nil
		}
		if err := b.rest(ctx, b.config.Interval/50); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%.0f samples are still queued after %v, usual are %.0f: the receiver is too slow",
		looks[len(looks)-1].pending, catchUpTimeout, usual)
}
