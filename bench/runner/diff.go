package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
)

// DiffReport compares two builds of one agent, which ran in turns.
type DiffReport struct {
	Report
	Fleet string `json:"fleet"`
	Keep  string `json:"keep,omitempty"` // the names that the job of both keeps
	Base  string `json:"base"`
	New   string `json:"new"`
	// Together: both ran at the same time. Report has their rows then.
	Together bool    `json:"together,omitempty"`
	Rounds   []Round `json:"rounds"`
}

// Round is one run of each build, one after the other, or a window of both at the same time.
type Round struct {
	Base Leg `json:"base"`
	New  Leg `json:"new"`
}

// Leg is one run of one of the builds, from an empty start, or one of the windows of the only run.
type Leg struct {
	Window
	WarmupCPU float64 `json:"warmup_cpu_seconds"`
	// Learning is known where both ran at the same time: only then the receiver is new to both.
	Learning Learning `json:"learning,omitzero"`
}

// Diff compares the first two cases. If c.Together, both run at the same time, each with a fleet and a receiver of its
// own, so that the machine's speed is the same for both; a round is a window. Otherwise they run in turns, each from
// its start, with the same fleet and receiver: base, new, new, base, base, … so that neither a machine that slowly gets
// busier nor the place in a round favours one of them. Each run is a process of its own, since two processes of one
// build differ too.
func Diff(ctx context.Context, c Config, progress io.Writer) (r DiffReport, err error) {
	pair := c.Cases[:2]
	r = DiffReport{Report: newReport(c), Fleet: describe(pair[0].Fleet), Keep: pair[0].Job.Keep, Base: pair[0].Name,
		New: pair[1].Name}
	if r.Keep != "" {
		series, bytes, err := pair[0].kept()
		if err != nil {
			return r, err
		}
		r.Remarks = append(r.Remarks, fmt.Sprintf("the jobs keep %s: %.3f of the lines, %.3f of the bytes of a page",
			r.Keep, series/float64(pair[0].Fleet.Series), bytes))
	}
	if c.Together {
		err := r.together(ctx, c, pair, progress)
		return r, err
	}
	b, err := newBed(ctx, c, pair[0].Fleet, pair[0].Agent.Accept, filepath.Join(c.Out, "diff"))
	defer func() { err = errors.Join(err, b.stop()) }()
	if err != nil {
		return r, err
	}
	_, _ = fmt.Fprintf(progress, "%s (base) and %s (new) in turns, %d rounds: %s every %v; warm-up %v, window %v\n",
		r.Base, r.New, c.Windows, r.Fleet, c.Interval, c.Warmup, c.Window)
	for n := range c.Windows {
		var round Round
		legs := []*Leg{&round.Base, &round.New}
		order := []int{0, 1}
		if n%2 == 1 {
			slices.Reverse(order)
		}
		for _, side := range order {
			if *legs[side], err = b.leg(ctx, pair[side]); err != nil {
				return r, fmt.Errorf("%s: %w", pair[side].Name, err)
			}
			_, _ = fmt.Fprintf(progress, "  round %d, %s: %s\n", n+1, pair[side].Name, legs[side])
		}
		r.Rounds = append(r.Rounds, round)
	}
	return r, nil
}

// together is Diff with both cases at the same time.
func (r *DiffReport) together(ctx context.Context, c Config, pair []Case, progress io.Writer) (err error) {
	_, _ = fmt.Fprintf(progress, "%s (base) and %s (new) together, %d windows: %s every %v; warm-up %v, window %v\n",
		r.Base, r.New, c.Windows, r.Fleet, c.Interval, c.Warmup, c.Window)
	r.Together = true
	if r.Rows, err = measure(ctx, c, pair, progress); err != nil {
		return err
	}
	base, fresh := r.Rows[0], r.Rows[1]
	for n := range base.Windows {
		r.Rounds = append(r.Rounds, Round{
			Base: Leg{base.Windows[n], base.WarmupCPU, base.Learning},
			New:  Leg{fresh.Windows[n], fresh.WarmupCPU, fresh.Learning},
		})
	}
	for _, row := range r.Rows {
		if row.Lost != 0 {
			r.Remarks = append(r.Remarks, fmt.Sprintf("%s: LOST %d samples", row.Name, row.Lost))
		}
	}
	return nil
}

func (b *bed) leg(ctx context.Context, k Case) (leg Leg, err error) {
	if err := b.startAgent(k, k.Fleet.TargetList()); err != nil {
		return leg, err
	}
	if err := b.rest(ctx, b.config.Warmup); err != nil {
		return leg, err
	}
	warm, err := processCPU(b.agent.pid())
	if err != nil {
		return leg, err
	}
	leg.WarmupCPU = warm.Seconds()
	if leg.Window, err = b.window(ctx); err != nil {
		return leg, err
	}
	_, err = b.stopAgent()
	return leg, err
}

