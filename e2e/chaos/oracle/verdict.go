package oracle

import (
	"fmt"
	"slices"
	"time"
)

// InFlight is how long before the end of a process a served page may still be on its way to the queue. On a busy
// machine the agent needs that long to be scheduled, to read the page and to append it.
const InFlight = 500 * time.Millisecond

// Verdict is the cost of a fault. The figures count scrapes, unless the name or the comment says samples or requests.
type Verdict struct {
	Targets     int
	Served      int
	Arrived     int // all series of the scrape arrived
	Failed      int // served, but too slowly for the agent, which reported up 0
	Lost        int // not all series arrived, and the scrape did not fail
	InFlight    int // part of Lost: served at most InFlight before the end of a process
	Samples     int // lost samples of the series on the pages
	Partial     int // part of Lost: some series arrived
	Worst       int // the most scrapes that one target lost
	Invented    int // arrived, but were never served
	OutOfOrder  int // samples
	Duplicates  int // samples accepted twice with the same value
	Old         int // part of Duplicates: newer samples of the series had arrived in another request
	Repeats     int // requests with a duplicate
	MostRepeats int // the most Repeats between two ends of processes

	Example string // one sample out of order
	Gaps    []string
}

// Judge compares the scrapes that the fleet served with those that arrived. ends are the times at which processes were
// stopped or killed.
func Judge(f *Fleet, l *Ledger, ends []time.Time) Verdict {
	return JudgeUntil(f, l, ends, time.Now())
}

// JudgeUntil is like Judge and ignores scrapes that were served after until.
func JudgeUntil(f *Fleet, l *Ledger, ends []time.Time, until time.Time) Verdict {
	v := Verdict{Targets: len(f.Targets)}
	arrived, failures := l.arrived(), l.failures()
	for _, t := range f.Targets {
		v.judge(t, arrived[t.Address], failures[t.Address], ends, until)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	v.OutOfOrder, v.Duplicates, v.Old, v.Example = l.outOfOrder, l.duplicates, l.old, l.example
	v.MostRepeats = slices.Max(l.repeats)
	for _, n := range l.repeats {
		v.Repeats += n
	}
	return v
}

// judge adds the result of one target.
func (v *Verdict) judge(t *Target, arrived map[int]int, failures, ends []time.Time, until time.Time) {
	t.mu.Lock()
	begun := t.begun
	t.mu.Unlock()
	for number := range arrived {
		if number < 1 || number > begun {
			v.Invented++
		}
	}
	served := slices.DeleteFunc(t.Served(), func(s Scrape) bool { return s.At.After(until) })
	v.Served += len(served)
	before := v.Lost
	defer func() { v.Worst = max(v.Worst, v.Lost-before) }()
	for _, s := range served {
		n := arrived[s.Number]
		if n == t.series {
			v.Arrived++
			continue
		}
		if n == 0 && failed(s.At, failures) {
			v.Failed++
			continue
		}
		v.Lost++
		v.Samples += t.series - n
		if n > 0 {
			v.Partial++
		}
		if nearAnEnd(s.At, ends) {
			v.InFlight++
			continue
		}
		if len(v.Gaps) < 20 {
			v.Gaps = append(v.Gaps, fmt.Sprintf("%s: scrape %d, served at %s: %d of %d series", t.Address, s.Number,
				s.At.UTC().Format("15:04:05.000"), n, t.series))
		}
	}
}

// longestScrape is the agents' scrape timeout.
const longestScrape = time.Second

// failed reports whether a page that was served at the given time belongs to a failed scrape. On a busy machine the
// agent may time out on a page that is already on its way.
func failed(at time.Time, failures []time.Time) bool {
	return slices.ContainsFunc(failures, func(begin time.Time) bool {
		return !at.Before(begin) && at.Before(begin.Add(longestScrape+InFlight))
	})
}

func nearAnEnd(at time.Time, ends []time.Time) bool {
	return slices.ContainsFunc(ends, func(end time.Time) bool {
		return at.After(end.Add(-InFlight)) && at.Before(end.Add(InFlight))
	})
}

// Ended returns the number of lost scrapes that had ended before the process did. A durable queue must keep those.
func (v Verdict) Ended() int { return v.Lost - v.InFlight }

// PerKill returns the number of lost scrapes per target and kill.
func (v Verdict) PerKill(kills int) float64 {
	return float64(v.Lost) / float64(max(1, kills*v.Targets))
}

// String formats the verdict for logs.
func (v Verdict) String() string {
	return fmt.Sprintf("%d scrapes of %d targets served, %d arrived, %d failed, %d lost (%d of them in flight, %d "+
		"in part: %d samples), "+
		"%d invented, %d samples out of order, %d duplicate samples (%d of old ones) in %d requests (most between "+
		"two ends: %d)",
		v.Served, v.Targets, v.Arrived, v.Failed, v.Lost, v.InFlight, v.Partial, v.Samples, v.Invented, v.OutOfOrder,
		v.Duplicates,
		v.Old, v.Repeats, v.MostRepeats)
}
