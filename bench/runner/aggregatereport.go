package runner

import (
	"fmt"
	"io"
	"time"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
)

// AggregateReport says what sums over the pods save.
type AggregateReport struct {
	Report
	Fleet    fleet.Config   `json:"fleet"`
	Receiver string         `json:"receiver"` // version of the store
	Replace  int            `json:"replace"`  // how many times each pod was replaced in a window
	Ways     []AggregateRow `json:"ways"`
}

// AggregateRow is one way's result.
type AggregateRow struct {
	Name    string        `json:"name"`
	Base    string        `json:"base"`            // the way that it is compared with
	Build   string        `json:"build,omitempty"` // of the agent
	Keep    string        `json:"keep,omitempty"`  // the names that the rules of the job keep
	Sums    string        `json:"sums,omitempty"`  // the names that are summed
	Windows []WholeWindow `json:"windows"`
}

func newAggregateReport(c AggregateConfig) AggregateReport {
	r := AggregateReport{Report: newReport(c.Config), Fleet: c.Fleet, Replace: c.Replace,
		Receiver: build(c.Config, Case{Agent: c.Store})}
	of := WholeConfig{Config: c.Config, Fleet: c.Fleet, Store: c.Store}
	for _, w := range c.Ways {
		r.Ways = append(r.Ways, AggregateRow{Name: w.Name, Base: w.Base, Build: build(c.Config, of.caseOf(w.Way)),
			Keep: w.Job.Keep, Sums: w.Job.Sums})
	}
	return r
}

// against divides a way's figure by that of its base in the same round, and returns the median of all rounds; 0: the
// base was not measured, or has no such figure.
func (r AggregateReport) against(row AggregateRow, of func(WholeWindow) float64) float64 {
	var ratios []float64
	for _, base := range r.Ways {
		if base.Name != row.Base {
			continue
		}
		for i := range min(len(row.Windows), len(base.Windows)) {
			ratios = append(ratios, ratio(of(row.Windows[i]), of(base.Windows[i])))
		}
	}
	return median(ratios)
}

// aggregateFigure is a line of the table.
type aggregateFigure struct {
	name     string
	of       func(WholeWindow) float64
	form     func(float64) string
	compared bool // it is what sums over the pods should lower
}

func aggregateFigures() []aggregateFigure {
	return []aggregateFigure{
		{"series in the receiver", func(w WholeWindow) float64 { return w.ReceiverSeries }, digits(0), true},
		{"receiver cores", func(w WholeWindow) float64 { return w.ReceiverCores }, digits(3), true},
		{"receiver RSS MiB", func(w WholeWindow) float64 { return float64(w.ReceiverRSSMedian) }, mibs, true},
		{"receiver anonymous MiB", func(w WholeWindow) float64 { return float64(w.ReceiverAnonymous) }, mibs, true},
		{"wire kB/s", func(w WholeWindow) float64 { return w.SentPerSecond / 1e3 }, digits(1), true},
		{"agent cores", func(w WholeWindow) float64 { return w.CPUCores }, digits(4), true},
		{"agent RSS MiB", func(w WholeWindow) float64 { return float64(w.RSSMedian) }, mibs, true},
		{"agent anonymous MiB", func(w WholeWindow) float64 { return float64(w.AnonymousMedian) }, mibs, true},
		{"both cores", func(w WholeWindow) float64 { return w.CPUCores + w.ReceiverCores }, digits(3), true},
		{"samples stored/s", WholeWindow.StoredPerSecond, digits(0), true},
		{"scrapes/s", func(w WholeWindow) float64 { return ratio(float64(w.Scrapes), w.Seconds) }, digits(1), false},
		{"samples rejected", func(w WholeWindow) float64 { return float64(w.Rejected) }, digits(0), false},
		{"others' cores", func(w WholeWindow) float64 { return w.Noise() }, digits(2), false},
	}
}

// table has a figure per line and a way per column, because there are few ways and many figures. Behind a figure is its
// ratio to that of the way's base.
func (r AggregateReport) table() [][]string {
	head := []string{"figure"}
	for _, row := range r.Ways {
		head = append(head, row.Name)
	}
	cells := [][]string{head}
	for _, f := range aggregateFigures() {
		line := []string{f.name}
		for _, row := range r.Ways {
			cell := f.form(medianOf(row.Windows, f.of))
			if against := r.against(row, f.of); f.compared && row.Name != row.Base && against > 0 {
				cell += fmt.Sprintf(" (%.3f)", against)
			}
			line = append(line, cell)
		}
		cells = append(cells, line)
	}
	return cells
}

func (r AggregateReport) head() []string {
	lines := append(r.Report.head(), describe(r.Fleet)+"; every "+r.Interval, "receiver: "+r.Receiver)
	if r.Replace > 0 {
		lines = append(lines, fmt.Sprintf("each pod is replaced %d times in a window", r.Replace))
	}
	for _, row := range r.Ways {
		line := row.Name + ": " + row.Build
		if row.Keep != "" {
			line += "; rules keep " + row.Keep
		}
		if row.Sums != "" {
			line += "; sums of " + row.Sums + ", in brackets beside " + row.Base
		}
		lines = append(lines, line)
		lines = append(lines, r.notComparable(row)...)
	}
	return lines
}

// notComparable lists the windows in which an agent had no time to scrape: they do not show what a scrape costs.
func (r AggregateReport) notComparable(row AggregateRow) (lines []string) {
	interval, err := time.ParseDuration(r.Interval)
	if err != nil {
		return nil
	}
	for n, w := range row.Windows {
		due := float64(r.Fleet.Targets) * w.Seconds / interval.Seconds()
		if share := ratio(float64(w.Scrapes), due); share < 0.95 {
			lines = append(lines, fmt.Sprintf("NOT COMPARABLE: round %d: %s made %.3f of the scrapes that were due",
				n+1, row.Name, share))
		}
	}
	return lines
}

// WriteText prints the report for a terminal.
func (r AggregateReport) WriteText(w io.Writer) error { return writeTextTable(w, r.head(), r.table()) }

// WriteMarkdown prints the report for a document.
func (r AggregateReport) WriteMarkdown(w io.Writer) error {
	return writeMarkdownTable(w, r.head(), r.table())
}

// WriteJSON keeps everything, each window included.
func (r AggregateReport) WriteJSON(w io.Writer) error { return writeJSON(w, r) }
