package oracle

import (
	"fmt"
	"slices"
	"time"
)

// InFlight is how long before the end of a process a page may have been served and still be on its way to the
// queue: the agent has to be scheduled, to read it and to append it, on a machine that has other things to do.
const InFlight = 500 * time.Millisecond

// Verdict is the cost of a fault. Scrapes are counted, not samples, unless the name says so.
type Verdict struct {
	Targets     int
	Served      int
	Arrived     int // whole
	Failed      int // served in full, but too slowly for the agent, which says so by up
	Lost        int // nothing or only a part arrived, and they have not failed
	InFlight    int // of Lost: served at most InFlight before the end of a process
	Samples     int // lost ones of the pages' series
	Partial     int // of Lost: a part arrived
	Worst       int // most that one target lost
	Invented    int // arrived, but never served
	OutOfOrder  int // samples
	Duplicates  int // samples that were taken twice with the same value
	Old         int // of Duplicates: of a sample that was not the newest of its series any more
	Repeats     int // requests with a duplicate
	MostRepeats int // of them, between two ends of processes

	Example string // of a sample out of order
	Gaps    []string
}

// Judge compares what the fleet served with what arrived. ends are the times at which processes were told to end.
func Judge(f *Fleet, l *Ledger, ends []time.Time) Verdict {
	return JudgeUntil(f, l, ends, time.Now())
}

// JudgeUntil leaves out what was served after a time.
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

// judge compares one target.
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

// longestScrape is how long the agents wait for a page.
const longestScrape = time.Second

// failed tells that a page was the answer to a scrape that failed: on a busy machine the agent may give up on a page
// that is already on its way.
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

// Ended is how many scrapes are lost that had ended before the process did: those a queue has to keep.
func (v Verdict) Ended() int { return v.Lost - v.InFlight }

// PerKill is the number of scrapes lost for each target and kill.
func (v Verdict) PerKill(kills int) float64 {
	return float64(v.Lost) / float64(max(1, kills*v.Targets))
}

// String is for logs.
func (v Verdict) String() string {
	return fmt.Sprintf("%d scrapes of %d targets served, %d arrived, %d failed, %d lost (%d of them in flight, %d in part: %d samples), "+
		"%d invented, %d samples out of order, %d duplicate samples (%d of old ones) in %d requests (most between two ends: %d)",
		v.Served, v.Targets, v.Arrived, v.Failed, v.Lost, v.InFlight, v.Partial, v.Samples, v.Invented, v.OutOfOrder, v.Duplicates,
		v.Old, v.Repeats, v.MostRepeats)
}