// spreadOf sums up the ratios new/base of all rounds.
type spreadOf struct {
	median, low, high float64
	less              int // rounds in which new needs less
}

func (r DiffReport) ratios(of func(Leg) float64) spreadOf {
	var s spreadOf
	var all []float64
	for _, round := range r.Rounds {
		v := ratio(of(round.New), of(round.Base))
		all = append(all, v)
		if v < 1 {
			s.less++
		}
	}
	if len(all) > 0 {
		s.median, s.low, s.high = median(all), slices.Min(all), slices.Max(all)
	}
	return s
}

func (r DiffReport) table() [][]string {
	cells := [][]string{{"figure", "base", "new", "new/base", "from to", "new less in"}}
	for _, f := range []struct {
		name string
		of   func(Leg) float64
		form func(float64) string
	}{
		{"CPU-s/M samples", func(l Leg) float64 { return l.CPUPerMillion }, digits(3)},
		{"CPU ms/scrape", func(l Leg) float64 { return l.CPUPerScrape * 1e3 }, digits(3)},
		{"page KiB/scrape", func(l Leg) float64 { return l.PagePerScrape / (1 << 10) }, digits(1)},
		{"warm-up CPU s", func(l Leg) float64 { return l.WarmupCPU }, digits(2)},
		{"until learned, CPU s", func(l Leg) float64 { return l.Learning.CPU }, measuredDigits(2)},
		{"  above known pages", func(l Leg) float64 { return l.Learning.LearnCPU() }, measuredDigits(2)},
		{"RSS MiB", func(l Leg) float64 { return float64(l.RSSMedian) }, mibs},
		{"anonymous MiB", func(l Leg) float64 { return float64(l.AnonymousMedian) }, mibs},
		{"wire B/sample", func(l Leg) float64 { return l.WirePerSample }, digits(2)},
		{"delivered/due", func(l Leg) float64 { return l.DeliveredPerDue }, digits(4)},
		{"failed scrapes", func(l Leg) float64 { return float64(l.FailedScrapes) }, digits(0)},
		{"read calls/scrape", func(l Leg) float64 { return l.PerScrape.ReadCalls }, short},
		{"write calls/scrape", func(l Leg) float64 { return l.PerScrape.WriteCalls }, short},
		{"waits/scrape", func(l Leg) float64 { return l.PerScrape.Waits }, short},
		{"page faults/scrape", func(l Leg) float64 { return l.PerScrape.Faults }, short},
		{"others' cores", func(l Leg) float64 { return l.Noise() }, digits(2)},
	} {
		var base, fresh []float64
		for _, round := range r.Rounds {
			base, fresh = append(base, f.of(round.Base)), append(fresh, f.of(round.New))
		}
		line := []string{f.name, f.form(median(base)), f.form(median(fresh)), "", "", ""}
		if s := r.ratios(f.of); s.high > 0 && f.name != "others' cores" && f.name != "failed scrapes" {
			line[3], line[4] = digits(3)(s.median), digits(3)(s.low)+" to "+digits(3)(s.high)
			line[5] = fmt.Sprintf("%d of %d", s.less, len(r.Rounds))
		}
		cells = append(cells, line)
	}
	return cells
}

func (r DiffReport) head() []string {
	lines := r.Report.head()
	what := "rounds; the ratios are of the two runs of a round"
	if r.Together {
		what = "windows, in which both ran; the ratios are of one window"
	} else {
		lines = append(lines, r.Fleet+"; every "+r.Interval)
	}
	lines = append(lines, fmt.Sprintf("base %s, new %s; medians of %d %s", r.Base, r.New, len(r.Rounds), what))
	for n, round := range r.Rounds {
		for name, leg := range map[string]Leg{r.Base: round.Base, r.New: round.New} {
			// An agent that has no time to scrape does not show what a sample costs it.
			if d := leg.DeliveredPerDue; d < 0.95 || d > 1.05 {
				lines = append(lines, fmt.Sprintf("NOT COMPARABLE: round %d: %s delivered %.4f of what was due; "+
					"others used %.2f cores", n+1, name, d, leg.Noise()))
			}
		}
	}
	return lines
}

// WriteText prints the report for a terminal.
func (r DiffReport) WriteText(w io.Writer) error { return writeTextTable(w, r.head(), r.table()) }

// WriteMarkdown prints the report for a document.
func (r DiffReport) WriteMarkdown(w io.Writer) error {
	return writeMarkdownTable(w, r.head(), r.table())
}

// WriteJSON keeps everything.
func (r DiffReport) WriteJSON(w io.Writer) error { return writeJSON(w, r) }
